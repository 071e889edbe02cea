"""Every number of the agent in one place, and the one formula for waiting.

"Bounded" is only true when each loop has a number, so none of them hides in the code. They hang
together: a lease is renewed well before it ends; the tries of one delivery stay below the tries
of an action over all deliveries, so that a crash in between cannot add up to more than promised.

>>> from random import Random
>>> [pause_ms(nth, Random(1), first_ms=100, most_ms=1_000) <= 1_000 for nth in (1, 2, 30)]
[True, True, True]
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Defaults that suit the support desk. Times are in milliseconds."""

    # Load: what a process has in hand at once, resumed tasks included. The rest is put off.
    tasks_in_hand_max: int = 12

    # Ownership: renewed three times before it would end.
    lease_ttl_ms: int = 5_000
    lease_renew_ms: int = 1_500
    lease_patience_ms: int = 300_000  # how long a task waits while another process owns it

    # Actions.
    tries_per_delivery: int = 3
    tries_in_all: int = 5  # over all deliveries, crashes included
    retry_first_ms: int = 200
    retry_most_ms: int = 5_000
    traps_to_quarantine: int = 3

    # The model.
    model_deadline_ms: int = 10_000
    model_tries: int = 5  # per turn
    turns_max: int = 12

    # Pages.
    page_deadline_ms: int = 2_000
    page_tries: int = 3  # per page and delivery
    redirects_max: int = 5

    # The budget of goodwill, over all sessions and processes.
    credits_max: int = 2
    credits_window_ms: int = 10_000
    in_flight_ms: int = 120_000  # a request without an answer may be carried out so late
    slot_patience_ms: int = 5_000  # so long a task waits before it is put off

    # Memory.
    memory_first_ms: int = 50
    memory_most_ms: int = 2_000
    memory_patience_ms: int = 60_000
    memory_tries: int = 200  # never reached before the patience ends, but a bound all the same

    # How long the four classes of memory live. The policy never expires.
    session_ttl_ms: int = 6 * HOUR_MS
    task_ttl_ms: int = 7 * DAY_MS
    attributes_ttl_ms: int = 30 * DAY_MS


def pause_ms(nth: int, random: Random, /, *, first_ms: int, most_ms: int) -> int:
    """The wait before try `nth` + 1: doubling, capped, and half of it left to chance, so that
    many that failed together do not come back together."""
    full: int = min(most_ms, first_ms << min(nth - 1, 20))
    return full // 2 + random.randrange(full // 2 + 1)
