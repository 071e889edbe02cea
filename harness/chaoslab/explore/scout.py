"""What a world is like before it is swept: the calls of its fault-free execution, every strike
that can be made at them, and whether executions of it can be compared at all.

Strikes are called equivalent because an agent is a function of what it was told. Whether this one
is, nobody can promise for it; so some executions are done twice, in interpreters with different
orders of sets, and every history must be the same to the byte. Where one is not, nothing in this
world is called equivalent. In the second interpreter they are done in reversed order, so what one
execution leaves behind for the next is seen as well; and it is the strikes that may be equivalent
of which most are looked at, of each kind at each place.

>>> spread_over([1, 2, 3, 4, 5, 6, 7], 3)
[2, 4, 6]
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from chaoslab.core.clock import monotonic_ms
from chaoslab.explore.strikes import ALONE, Candidate, calls_of, candidates
from chaoslab.explore.work import Setting, workers_here
from chaoslab.explore.worlds import World
from chaoslab.faults import Fault, Site
from chaoslab.history import View, read
from chaoslab.run.plan import execution_of
from chaoslab.run.strikes import StrikeBatch, Struck
from chaoslab.run.workers import Workers

SAMPLES: Final = 4  # beside the execution without strikes and ...
ALIKE_MAX: Final = 24  # ... those that may be equivalent to another
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_T = TypeVar("_T")


def clock_here() -> str:
    """A name of this machine's clock, which begins anew with each boot."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return platform.node()


@dataclass(frozen=True, slots=True, kw_only=True)
class Until:
    """A time on the clock of one machine. An item of work that was sent to another one cannot know
    when that is; there whoever sent it must look.

    >>> Until(ms=5, clock=clock_here()).here, Until(ms=5, clock="of the moon").here
    (5, None)
    """

    ms: int
    clock: str

    @property
    def here(self) -> int | None:
        """The time on this machine's clock, where that is the one."""
        return self.ms if self.clock == clock_here() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scouted:
    """What was found. `control`: how the execution without strikes ended; where it did not hold,
    nothing is worth striking, and its word is "" where there was no time to look. `differs`: in
    what an execution was another one in another interpreter; "" where none was; `ended`: how it
    ended there, where it left no history; `twice`: in how many this was looked at. `broke`: the
    executions that broke, by the number of the candidate."""

    control: Struck
    sites: tuple[Site, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    differs: str = ""
    ended: str = ""
    twice: int = 0
    broke: tuple[tuple[int, Struck], ...] = ()


def scout(
    setting: Setting, kinds: tuple[str, ...], world: World, /, *, until: Until | None = None
) -> Scouted:
    """Looks at a world, as long as there is time; one item of an executor's work."""
    workers, until_ms = workers_here(setting), None if until is None else until.here
    if until_ms is not None and monotonic_ms() >= until_ms:
        return Scouted(control=Struck(word=""))
    control = workers.strikes(StrikeBatch(spec=world.spec, digests=True)).control
    if control.word != "held":
        return Scouted(control=control)
    view = _control_of(world, workers)
    if isinstance(view, str):
        return Scouted(control=replace(control, word="broke", why=f"done once more, {view}"))
    calls = calls_of(view)
    found = candidates(control.sites, calls, world.spec, kinds)
    sample = _sample(found)
    compared = _compared(workers, world, [found[n].fault for n in sample], until_ms)
    return Scouted(
        control=control,
        sites=control.sites,
        candidates=tuple(found),
        differs=compared.differs,
        ended=compared.ended,
        twice=compared.twice,
        broke=tuple((sample[n], one) for n, one in compared.broke),
    )


def _sample(found: Sequence[Candidate]) -> list[int]:
    """Some candidates by number, in order: a few of all, and a group of each kind at each place."""
    groups: dict[tuple[str, str], dict[int, list[int]]] = {}
    for number, one in enumerate(found):
        if one.group != ALONE:
            there = groups.setdefault((one.fault.kind, one.fault.at), {})
            there.setdefault(one.group, []).append(number)
    alike = [number for there in groups.values() for number in next(iter(there.values()))]
    few = spread_over(range(len(found)), SAMPLES)
    return sorted({*few, *spread_over(alike, ALIKE_MAX)})


def _control_of(world: World, workers: Workers) -> View | str:
    """The history of the execution without strikes, or why there is none."""
    spec = world.spec
    with tempfile.TemporaryDirectory(prefix="chaoslab-") as folder:
        path = Path(folder, "control.jsonl")
        header = {"scenario": spec.scenario.id, "agent": spec.agent, "seed": spec.seed}
        execution = execution_of(spec, spec.scenario, ())
        broke: str = workers.execute(execution, path, header, "first")["broke"]
        return broke or View(read(path).ops)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """What executions showed in two interpreters; see `Scouted`."""

    differs: str = ""
    ended: str = ""
    twice: int = 0
    broke: tuple[tuple[int, Struck], ...] = ()


def _compared(
    workers: Workers, world: World, sample: Sequence[Fault], until_ms: int | None
) -> _Compared:
    """Whether executions are the same in another interpreter, in reversed order. One that broke
    has no history to compare, and is not done again there."""
    batch = StrikeBatch(spec=world.spec, strikes=tuple(sample), digests=True, until_ms=until_ms)
    here = workers.strikes(batch, "first")
    broke = tuple((n, one) for n, one in enumerate(here.rows) if one.word == "broke")
    last = len(sample) - 1
    back = replace(
        batch,
        strikes=batch.strikes[::-1],
        done=tuple(sorted(((last - n, one) for n, one in broke), key=lambda item: item[0])),
    )
    there = workers.strikes(back, "repeat")
    if here.control.word and there.control.word and here.control.digest != there.control.digest:
        return _Compared(
            differs="the execution without any fault", ended=_ended(there.control), broke=broke
        )
    twice = 1
    for fault, one, other in zip(sample, here.rows, there.rows[::-1], strict=False):
        if one.word != "broke" and other.word and one.word:
            twice += 1
            if one.digest != other.digest:
                return _Compared(differs=fault.where(), ended=_ended(other), broke=broke)
    return _Compared(twice=twice, broke=broke)


def _ended(there: Struck) -> str:
    """In words of the lab's own: those of an agent might quote what must not be read."""
    if there.word != "broke":
        return ""
    return "it did not end there" if "did not end within" in there.why else "it could not run there"


def spread_over(items: Sequence[_T], count: int, /) -> list[_T]:
    """So many of the items, at even distances."""
    if len(items) <= count:
        return list(items)
    return [items[(2 * n + 1) * len(items) // (2 * count)] for n in range(count)]
