"""Whether some order of the calls on one item explains every answer, whatever the calls are.

An order explains the answers if it keeps what was over before something else began, and if each
read then finds what the write before it left. Where versions tell the order, or every value is
written once, `linearizable_rows` can tell at once. Else, such as where values repeat or items are
erased, orders are tried as Wing, Gong and Lowe do, each situation once; after `STEPS_MAX` steps,
and some for each call, that is given up: always after the same ones, whatever the machine.

>>> done = [Call(0, 1, True, "A"), Call(2, 3, True, None), Call(4, 5, False, "A")]
>>> decide(done).contradiction.anomaly
'lost-write'
>>> decide([Call(0, NEVER, True, "A"), Call(2, 3, True, None), Call(4, 5, False, "A")])
Answer(contradiction=None, decided=True)
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from chaoslab.check.linearizable_rows import (
    ANY,
    NEVER,
    Call,
    Contradiction,
    Version,
    by_versions,
    by_zones,
    from_nowhere,
    numbered,
    rows_of_values,
    stale_or_lost,
    told_by,
)

STEPS_MAX: Final = 200_000
_STEPS_EACH: Final = 20  # and so many more for each call
_SHRINK_STEPS: Final = 20_000  # for one attempt to make a proof shorter
_SHRINK_WORK: Final = 300_000  # steps, and calls looked at, by all those attempts


class Answer(NamedTuple):
    """No contradiction means that an order was found, if it was `decided` at all."""

    contradiction: Contradiction | None = None
    decided: bool = True


def decide(calls: Sequence[Call], /, *, steps: int = STEPS_MAX) -> Answer:
    """Whether an order explains the calls on one item, in the cheapest way that can tell."""
    if not any(call.version or call.expect != ANY for call in calls):
        rows = rows_of_values(calls)
        if rows is not None:
            return Answer(by_zones(rows, calls))
    nowhere = from_nowhere(calls)
    if nowhere is not None:
        return Answer(nowhere)
    in_order = numbered(told_by(calls))
    return by_search(calls, steps) if in_order is None else Answer(by_versions(in_order))


State: TypeAlias = tuple[str | None, Version | None, Version]  # token, version, newest version


def _sees(call: Call, state: State) -> bool:
    return call.token == state[0] and (call.version is None or call.version == state[1])


def _after(call: Call, state: State) -> State | None:
    """What stands after a call took place; None where it cannot take place in this state.

    A write whose outcome was unknown has no version until somebody sees it: that is why a read, or
    a compare-and-set, may settle the version of what stands.
    """
    token, version, newest = state
    if not call.writes:
        if token is None or token != call.token or version is not None or call.version is None:
            return None
        return (token, call.version, call.version) if call.version > newest else None
    expect = call.expect
    if expect is None:
        if token is not None:
            return None
    elif expect != ANY:
        if version is None and token is not None and expect > newest:
            newest = expect
        elif version != expect:
            return None
    if call.version is None:
        return (call.token, None, newest)
    return (call.token, call.version, call.version) if call.version > newest else None


class _Orders:
    """The orders of some calls, tried depth first, each situation once.

    Calls take place as late as they can: only where one comes back that has not taken place yet
    must something be chosen. A read that finds its value takes place at once, which can never be
    wrong, since it changes nothing.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls
        at = [(call.begun, i) for i, call in enumerate(calls)]
        at += [(call.ended, ~i) for i, call in enumerate(calls) if call.ended < NEVER]
        at.sort()
        self.marks = [i for _, i in at]  # in order of time: i where a call begins, ~i where it ends
        self.unsure = [i for i, call in enumerate(calls) if call.ended == NEVER]
        self.open: dict[int, tuple[int, ...]] = {}  # at each end, the calls that are under way
        self.bits = [0] * len(calls)
        self.stuck = -1
        self.steps = 0
        self._lay_out()

    def _lay_out(self) -> None:
        """Calls that are never under way together share a bit, so that sets of them stay small."""
        free: list[int] = []
        top = 0
        under_way: dict[int, None] = {}
        for at, i in enumerate(self.marks):
            if i < 0:
                self.open[at] = tuple(under_way)
                del under_way[~i]
                free.append(self.bits[~i])
                continue
            if free:
                self.bits[i] = free.pop()
            else:
                self.bits[i] = 1 << top
                top += 1
            if self.calls[i].ended < NEVER:
                under_way[i] = None

    def explain(self, steps: int) -> bool | None:
        """Whether there is an order; None where the steps did not suffice."""
        marks, calls, bits = self.marks, self.calls, self.bits
        self.steps = steps
        nothing: State = (None, None, ())
        waiting = [(0, 0, nothing)]
        tried: set[tuple[int, int, State]] = set()
        while waiting:
            at, taken, state = waiting.pop()
            self.steps += at
            while at < len(marks):
                i = marks[at]
                if i < 0:
                    if not taken & bits[~i]:
                        break
                    taken ^= bits[~i]
                elif not calls[i].writes and _sees(calls[i], state):
                    taken |= bits[i]
                at += 1
            else:
                return True
            self.steps -= at
            if (at, taken, state) in tried:
                continue
            tried.add((at, taken, state))
            self.stuck = max(self.stuck, at)
            moves = self._moves(at, taken, state)
            self.steps -= 1 + len(moves)
            if self.steps < 0:
                return None
            waiting += moves
        return False

    def _moves(self, at: int, taken: int, state: State) -> list[tuple[int, int, State]]:
        """What may take place now, the most promising last."""
        calls, bits = self.calls, self.bits
        forced = calls[~self.marks[at]]
        now = [i for i in self.open[at] if not taken & bits[i]]
        reads = [i for i in now if not calls[i].writes]
        if self.unsure:
            now += self._of_use(now, taken, forced.ended)
        if not forced.writes and not (state[0] == forced.token and state[1] is None):
            if not any(calls[i].writes and calls[i].token == forced.token for i in now):
                return []
        alike: set[str | None] = set()
        found: list[tuple[bool, int, int, int, State]] = []
        for end, i in sorted((calls[i].ended, i) for i in now):
            call = calls[i]
            if call.writes and call.version is None and call.expect == ANY:
                if call.token in alike:
                    continue  # the one that must come back sooner does as well
                alike.add(call.token)
            then = _after(call, state)
            if then is not None:
                wanted = call is forced or (not forced.writes and call.token == forced.token)
                taken_then = taken | bits[i]
                for j in reads:
                    if j != i and _sees(calls[j], then):
                        taken_then |= bits[j]
                found.append((wanted, -end, -i, taken_then, then))
        if len(found) > 1:
            found.sort(key=itemgetter(0, 1, 2))
        return [(at, taken_then, then) for _, _, _, taken_then, then in found]

    def _of_use(self, now: list[int], taken: int, before: int) -> list[int]:
        """The writes with unknown outcome of which something could be seen now. Where nobody sees
        one before the next write, it may as well never take place."""
        calls = self.calls
        may = [i for i in self.unsure if not taken & self.bits[i] and calls[i].begun < before]
        if any(calls[i].expect != ANY for i in (*now, *may)):
            return may
        tokens = {calls[i].token for i in now if not calls[i].writes}
        return [i for i in may if calls[i].token in tokens]


