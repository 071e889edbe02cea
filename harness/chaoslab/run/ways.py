"""The ways in which an execution can happen beside the simulator: one line each.

A way is what it makes of a target, and a probe that says why it cannot be taken on this machine.
Whatever is absent is said, never passed over: an agreement over fewer ways than one believes is
worth less than none.

>>> [way.name for way in WAYS]
['process', 'process+toxiproxy', 'process+original', 'process+postgresql', 'docker']
>>> way_named("process+original").target_for("agent.py:make_agent").toxiproxy
'original'
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from chaoslab.backends.live import check_packages, check_store, shim_target
from chaoslab.contract.stores import VARIABLE, StoreAt, store_from
from chaoslab.contract.target import Target
from chaoslab.core.errors import ChaosError, UsageError
from chaoslab.links.servers import missing_original
from chaoslab.scenario import Scenario

Probe = Callable[[], str]
_FIELDS: Final = frozenset(f.name for f in fields(Target))


def _packages() -> str:
    """Why no agent can be run in a process of its own; "" where one can."""
    try:
        check_packages()
    except ChaosError as error:
        return str(error)
    return ""


def _containers() -> str:
    try:
        check_packages(containers=True)
    except ChaosError as error:
        return str(error)
    return ""


def _toxiproxy() -> str:
    if importlib.util.find_spec("toxiproxy") is None:
        return "toxiproxy-python is not installed: pip install 'chaoslab[real]'"
    return ""


def _original() -> str:
    return _toxiproxy() or missing_original()


def _postgresql() -> str:
    if not os.environ.get(VARIABLE):
        return f"{VARIABLE} names no server"
    try:
        _store()
    except ChaosError as error:
        return str(error)
    return _toxiproxy()


def _store() -> StoreAt:
    return check_store(store_from("postgresql"))


def strikes_memory_or_regions(scenario: Scenario, /) -> bool:
    """Whether where memory lives can matter to what a scenario shows: it has several regions, or a
    fault of it strikes at memory."""
    several = len(scenario.regions.names) > 1 or scenario.family == "memory"
    return several or any(fault.at.startswith("memory") for fault in scenario.faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way. `changes`: what it sets in the target of an agent in a process of its own; where a
    value is a function, it is asked when the way is taken. `part`: what must be there for it, as
    people call it. `probe` says why that is absent, "" where it is there. `narrow`: it changes
    nothing but the regions and what lies between them, so only scenarios that strike there are
    worth the time, unless all are asked for."""

    name: str
    words: str
    part: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    probe: Probe = _packages
    narrow: bool = True

    def absent(self) -> str:
        """Why this way cannot be taken here; "" where it can."""
        return _packages() or self.probe()

    def target_for(self, agent: str, /) -> Target:
        """The agent as a target of this way."""
        made = {name: v() if callable(v) else v for name, v in self.changes.items()}
        assert made.keys() <= _FIELDS, made
        return replace(shim_target(agent), **made)


WAYS: Final[Sequence[Way]] = (
    Way(
        name="process",
        words="the agent and each region in processes of their own, killed and stopped by signals",
        narrow=False,
    ),
    Way(
        name="process+toxiproxy",
        words="the same, with the lab's own Toxiproxy server in every line of the regions",
        part="toxiproxy-python",
        changes={"toxiproxy": "embedded"},
        probe=_toxiproxy,
    ),
    Way(
        name="process+original",
        words="the same, with the original Toxiproxy server",
        part="toxiproxy-server",
        changes={"toxiproxy": "original"},
        probe=_original,
    ),
    Way(
        name="process+postgresql",
        words="memory in PostgreSQL, with Toxiproxy before it",
        part="PostgreSQL",
        changes={"toxiproxy": "embedded", "store": _store},
        probe=_postgresql,
    ),
    Way(
        name="docker",
        words="each region in a container",
        part="Docker",
        changes={"containers": True},
        probe=_containers,
    ),
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
