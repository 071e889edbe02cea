"""What a scenario may ask for that no real process can be made to do, each with its reason.

The simulator's time jumps and its decisions are drawn, so a scenario may say "eight days later" or
"this very schedule". On real processes both would have to be waited for, or hoped for. Such a
scenario is not applicable there, which is said, and never counted as held.

>>> from chaoslab.contract.target import Target
>>> from chaoslab.scenario.model import Use
>>> days = Scenario(name="x", title="", family="f", workload=Use(tasks=2, gap_ms=86_400_000))
>>> expressible(days, Contract(), Target(commands=(), speed=10))
'it waits 86400 s between its tasks, and real time cannot be made to jump'
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from chaoslab.contract import Contract
from chaoslab.contract.target import Target
from chaoslab.scenario import Scenario

WAIT_MS_MAX: Final = 60_000  # of real time that one execution may stand and wait
_JUMP: Final = "and real time cannot be made to jump"


def expressible(scenario: Scenario, contract: Contract, target: Target, /) -> str:
    """Why a scenario cannot be said on real processes at all; "" where it can.

    Wasm tools run where the lab can reach into them, time cannot be made to jump, and only the
    lab's own runner gives it a door to the agent's regions, guests and sessions.
    """
    return next(_reasons(scenario, contract, target), "")


def _reasons(scenario: Scenario, contract: Contract, target: Target) -> Iterator[str]:
    if target.ready != "ports":  # an agent with a runner of its own
        yield from _out_of_reach(scenario)
    if any(f.kind == "duplicate" for f in scenario.faults):
        inside = [t.name for t in contract.tools.values() if t.match.startswith("python ")]
        if inside and len(inside) == len(contract.tools):
            yield "nothing stands between the agent and its own functions that could double a call"
    if scenario.schedule.choices is not None:
        yield "it is a recorded schedule, and on real processes nothing is drawn that it could set"
    yield from _too_long(scenario, min(target.timeout_ms, WAIT_MS_MAX) * target.speed)


def _out_of_reach(scenario: Scenario) -> Iterator[str]:
    if any(fault.at.startswith("wasm") for fault in scenario.faults):
        yield "its fault strikes inside a Wasm guest, and this agent's guests are its own"
    if len(scenario.regions.names) > 1:
        yield "it needs two regions, and this agent's memory is its own"
    if scenario.operator:
        yield ("it needs an operator who releases a session, and the lab has no door to this one's")


def _too_long(scenario: Scenario, limit_ms: int) -> Iterator[str]:
    """What would have to be waited for longer than `limit_ms` of the lab's time."""
    idle_ms = scenario.workload.idle_ms
    if idle_ms > limit_ms:
        yield f"it waits {idle_ms // 1000} s between its tasks, {_JUMP}"
    for fault in scenario.faults:
        if fault.for_ms is not None and fault.for_ms > limit_ms:
            yield f"its {fault.kind} lasts {fault.for_ms // 1000} s, {_JUMP}"
    for release in scenario.operator:
        if release.at_ms > limit_ms:
            yield f"its operator comes after {release.at_ms // 1000} s, {_JUMP}"
    regions = scenario.regions
    waits = {"failover": regions.failover_after_ms, "restart": regions.restart_after_ms}
    strikes = {f.kind for f in scenario.faults}
    for what, wait_ms in waits.items():
        # Whoever gives nobody up names a time that never comes; only where all hangs on it is it
        # waited for.
        needed = bool(strikes & ({"crash", "partition"} if what == "failover" else {"crash"}))
        if needed and wait_ms > limit_ms:
            yield f"its {what} comes after {wait_ms // 1000} s, {_JUMP}"
