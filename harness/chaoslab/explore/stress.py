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
from typing import Final, NoReturn

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from chaoslab.core.clock import monotonic_ns
from chaoslab.core.errors import LabError, UsageError
from chaoslab.core.jsons import digest
from chaoslab.core.rng import number
from chaoslab.explore.database import Entries, Overlay
from chaoslab.explore.draws import Seen, scenarios
from chaoslab.explore.rows import Row, Word
from chaoslab.explore.work import Setting, workers_here
from chaoslab.explore.worlds import worlds_of
from chaoslab.run.model import RunSpec
from chaoslab.run.trials import Trial
from chaoslab.run.workers import Workers
from chaoslab.scenario.writing import fault_table, scenario_toml

_FORMAT: Final = 1  # raised when the same draws mean another scenario
_IDLE_ROUNDS: Final = 3
_ANSWERED_MAX: Final = 100
_MS: Final = 1_000_000
_US: Final = 1_000
NEVER_STRUCK: Final = "never struck"
HERE: Final = Setting()


@dataclass(frozen=True, slots=True, kw_only=True)
class StressShard:
    """One part of a campaign. `time_ms` is wall time from its own beginning, looked at between
    executions; `known` are fingerprints that are on record already and end no round."""

    name: str
    base: tuple[RunSpec, ...]
    seed: int
    runs: int
    time_ms: int | None = None
    database: Entries = field(default_factory=dict)
    setting: Setting = HERE
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEnd:
    """What a shard left. `saved` are examples that fail, `dropped` those of the database that do
    not any more; `spent_us` is wall time by what used it; `cut`: why there are fewer rows than
    were asked for."""

    rows: tuple[Row, ...]
    saved: tuple[tuple[bytes, bytes], ...] = ()
    dropped: tuple[tuple[bytes, bytes], ...] = ()
    spent_us: Mapping[str, int] = field(default_factory=dict)
    cut: str = ""


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
    """What fault-free executions of the base touch, so that it can be struck. One of each world;
    they are not counted, since nothing strikes in them."""
    first = {_world(spec): spec for spec in reversed(base)}
    calm = [replace(one, scenario=replace(one.scenario, faults=())) for one in first.values()]
    found = workers.trials(calm, whole=True)
    return Seen(
        sites={
            name: tuple(sorted(set(one.control_sites), key=str))
            for name, one in zip(first, found, strict=True)
        }
    )


def stress_shard(shard: StressShard, /) -> ShardEnd:
    """Carries out a shard. UsageError where there is nothing to do; LabError where not even one
    execution could be carried out."""
    if shard.runs < 1:
        raise UsageError("a shard needs executions", value=shard.runs, allowed="1 or more")
    # Hypothesis caches what it reads of source files; a team's folder is no place for that.
    os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", os.path.join(".chaoslab", "hypothesis"))
    work = _Shard(shard, monotonic_ns())
    idle = 0
    while not work.cut and len(work.rows) < shard.runs:
        before = len(work.rows)
        work.round()
        idle = idle + 1 if len(work.rows) == before else 0
        if idle == _IDLE_ROUNDS and not work.cut:
            work.cut = "nothing else can be drawn"
    return work.end()


class _NewToTheShard(Exception):
    """Ends a round: a breach that the shard had not seen."""


class _Over(BaseException):
    """Ends the shard; not an Exception, which Hypothesis would take for a failure."""


class _Shard:
    """The state of a shard: rows, what was seen, and where the time went."""

    def __init__(self, shard: StressShard, began_ns: int) -> None:
        self._shard = shard
        self._began_ns = began_ns
        self._workers = workers_here(shard.setting)
        self._key = database_key(shard.base)
        self._overlay = Overlay(shard.database, self._key)
        self._seen = set(shard.known)
        self._tried: set[tuple[str, str, int]] = set()
        self._rounds = 0
        self._ended = False  # this round
        self._executing_ns = 0
        self._spent_us = {"agent": 0, "world": 0, "checks": 0}
        self.rows: list[Row] = []
        self.cut = ""
        self._strategy = scenarios(shard.base, seen=self._look())

    def _look(self) -> Seen:
        began = monotonic_ns()
        try:
            return look(self._shard.base, self._workers)
        finally:
            self._executing_ns += monotonic_ns() - began

    def round(self) -> None:
        """Draws and executes until something new is broken, or all that is left is done."""
        self._rounds += 1
        self._ended = False
        # What is answered from memory is an example for Hypothesis, and not one for us.
        drawn = self._test(self._shard.runs - len(self.rows) + _ANSWERED_MAX)
        with suppress(_NewToTheShard, _Over):
            drawn()

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
            return
        self._stop_if_over()
        try:
            found = self._executed(spec)
        except LabError as error:
            # Somebody ended the interpreters. What is done stays done.
            if not self.rows:
                raise
            self._over(str(error))
        self._tried.add(key)
        self.rows.append(self._row(spec, found))
        new = {fingerprint for _, _, fingerprint, _ in found.broken} - self._seen
        if new:
            self._seen |= new
            self._ended = True
            raise _NewToTheShard
        if len(self.rows) >= self._shard.runs:
            self._over("")

    def _stop_if_over(self) -> None:
        limit, now = self._shard.time_ms, monotonic_ns()
        if limit is not None and now - self._began_ns >= limit * _MS:
            self._over("time ran out")

    def _over(self, why: str) -> NoReturn:
        self.cut = why
        self._overlay.close()
        raise _Over

    def _executed(self, spec: RunSpec) -> Trial:
        began = monotonic_ns()
        try:
            [found] = self._workers.trials([spec])
        finally:
            self._executing_ns += monotonic_ns() - began
        for what, spent in found.spent_us.items():
            self._spent_us[what] = self._spent_us.get(what, 0) + spent
        return found

    def _row(self, spec: RunSpec, found: Trial) -> Row:
        word = _word(found)
        return Row(
            name=f"{self._shard.name}/{len(self.rows) + 1:06d}",
            world=spec.scenario.name.rpartition("-")[0],
            seed=spec.seed,
            word=word,
            faults=tuple(fault_table(fault) for fault in spec.scenario.faults),
            breaches=found.broken,
            why=found.broke or found.idle,
            ops=found.ops,
            recovery_ms=found.recovery_ms,
            shown=found.shown,
            scenario="" if word == "held" else scenario_toml(spec.scenario),
            spent_us=dict(found.spent_us),
        )

    def end(self) -> ShardEnd:
        """What is left of it."""
        whole = (monotonic_ns() - self._began_ns) // _US
        rest = max(0, whole - self._executing_ns // _US)
        saved, dropped = self._overlay.saved, self._overlay.dropped
        return ShardEnd(
            rows=tuple(self.rows),
            saved=tuple((self._key, value) for value in saved),
            dropped=tuple((self._key, value) for value in dropped if value not in saved),
            spent_us={**self._spent_us, "hypothesis": rest},
            cut=self.cut,
        )


def _word(found: Trial) -> Word:
    if found.broke:
        return "broke"
    if found.broken:
        return "broken"
    if found.idle.startswith(NEVER_STRUCK):
        return "never-struck"
    return "unproven" if found.idle else "held"
