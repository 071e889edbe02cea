"""Stress: Hypothesis draws scenarios, and isolated interpreters execute them.

A campaign is cut into shards whose content depends on (base, seed, runs, shards) and on what was in
the database at the beginning, never on who executes them. One shard is done in rounds: Hypothesis
stops at a failure, so a breach with a fingerprint that is new to the shard ends a round, and the
next one goes on with what is left. Shrinking is ours (`explore.shrink`), since it has to change
the schedule as well, and has to keep the fingerprint.

**What counts.** A row is one execution with faults that was really carried out, once each, in
order. What Hypothesis asks for again (the example that ended a round, to see whether it is flaky;
the simplest example, in every round; an example of the database, until it is known) is answered
from memory: it is neither executed nor counted nor written down again. An execution is
deterministic, so nothing could be learned from it; that this is true is proven by those that
repeat executions on purpose. So a shard of 250 runs has 250 different rows, unless time ran out,
somebody stopped it, or the space is smaller than that; `cut` then says why.

**Cut off.** A shard that was cut is drawn again from its beginning when its campaign is gone on
with. Its `earlier` rows answer for the executions that they are of, so these are neither executed
nor counted again, and it comes to the very rows that it would have had in one go.

>>> stress_shard(StressShard(name="a", base=(), seed=0, runs=1))
Traceback (most recent call last):
    ...
chaoslab.core.errors.UsageError: there is nothing to draw from; allowed: at least one scenario; ...
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import HypothesisException

from chaoslab.core.clock import monotonic_ns
from chaoslab.core.errors import LabError, UsageError
from chaoslab.core.jsons import digest
from chaoslab.core.rng import number
from chaoslab.explore.database import Entries, Overlay
from chaoslab.explore.draws import Seen, scenarios
from chaoslab.explore.rows import Row, Word
from chaoslab.explore.work import Setting, workers_here
from chaoslab.explore.worlds import worlds_of
from chaoslab.faults import Site
from chaoslab.run.model import RunSpec
from chaoslab.run.trials import Trial
from chaoslab.run.workers import Workers
from chaoslab.scenario.writing import fault_table, scenario_toml

_FORMAT: Final = 2  # raised when the same draws mean another scenario
_IDLE_ROUNDS: Final = 3
_LOOK_TASKS: Final = 3
_USED_UP: Final = "nothing else can be drawn"
_ANSWERED_MAX: Final = 100
_SAMPLE_EACH: Final = 100  # so many executions apart
_MS: Final = 1_000_000
_US: Final = 1_000
TIME_RAN_OUT: Final = "time ran out"
NEVER_STRUCK: Final = "never struck"
HERE: Final = Setting()


@dataclass(frozen=True, slots=True, kw_only=True)
class StressShard:
    """One part of a campaign. `time_ms` is wall time from its own beginning, looked at between
    executions; `known` are fingerprints that are on record already and end no round. `earlier` are
    the rows of a command that was cut off, of `counted` executions."""

    name: str
    base: tuple[RunSpec, ...]
    seed: int
    runs: int
    time_ms: int | None = None
    database: Entries = field(default_factory=dict)
    setting: Setting = HERE
    known: tuple[str, ...] = ()
    earlier: tuple[Row, ...] = ()
    counted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEnd:
    """What a shard left: the rows that were not there yet. `saved` are examples that fail,
    `dropped` those of the database that do not any more; `spent_us` is wall time by what used it;
    `cut`: why there are fewer rows than were asked for; `whole`: whether there would be no more
    of them if it was gone on with."""

    rows: tuple[Row, ...]
    saved: tuple[tuple[bytes, bytes], ...] = ()
    dropped: tuple[tuple[bytes, bytes], ...] = ()
    spent_us: Mapping[str, int] = field(default_factory=dict)
    cut: str = ""
    whole: bool = True


def shards_of(
    base: Sequence[RunSpec],
    /,
    *,
    seed: int,
    runs: int,
    shards: int = 8,
    time_ms: int | None = None,
    database: Entries | None = None,
    setting: Setting = HERE,
    known: Sequence[str] = (),
) -> list[StressShard]:
    """The shards of a campaign, by its numbers alone: none of them is empty.

    The examples of the database are dealt out, so that each is tried once. `time_ms` is the time
    of one shard; with eight of them on two processes, a quarter of the campaign's.
    """
    for what, value in (("runs", runs), ("shards", shards)):
        if value < 1:
            raise UsageError(f"{what} of stress must be positive", value=value, allowed="1 or more")
    if not base:
        raise UsageError(
            "there is nothing to draw from", allowed="at least one scenario", hint="chaoslab list"
        )
    count = min(runs, shards)
    examples = {key: sorted(values) for key, values in (database or {}).items()}
    return [
        StressShard(
            name=f"stress-{nth + 1:02d}",
            base=tuple(base),
            seed=number(seed, f"stress/{runs}/{shards}/{nth}", below=2**32),
            runs=runs // count + (nth < runs % count),
            time_ms=time_ms,
            database={key: tuple(values[nth::count]) for key, values in examples.items()},
            setting=setting,
            known=tuple(known),
        )
        for nth in range(count)
    ]


def database_key(base: Sequence[RunSpec], /) -> bytes:
    """Under which key examples stand: the same draws must mean the same scenario."""
    what = sorted({f"{spec.agent} {spec.scenario.id} {_world(spec)}" for spec in base})
    return f"chaoslab/stress/{_FORMAT}/{digest(list(what), size=12)}".encode()


def _world(spec: RunSpec) -> str:
    return worlds_of([spec])[0].id


def look(base: Sequence[RunSpec], workers: Workers, /) -> Seen:
    """What fault-free executions of the base touch, so that it can be struck. One of each world:
    with a second customer, who finds other things than the first one, and with one task after the
    other, since what comes of a race is no call to count on. They are not counted themselves,
    since nothing strikes in them. An agent that hangs in one is not asked for more of them.
    """
    sites: dict[str, tuple[Site, ...]] = {}
    for name, calm in _calm(base).items():
        [found] = workers.trials([calm], whole=True)
        sites[name] = tuple(sorted(set(found.control_sites), key=str))
        if found.broke:
            break
    return Seen(sites=sites)


def _calm(base: Sequence[RunSpec]) -> dict[str, RunSpec]:
    """A fault-free run of each world."""
    out = {}
    for spec in reversed(base):
        use = spec.scenario.workload
        tasks = max(_LOOK_TASKS, use.tasks)
        plain = replace(use, sessions=2, tasks=tasks, concurrent=False, deliveries=1)
        out[_world(spec)] = replace(
            spec, scenario=replace(spec.scenario, faults=(), workload=plain)
        )
    return out


def stress_shard(shard: StressShard, /) -> ShardEnd:
    """Carries out a shard. UsageError where there is nothing to do; LabError where not even one
    execution could be carried out."""
    return Stress()(shard)


class Stress:
    """Carries out shards, and knows of those that are under way in this process, so that Ctrl-C
    costs none of their executions. On another machine it knows of none, and these are done again.
    """

    def __init__(self) -> None:
        self._under_way: dict[str, _Shard] = {}
        self._seen: Seen | None = None

    def __reduce__(self) -> tuple[type[Stress], tuple[()]]:
        return Stress, ()

    def __call__(self, shard: StressShard, /) -> ShardEnd:
        """As `stress_shard`."""
        if shard.runs < 1:
            raise UsageError("a shard needs executions", value=shard.runs, allowed="1 or more")
        # Hypothesis caches what it reads of source files; a team's folder is no place for that.
        cache = os.path.join(".chaoslab", "hypothesis")
        os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", cache)
        began_ns = monotonic_ns()
        # The shards of a campaign have the same base. Where two of them look at once, they see the
        # same.
        if self._seen is None:
            self._seen = look(shard.base, workers_here(shard.setting))
        work = self._under_way[shard.name] = _Shard(shard, began_ns, self._seen)
        work.executing_ns += monotonic_ns() - began_ns
        idle = 0
        while not work.cut and work.drawn < shard.runs:
            before = work.drawn
            work.round()
            idle = idle + 1 if work.drawn == before else 0
            if idle == _IDLE_ROUNDS and not work.cut:
                work.cut, work.used_up = work.trouble or _USED_UP, not work.trouble
        return work.end()

    def so_far(self) -> dict[str, ShardEnd]:
        """What shards have come to that were begun here, done or not, by name."""
        return {name: work.end() for name, work in self._under_way.copy().items()}


class _NewToTheShard(Exception):
    """Ends a round: a breach that the shard had not seen."""


class _Over(BaseException):
    """Ends the shard; not an Exception, which Hypothesis would take for a failure."""


class _Shard:
    """The state of a shard: rows, what was seen, and where the time went."""

    def __init__(self, shard: StressShard, began_ns: int, seen: Seen) -> None:
        self._shard = shard
        self._began_ns = began_ns
        self._workers = workers_here(shard.setting)
        self._key = database_key(shard.base)
        self._overlay = Overlay(shard.database, self._key)
        self._seen = set(shard.known)
        self._tried: set[tuple[str, str, int]] = set()
        self._rounds = 0
        self._ended = False  # this round
        self.executing_ns = 0
        self._spent_us = {"agent": 0, "world": 0, "checks": 0}
        self._earlier = {row.name: row for row in shard.earlier}
        self.rows: list[Row] = []
        self._held = 0  # of those with faults
        self.drawn = 0  # different ones, whether executed now or earlier
        self.cut = ""
        self.used_up = False
        self.trouble = ""
        self._strategy = scenarios(shard.base, seen=seen)

    def round(self) -> None:
        """Draws and executes until something new is broken, or all that is left is done."""
        self._rounds += 1
        self._ended = False
        # What is answered from memory is an example for Hypothesis, and not one for us.
        drawn = self._test(self._shard.runs - self.drawn + _ANSWERED_MAX)
        with suppress(_NewToTheShard, _Over):
            try:
                drawn()
            except HypothesisException as error:  # it is a tool here, and its troubles are ours
                self.trouble = f"Hypothesis gave up: {type(error).__name__}: {error}"

    def _test(self, examples: int) -> Callable[[], None]:
        # In this order: a seed that comes after the settings would take the database away.
        @settings(
            database=self._overlay,
            phases=(Phase.reuse, Phase.generate),
            max_examples=examples,
            deadline=None,
            derandomize=False,
            report_multiple_bugs=False,
            print_blob=False,
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
            backend="hypothesis",
        )
        @seed(number(self._shard.seed, f"round/{self._rounds}", below=2**32))
        @given(self._strategy)
        def drawn(spec: RunSpec) -> None:
            self._one(spec)

        return drawn

    def _one(self, spec: RunSpec) -> None:
        if self._ended:  # the same example again, to see whether it is flaky
            raise _NewToTheShard
        key = (spec.agent, spec.scenario.name, spec.seed)
        if key in self._tried:
            self._stop_if_over()
            return
        row = self._earlier_row(spec)
        if row is None:
            self._stop_if_over()
            row = self._new_row(spec)
        self._tried.add(key)
        self.drawn += 1
        new = {fingerprint for _, _, fingerprint, _ in row.breaches} - self._seen
        if new:
            self._seen |= new
            self._ended = True
            raise _NewToTheShard
        if self.drawn >= self._shard.runs:
            self._over("")

    def _earlier_row(self, spec: RunSpec) -> Row | None:
        """The row that an earlier command has of this execution."""
        row = self._earlier.get(self._name(self.drawn + 1))
        if row is None:
            return None
        same = (row.world, row.seed, row.faults) == (_world_of(spec), spec.seed, _faults(spec))
        return row if same else None

    def _new_row(self, spec: RunSpec) -> Row:
        try:
            found = self._executed(spec)
        except LabError as error:
            # Somebody ended the interpreters. What is done stays done.
            if not self.drawn:
                raise
            self._over(str(error))
        row = self._row(spec, found)
        lost = self._name(self.drawn + 1) not in self._earlier
        # Where the bound on disk use left a row out, its execution is counted all the same.
        if not (lost and self.drawn < self._shard.counted):
            self.rows.append(row)
        return row

    def _stop_if_over(self) -> None:
        limit, now = self._shard.time_ms, monotonic_ns()
        if limit is not None and now - self._began_ns >= limit * _MS:
            self._over(TIME_RAN_OUT)

    def _over(self, why: str) -> NoReturn:
        self.cut = why
        self._overlay.close()
        raise _Over

    def _executed(self, spec: RunSpec) -> Trial:
        began = monotonic_ns()
        try:
            [found] = self._workers.trials([spec])
        finally:
            self.executing_ns += monotonic_ns() - began
        for what, spent in found.spent_us.items():
            self._spent_us[what] = self._spent_us.get(what, 0) + spent
        return found

    def _row(self, spec: RunSpec, found: Trial) -> Row:
        word = _word(found)
        # Of what was struck and held a few are kept whole, as samples that can be made again.
        held = word == "held" and bool(spec.scenario.faults)
        sample = held and self._held % _SAMPLE_EACH == 0
        self._held += held
        return Row(
            name=self._name(self._shard.counted + len(self.rows) + 1),
            world=_world_of(spec),
            seed=spec.seed,
            word=word,
            faults=_faults(spec),
            breaches=found.broken,
            why=found.broke or found.idle,
            ops=found.ops,
            recovery_ms=found.recovery_ms,
            shown=found.shown,
            scenario=scenario_toml(spec.scenario) if sample or word != "held" else "",
            spent_us=dict(found.spent_us),
        )

    def _name(self, nth: int) -> str:
        return f"{self._shard.name}/{nth:06d}"

    def end(self) -> ShardEnd:
        """What is left of it; another thread may still be at work in it."""
        whole = (monotonic_ns() - self._began_ns) // _US
        rest = max(0, whole - self.executing_ns // _US)
        saved, dropped = self._overlay.saved.copy(), self._overlay.dropped.copy()
        return ShardEnd(
            rows=tuple(self.rows),
            saved=tuple((self._key, value) for value in saved),
            dropped=tuple((self._key, value) for value in dropped if value not in saved),
            spent_us={**self._spent_us, "hypothesis": rest},
            cut=self.cut,
            whole=self.used_up or self.drawn >= self._shard.runs,
        )


def _world_of(spec: RunSpec) -> str:
    return spec.scenario.name.rpartition("-")[0]


def _faults(spec: RunSpec) -> tuple[Mapping[str, Any], ...]:
    return tuple(fault_table(fault) for fault in spec.scenario.faults)


def _word(found: Trial) -> Word:
    if found.broke:
        return "broke"
    if found.broken:
        return "broken"
    if found.idle.startswith(NEVER_STRUCK):
        return "never-struck"
    return "unproven" if found.idle else "held"
