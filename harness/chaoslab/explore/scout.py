"""What a world is like before it is swept: the calls of its fault-free execution, every strike
that can be made at them, and whether executions of it can be compared at all.

Strikes are called equivalent because an agent is a function of what it was told. Whether this one
is, nobody can promise for it; so some executions are done twice, in interpreters with different
orders of sets, and every history must be the same to the byte. Where one is not, nothing in this
world is called equivalent.

>>> spread_over([1, 2, 3, 4, 5, 6, 7], 3)
[2, 4, 6]
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from chaoslab.explore.strikes import Candidate, calls_of, candidates
from chaoslab.explore.work import Setting, workers_here
from chaoslab.explore.worlds import World
from chaoslab.faults import Fault, Site
from chaoslab.history import View, read
from chaoslab.run.plan import execution_of
from chaoslab.run.strikes import StrikeBatch, Struck
from chaoslab.run.workers import Workers

SAMPLES: Final = 4  # beside the execution without strikes
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scouted:
    """What was found. `control`: how the execution without strikes ended; where it did not hold,
    nothing is worth striking. `differs`: in what an execution was another one in another
    interpreter; "" where none was."""

    control: Struck
    sites: tuple[Site, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    differs: str = ""


def scout(setting: Setting, kinds: tuple[str, ...], world: World, /) -> Scouted:
    """Looks at a world; one item of an executor's work."""
    workers = workers_here(setting)
    plain = StrikeBatch(spec=world.spec, digests=True)
    control = workers.strikes(plain).control
    if control.word != "held":
        return Scouted(control=control)
    calls = calls_of(_control_of(world, workers))
    found = candidates(control.sites, calls, world.spec, kinds)
    sample = spread_over([one.fault for one in found], SAMPLES)
    return Scouted(
        control=control,
        sites=control.sites,
        candidates=tuple(found),
        differs=_differs(workers, world, sample),
    )


def _control_of(world: World, workers: Workers) -> View:
    """The history of the execution without strikes."""
    spec = world.spec
    with tempfile.TemporaryDirectory(prefix="chaoslab-") as folder:
        path = Path(folder, "control.jsonl")
        header = {"scenario": spec.scenario.id, "agent": spec.agent, "seed": spec.seed}
        workers.execute(execution_of(spec, spec.scenario, ()), path, header, "first")
        return View(read(path).ops)


def _differs(workers: Workers, world: World, sample: Sequence[Fault]) -> str:
    """Whether executions are the same in another interpreter; "" where all are."""
    batch = StrikeBatch(spec=world.spec, strikes=tuple(sample), digests=True)
    here, there = workers.strikes(batch, "first"), workers.strikes(batch, "repeat")
    if here.control.digest != there.control.digest:
        return "the execution without any fault"
    for fault, one, other in zip(sample, here.rows, there.rows, strict=False):
        # An execution that broke has no history to compare; it is told where it is counted.
        if one.digest != other.digest and "broke" not in (one.word, other.word):
            return fault.where()
    return ""


def spread_over(items: Sequence[_T], count: int, /) -> list[_T]:
    """So many of the items, at even distances."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * n + 1) * len(items) // (2 * count)] for n in range(count)]
