"""Makes a failing case small: the same breach from as little as possible.

A person understands one fault in one task; a campaign finds three in a crowd. So the case is made
smaller in the order in which it becomes readable: fewer faults, then tasks and sessions, then
earlier sites, then simpler kinds, then the schedule. A candidate counts only if its execution shows
the same fingerprint, so no other bug is ever shrunk to, and only if a file can say it.

Candidates are judged a few at a time, and the first in order that still fails wins: the result
depends on the case alone, never on who executed it.

What is left goes into a team's repository, so it must not quote a customer. A fault may name its
action by such a value; then it is said without it where that shows the same.

>>> from chaoslab.run.controls import planted_specs
>>> from chaoslab.run.trials import trial
>>> [spec] = [s for s in planted_specs(["matrix/timeout-after-commit"]) if "double" in s.agent]
>>> def judge(specs):
...     return [trial(one, whole=True) for one in specs]
>>> small = shrink(spec, judge([spec])[0].broken[0][2], judge)
>>> use = small.spec.scenario.workload
>>> small.spec.scenario.name, use.sessions, use.tasks, len(small.spec.scenario.faults)
('effects-delivery-duplicate-effect-refund', 1, 1, 1)
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

from chaoslab.backends.common import merged_contract
from chaoslab.check.masking import Mask
from chaoslab.core.clock import monotonic_ms
from chaoslab.core.errors import ChaosError, ScenarioError
from chaoslab.explore import shrink_steps as steps
from chaoslab.explore.shrink_steps import Step
from chaoslab.explore.testfile import as_regression
from chaoslab.explore.work import Setting, workers_here
from chaoslab.faults import Fault
from chaoslab.run.masking import mask_for
from chaoslab.run.model import RunSpec
from chaoslab.run.perform import perform
from chaoslab.run.trials import Trial
from chaoslab.run.workers import Workers
from chaoslab.scenario import Scenario, scenario_from
from chaoslab.scenario.writing import scenario_toml

Judge = Callable[[Sequence[RunSpec]], Sequence[Trial]]
_AT_ONCE: Final = 4
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """The smallest case that was found; the given one, with no `steps`, where it did not show the
    fingerprint at all.

    `tried` counts trials, `steps` tells in words what became simpler. `breach` is what the case
    breaks, as a trial tells it: check, code, fingerprint, explanation. `private`: the case names
    what must not be read, so it must not be kept where others read it.
    """

    spec: RunSpec
    fingerprint: str
    tried: int
    steps: tuple[str, ...] = ()
    breach: tuple[str, str, str, str] | None = None
    private: bool = False


def shrink(
    spec: RunSpec,
    fingerprint: str,
    judge: Judge,
    /,
    *,
    tries_max: int = 400,
    time_ms: int | None = None,
) -> Shrunk:
    """The smallest case with this fingerprint that at most `tries_max` trials lead to; none is
    begun after `time_ms` of wall time, so that an agent that floods does not cost the night.

    `judge` gives the trials of some cases, in order, each with its sites and choices.
    """
    search = _Search(spec, fingerprint, judge, tries_max, time_ms)
    if not search.begin():
        return Shrunk(spec=spec, fingerprint=fingerprint, tried=search.tried)
    search.run()
    assert search.shown is not None
    breach = next(row for row in search.shown.broken if row[2] == fingerprint)
    return Shrunk(
        spec=as_regression(search.spec_of(search.best), breach),
        fingerprint=fingerprint,
        tried=search.tried,
        steps=tuple(search.taken),
        breach=breach,
    )


def shrink_task(
    setting: Setting,
    spec: RunSpec,
    fingerprint: str,
    tries_max: int,
    /,
    *,
    time_ms: int | None = None,
) -> Shrunk:
    """The same as a task for an executor, with the interpreters of the process that does it. What
    is left says nothing that must not be read, or is `private`."""
    workers = workers_here(setting)

    def judge(specs: Sequence[RunSpec]) -> Sequence[Trial]:
        return workers.trials(specs, whole=True)

    small = shrink(spec, fingerprint, judge, tries_max=tries_max, time_ms=time_ms)
    if small.breach is None:
        return small
    try:
        mask = _mask(small.spec, workers)
    except ChaosError:  # nobody knows what must not be read of it
        return replace(small, breach=(*small.breach[:3], ""), private=True)
    return fit_to_keep(small, judge, mask)


def fit_to_keep(small: Shrunk, judge: Judge, mask: Mask, /) -> Shrunk:
    """The case without what must not be read: its words masked, and a fault whose marker is such a
    value at any action of its task, where that shows the same; else it is `private`."""
    assert small.breach is not None
    check, code, mark, explanation = small.breach
    small = replace(small, breach=(check, code, mark, mask.text(explanation)))
    scenario = small.spec.scenario
    faults = tuple(f if _plain(f.marker, mask) else replace(f, marker="") for f in scenario.faults)
    if faults == scenario.faults:
        return replace(small, private=not _plain(small.spec.scenario_text, mask))
    spec = replace(small.spec, scenario=replace(scenario, faults=faults))
    spec = as_regression(spec, (check, code, mark, explanation))
    [shown] = judge([spec])
    small = replace(small, tried=small.tried + 1)
    if not _shows(shown, mark) or not _plain(spec.scenario_text, mask):
        return replace(small, private=True)
    steps = (*small.steps, "without a value that must not be read")
    return replace(small, spec=spec, steps=steps)


def _plain(text: str, mask: Mask) -> bool:
    return mask.text(text) == text


def _mask(spec: RunSpec, workers: Workers) -> Mask:
    """What must not be read of a case. Values are learned from histories, so where a contract names
    attributes there has to be one; it is private, and is gone afterwards."""
    with TemporaryDirectory() as name:
        if spec.contract.attributes:
            perform(spec, workers, Path(name))
        return mask_for(spec.contract, Path(name))


def _shows(shown: Trial, fingerprint: str) -> bool:
    return not shown.broke and any(row[2] == fingerprint for row in shown.broken)


class _Search:
    """The best case so far, what its execution showed, and what was tried already."""

    def __init__(
        self,
        spec: RunSpec,
        fingerprint: str,
        judge: Judge,
        tries_max: int,
        time_ms: int | None = None,
    ) -> None:
        scenario = spec.scenario
        # A recording that came with the run says its schedule; else the seed goes on to say it.
        choices = spec.choices if spec.choices is not None else scenario.schedule.choices
        schedule = replace(scenario.schedule, seeds=(spec.seed,), choices=choices)
        self._spec = spec
        self._contract = merged_contract(spec.contract, spec.workload)
        self._fingerprint = fingerprint
        self._judge = judge
        self._tries_max = tries_max
        self._until_ms = None if time_ms is None else monotonic_ms() + time_ms
        self._seen: dict[str, Trial | None] = {}  # None: it does not fail
        self.best = replace(scenario, schedule=schedule)
        self.shown: Trial | None = None
        self.tried = 0
        self.taken: list[str] = []

    def spec_of(self, scenario: Scenario) -> RunSpec:
        """The run of a candidate."""
        [seed], text = scenario.schedule.seeds, scenario_toml(scenario)
        return replace(self._spec, scenario=scenario, scenario_text=text, seed=seed, choices=None)

    # -- trying

    def begin(self) -> bool:
        """Whether the given case fails at all."""
        self.tried += 1
        [shown] = self._judge([self.spec_of(self.best)])
        self.shown = shown if self._fails(shown) else None
        return self.shown is not None

    def _any(self, candidates: Iterable[Step]) -> bool:
        """Takes the first candidate that still fails; False where none does."""
        fresh = (step for step in candidates if step.scenario != self.best)
        while batch := list(islice(fresh, _AT_ONCE)):
            if self._first(batch) is not None:
                return True
            if not self._room():
                return False
        return False

    def _room(self) -> int:
        """How many trials may still be made."""
        if self._until_ms is not None and monotonic_ms() >= self._until_ms:
            return 0
        return max(0, self._tries_max - self.tried)

    def _first(self, batch: Sequence[Step]) -> int | None:
        """Tries some candidates at once; the place of the first that fails, which is now best."""
        texts = [self._text(step.scenario) for step in batch]
        wanted = {t: step for t, step in zip(texts, batch, strict=True) if t not in self._seen}
        wanted.pop("", None)
        asked = list(wanted)[: self._room()]
        if asked:
            specs = [self.spec_of(wanted[text].scenario) for text in asked]
            self.tried += len(asked)
            for text, shown in zip(asked, self._judge(specs), strict=True):
                self._seen[text] = shown if self._fails(shown) else None
        for place, (text, step) in enumerate(zip(texts, batch, strict=True)):
            failing = self._seen.get(text)
            if failing is not None:
                self.best, self.shown = step.scenario, failing
                self.taken.append(step.words)
                return place
        return None

    def _fails(self, shown: Trial) -> bool:
        return _shows(shown, self._fingerprint)

    def _text(self, scenario: Scenario) -> str:
        """The candidate as a file, "" where no file can say it."""
        try:
            text = scenario_toml(scenario)
            again = scenario_from(tomllib.loads(text), "case", workload=self._spec.workload)
        except ScenarioError:
            return ""
        return text if again == scenario else ""

    # -- the order of things

    def run(self) -> None:
        """All classes of steps, in order. What was found later may make something earlier
        possible, so faults and workload are looked at again where they are not minimal yet."""
        self._exact()
        self._faults()
        self._workload()
        self._exact()
        self._faults()
        for number in reversed(range(len(self.best.faults))):
            self._one_fault(number)
        self._schedule()
        before = self.best
        self._faults()
        self._workload()
        self._exact()
        if self.best != before:
            self._schedule()

    def _exact(self) -> None:
        assert self.shown is not None
        control, sites = self.shown.control_sites, self.shown.sites
        self._any(steps.exact_faults(self.best, control, sites, self._contract))

    def _faults(self) -> None:
        if self._any(steps.fewest_faults(self.best)) or len(self.best.faults) < 2:
            return

        def some(faults: Sequence[Fault]) -> Step:
            words = f"{len(faults)} faults"
            return Step(words=words, scenario=replace(self.best, faults=tuple(faults)))

        if len(self.best.faults) > 2:
            self._thin(self.best.faults, some)
        while self._any(steps.lasting_faults(self.best)):
            pass

    def _workload(self) -> None:
        workload = self._spec.workload
        if not self._any(steps.smallest(self.best, workload)):
            while self._any(steps.fewer_sessions(self.best)):
                pass
            while self._any(steps.fewer_tasks(self.best, workload)):
                pass
        while self._any(steps.plainer(self.best, workload)):
            pass

    def _one_fault(self, number: int) -> None:
        def kinds(which: int) -> Iterator[Step]:
            return steps.simpler_kinds(self.best, which)

        def parameters(which: int) -> Iterator[Step]:
            return steps.simpler_parameters(self.best, which)

        for candidates in (self._earlier, kinds, parameters):
            # Two faults that became the same are one.
            while number < len(self.best.faults) and self._any(candidates(number)):
                pass

    def _earlier(self, number: int) -> Iterator[Step]:
        assert self.shown is not None
        control = self.shown.control_sites
        return steps.earlier_sites(self.best, number, control, self._contract)

    def _schedule(self) -> None:
        if self._any(steps.plainest_schedules(self.best)) or self.best.schedule.choices == {}:
            return
        assert self.shown is not None
        # The recording of this very execution: without the seed, and nothing is different.
        self._any([steps.with_choices(self.best, self.shown.choices)])
        choices = self.best.schedule.choices
        if not choices:
            return
        self._thin(tuple(choices.items()), lambda some: steps.with_choices(self.best, dict(some)))
        for name in list(self.best.schedule.choices or {}):
            while self._any(steps.smaller_choices(self.best, name)):
                pass

    def _thin(self, items: Sequence[_T], make: Callable[[Sequence[_T]], Step]) -> None:
        """Leaves out as many items as possible: large parts first, then single ones, until no
        single one can be spared."""
        left = tuple(items)
        size = (len(left) + 1) // 2
        while left:
            before, start = len(left), 0
            while start < len(left) and self._room():
                places = range(start, len(left), size)[:_AT_ONCE]
                found = self._first([make(left[:n] + left[n + size :]) for n in places])
                start = places[-1] + size if found is None else places[found]
                if found is not None:
                    left = left[:start] + left[start + size :]
            if size == 1 and len(left) == before:
                return
            size = max(1, size // 2)