def by_search(calls: Sequence[Call], steps: int = STEPS_MAX, /) -> Answer:
    """Tries the orders of the calls, until one explains them, or none is left, or steps run out."""
    orders = _Orders(told_by(calls).calls)
    found = orders.explain(steps + _STEPS_EACH * len(calls))
    if found is None:
        return Answer(decided=False)
    if found:
        return Answer()
    stuck = orders.calls[~orders.marks[orders.stuck]]
    core = _core(calls, stuck.ended) or _core(calls, NEVER) or [stuck]
    return Answer(_in_short(calls, core, stuck if stuck in core else core[-1]))


def _core(calls: Sequence[Call], end: int) -> list[Call]:
    """The calls without whose answers the others could be explained, as far as a point in time.
    None where it needs what comes later, such as a read that tells the version of a write."""
    firm, loose = [], []
    for call in calls:
        if call.begun < end:
            # A version counts even where it was told later.
            if call.ended <= end or (call.writes and call.version):
                firm.append(call)
            elif call.writes:
                loose.append(call)
    firm.sort(key=itemgetter(1))
    work, size = _SHRINK_WORK, 0
    still = False
    while not still and size < len(firm) and work > 0:
        # What is wrong is mostly the last few calls: what came before is then a part of no proof.
        size = max(4, size * 2)
        still, cost = _contradict(firm[-size:], loose + firm[:-size], end)
        work -= cost
    if not still:
        return []
    firm, loose = firm[-size:], loose + firm[:-size]
    while size and work > 0:
        start = 0
        while start < len(firm) and work > 0:
            kept, freed = firm[:start] + firm[start + size :], loose + firm[start : start + size]
            still, cost = _contradict(kept, freed, end)
            work -= cost
            if still:
                firm, loose = kept, freed
            else:
                start += size
        size //= 2
    return firm


def _contradict(firm: Sequence[Call], loose: Sequence[Call], end: int) -> tuple[bool, int]:
    """Whether these calls contradict each other, where of the loose ones one forgets that they were
    answered, and of all others what came after the end; and at what cost."""
    shown = [c if c.ended <= end else c._replace(ended=NEVER) for c in firm]
    # Nobody can have seen a value more often than there were calls to see it.
    most = len(firm) if all(c.expect == ANY for c in (*firm, *loose)) else len(loose)
    times: dict[str | None, int] = {}
    for call in sorted((c for c in loose if c.writes), key=itemgetter(0)):
        times[call.token] = times.get(call.token, 0) + 1
        if times[call.token] <= most:
            shown.append(call._replace(ended=NEVER, version=None))
    orders = _Orders(told_by(shown).calls)
    found = orders.explain(_SHRINK_STEPS)
    return found is False, len(shown) + _SHRINK_STEPS - orders.steps


def _in_short(calls: Sequence[Call], core: Sequence[Call], late: Call) -> Contradiction:
    """What a person would say of the calls that contradict each other."""
    more = tuple(n for call in core for n in (call.begun, call.ended))
    if late.writes:
        return Contradiction("order" if late.expect == ANY else "compare-and-set", late, None, more)
    before = [c for c in core if c.ended < late.begun and c.token != late.token]
    seen = max(before, key=lambda c: (c.writes, c.ended), default=None)
    if seen is None:
        return Contradiction("order", late, None, more)
    reads = sum(not c.writes and c.token == seen.token for c in calls)
    return stale_or_lost(late, seen, more, reads=reads)
