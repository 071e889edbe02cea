"""The ways in which an execution can happen beside the simulator: one line each.

A way is what it makes of a target, and a probe that says why it cannot be taken on this machine.
Whatever is absent is said, never passed over: an agreement over fewer ways than one believes is
worth less than none.

>>> [way.name for way in WAYS][:1], way_named("process").changes
(['process'], {})
>>> way_named("process").target_for("agent.py:make_agent").speed
10
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from chaoslab.backends.live import check_packages, shim_target
from chaoslab.contract.target import Target
from chaoslab.core.errors import ChaosError, UsageError

Probe = Callable[[], str]
_FIELDS: Final = frozenset(f.name for f in fields(Target))


def _packages() -> str:
    """Why no agent can be run in a process of its own; "" where one can."""
    try:
        check_packages()
    except ChaosError as error:
        return str(error)
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way. `changes`: what it sets in the target of an agent in a process of its own; where a
    value is a function, it is asked when the way is taken. `part`: what must be there for it, as
    people call it. `probe` says why that is absent, "" where it is there."""

    name: str
    words: str
    part: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    probe: Probe = _packages

    def absent(self) -> str:
        """Why this way cannot be taken here; "" where it can."""
        return _packages() or self.probe()

    def target_for(self, agent: str, /) -> Target:
        """The agent as a target of this way."""
        made = {name: v() if callable(v) else v for name, v in self.changes.items()}
        assert made.keys() <= _FIELDS, made
        return replace(shim_target(agent), **made)


WAYS: Final[Sequence[Way]] = (
    Way(name="process", words="the agent in processes of its own, killed and stopped by signals"),
)


def way_named(name: str, /) -> Way:
    """A way by its name. UsageError where there is none."""
    for way in WAYS:
        if way.name == name:
            return way
    raise UsageError(
        "there is no such way to run an agent",
        value=name,
        allowed=", ".join(way.name for way in WAYS),
    )


def ways_of(names: Sequence[str], /) -> tuple[list[Way], dict[str, str]]:
    """The ways to take, and why each other one cannot be. Where names are given, all of them must
    be there (UsageError); without, all that are."""
    asked = [way_named(name) for name in dict.fromkeys(names)] or list(WAYS)
    absent = {way.name: why for way in asked if (why := way.absent())}
    if absent and (names or len(absent) == len(asked)):
        name, why = next(iter(absent.items()))
        raise UsageError(f"the way {name} cannot be taken here: {why}", hint="chaoslab doctor")
    return [way for way in asked if way.name not in absent], absent
