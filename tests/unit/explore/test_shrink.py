"""A failing case becomes small, in the order in which it becomes readable, and stays that case."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.explore.shrink import Shrunk, shrink, shrink_task
from chaoslab.explore.shrink_steps import (
    earlier_sites,
    exact_faults,
    fewer_sessions,
    fewer_tasks,
    plainer,
    simpler_kinds,
)
from chaoslab.explore.strikes import SIMPLEST_FIRST
from chaoslab.explore.work import Setting
from chaoslab.faults import Fault, Site, exact
from chaoslab.run.controls import planted_specs
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, scenario_files, specs_of
from chaoslab.run.trials import Trial, trial
from chaoslab.scenario import (
    Regions,
    Release,
    Scenario,
    Schedule,
    Use,
    load_scenario,
    scenario_from,
)

BUG, OTHER = "00112233aabbccdd", "ffffffffffffffff"
SITES = tuple(
    Site(session=f"s{s}", task=f"s{s}-t{t}", port=port, marker=marker, attempt=1)
    for s in (1, 2, 3)
    for t in (1, 2)
    for port, marker in (
        ("model.complete", "turn-1"),
        ("tools.refund", f"o-s{s}-t{t}"),
        ("tools.notify", f"o-s{s}-t{t}/refunded"),
    )
)


@lru_cache
def base() -> RunSpec:
    path = scenario_files(["matrix/timeout-after-commit"])[0]
    return specs_of(path, load_scenario(path), REFERENCE)[0]


def case(**changes: object) -> RunSpec:
    """A run of the support desk, changed."""
    return replace(base(), scenario=replace(base().scenario, **changes))  # type: ignore[arg-type]


class Judge:
    """Executes nothing: says what a case breaks by a rule, and remembers what it was asked."""

    def __init__(
        self, rule: Callable[[Scenario], object], *, choices: dict[str, int] | None = None
    ) -> None:
        self.rule, self.choices = rule, choices or {}
        self.asked: list[list[RunSpec]] = []

    def __call__(self, specs: Sequence[RunSpec]) -> list[Trial]:
        self.asked.append(list(specs))
        return [self._trial(spec) for spec in specs]

    def _trial(self, spec: RunSpec) -> Trial:
        scenario, use = spec.scenario, spec.scenario.workload
        there = tuple(
            site
            for site in SITES
            if int(site.session[1:]) <= use.sessions and int(site.task[-1]) <= use.tasks
        )
        recorded = scenario.schedule.choices
        taken = self.choices if recorded is None else {n: recorded.get(n, 0) for n in self.choices}
        shown = BUG if self.rule(scenario) else OTHER
        return Trial(
            scenario=scenario.id,
            seed=spec.seed,
            broken=(("effects.delivery", "duplicate-effect", shown, "2 × refund"),),
            sites=there,
            control_sites=there,
            choices=taken,
        )


def struck(scenario: Scenario, port: str, *kinds: str) -> bool:
    """Whether a fault of one of these kinds strikes a port."""
    return any(f.at == port and f.kind in kinds for f in scenario.faults)


def at(number: int, kind: str = "silence", phase: str = "after-commit") -> Fault:
    return exact(SITES[number], kind=kind, phase=phase)


# -- the order of things


def test_every_class_of_steps_in_turn() -> None:
    spec = case(
        faults=(
            Fault(at="tools:keyed", phase="after-commit", kind="crash", task="s3-t2"),
            Fault(at="model.complete", phase="before-commit", kind="delay", for_ms=70),
            Fault(at="tools:unkeyed", phase="after-commit", kind="hold", every=True),
        ),
        workload=Use(sessions=3, tasks=2, mix=("refund",), deliveries=3, concurrent=True),
        schedule=Schedule(seeds=(4, 5)),
    )
    judge = Judge(
        lambda s: struck(s, "tools.refund", "reset", "crash") or struck(s, "tools:keyed", "crash"),
        choices={"home-1/s1-t1/2/out": 99},
    )
    found = shrink(replace(spec, seed=5), BUG, judge)
    scenario = found.spec.scenario
    assert scenario.faults == (exact(SITES[1], phase="before-send", kind="reset"),)
    assert scenario.workload == Use(sessions=1, tasks=1, mix=("refund",), rewords=False)
    assert scenario.schedule == Schedule(seeds=(0,), choices={}) and found.spec.seed == 0
    assert (scenario.family, scenario.expect) == ("regressions", "valid")
    assert found.breach is not None and found.breach[2] == found.fingerprint == BUG
    told = [
        "each fault at one exact site",
        "1 fault",
        "1 session with 1 task",
        "the plainest surroundings",
        "reset after-commit at tools.refund, task s1-t1, session s1, marker o-s1-t1",
        "reset before-send at tools.refund, task s1-t1, session s1, marker o-s1-t1",
        "the plainest schedule, under seed 0",
    ]
    assert list(found.steps) == told


def test_without_any_fault_is_tried_first() -> None:
    spec = case(faults=(at(1), at(2)), workload=Use(sessions=1, tasks=1))
    found = shrink(spec, BUG, Judge(lambda _: True))
    assert found.spec.scenario.faults == ()
    assert "no faults" in found.steps


@pytest.mark.parametrize("needed", [(0, 4), (1, 2, 5), (0, 3, 6, 8), tuple(range(9))])
def test_no_fault_is_left_that_can_be_spared(needed: tuple[int, ...]) -> None:
    faults = tuple(at(n) for n in range(9))
    judge = Judge(lambda s: {faults[n] for n in needed} <= set(s.faults))
    spec = case(faults=faults, workload=Use(sessions=3, tasks=1, rewords=False))
    found = shrink(spec, BUG, judge)
    assert found.spec.scenario.faults == tuple(faults[n] for n in needed)


def test_a_role_and_every_become_exact_sites() -> None:
    """Those of the fault-free run; else the first that there was in the execution with faults."""
    every = Fault(at="tools:unkeyed", phase="after-commit", kind="reset", every=True)
    again = Fault(at="tools:keyed", phase="before-send", kind="delay", attempt=2, for_ms=7)
    never = Fault(at="memory.read", phase="before-send", kind="crash")
    late = replace(SITES[4], attempt=2, marker="late")
    scenario = replace(base().scenario, faults=(every, again, never))
    contract = base().contract
    [step] = exact_faults(scenario, SITES, (*SITES, late, SITES[0]), contract)
    notes = [s for s in SITES if s.port == "tools.notify"]
    assert step.scenario.faults == (
        *(exact(site, phase="after-commit", kind="reset") for site in notes),
        exact(replace(SITES[1], attempt=2), phase="before-send", kind="delay", for_ms=7),
        never,
    )
    assert list(exact_faults(replace(scenario, faults=()), SITES, SITES, contract)) == []
    lost = replace(scenario, faults=(replace(again, marker="late"),))
    [step] = exact_faults(lost, SITES, (*SITES, late), contract)
    assert step.scenario.faults == (exact(late, phase="before-send", kind="delay", for_ms=7),)


def test_a_fault_of_another_session_is_said_of_the_first() -> None:
    spec = case(faults=(at(13, "reset"),), workload=Use(sessions=3, tasks=2))
    judge = Judge(lambda s: struck(s, "tools.refund", "reset"))
    found = shrink(spec, BUG, judge).spec.scenario
    assert (found.workload.sessions, found.workload.tasks) == (1, 1)
    assert [(f.session, f.task, f.marker) for f in found.faults] == [("s1", "s1-t1", "o-s1-t1")]


def test_what_needs_two_sessions_keeps_them() -> None:
    spec = case(faults=(at(13, "reset"),), workload=Use(sessions=3, tasks=2))
    found = shrink(spec, BUG, Judge(lambda s: s.workload.sessions >= 2)).spec.scenario
    assert (found.workload.sessions, found.workload.tasks, found.faults) == (2, 1, ())


# -- what it promises


def test_the_given_case_comes_back_where_it_does_not_show_the_bug() -> None:
    spec = case(faults=(at(1),))
    judge = Judge(lambda _: False)
    assert shrink(spec, BUG, judge) == Shrunk(spec=spec, fingerprint=BUG, tried=1)
    assert len(judge.asked) == 1


def test_no_verdict_of_a_broken_execution_is_read() -> None:
    spec = case(faults=(at(1),), workload=Use(sessions=2, tasks=1))

    def judge(specs: Sequence[RunSpec]) -> list[Trial]:
        trials = Judge(lambda _: True)(specs)
        ends = [s.scenario.workload.sessions == 1 for s in specs]
        return [replace(t, broke="it hangs") if e else t for t, e in zip(trials, ends, strict=True)]

    assert shrink(spec, BUG, judge).spec.scenario.workload.sessions == 2


@pytest.mark.parametrize("most", [1, 2, 7, 40])
def test_it_tries_no_more_than_it_may(most: int) -> None:
    faults = tuple(at(n) for n in range(9))
    judge = Judge(lambda s: len(s.faults) > 4, choices={f"home-1/-/{n}/out": 9 for n in range(30)})
    found = shrink(case(faults=faults), BUG, judge, tries_max=most)
    asked = [spec for batch in judge.asked for spec in batch]
    assert found.tried == len(asked) <= most
    assert max(map(len, judge.asked)) <= 4


def text_of(scenario: Scenario) -> str:
    """What is executed, without what it is called."""
    return repr(replace(scenario, name="", title="", family="", needs=()))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8), st.data())
def test_whatever_the_bug_is_the_result_shows_it(salt: int, rare: int, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 17), max_size=4, unique=True))
    kinds = data.draw(
        st.lists(st.sampled_from(("silence", "reset", "crash", "pause")), min_size=4, max_size=4)
    )
    spec = case(
        faults=tuple(at(n, kind) for n, kind in zip(numbers, kinds, strict=False)),
        workload=Use(sessions=3, tasks=2, deliveries=2),
        schedule=Schedule(seeds=(0,)),
    )

    def rule(scenario: Scenario) -> bool:
        raw = hashlib.blake2b(f"{salt} {text_of(scenario)}".encode(), digest_size=2).digest()
        return scenario == spec.scenario or int.from_bytes(raw, "big") % rare == 0

    choices = {"home-1/s1-t1/1/out": 7, "home-1/s2-t1/1/out": 200}
    judges = Judge(rule, choices=choices), Judge(rule, choices=choices)
    first, second = (shrink(spec, BUG, judge) for judge in judges)
    assert first == second
    assert [[s.scenario for s in b] for b in judges[0].asked] == [
        [s.scenario for s in b] for b in judges[1].asked
    ]
    texts = [text_of(one.scenario) for batch in judges[0].asked for one in batch]
    assert len(texts) == len(set(texts))  # nothing is tried twice
    small = first.spec.scenario
    assert text_of(small) == text_of(spec.scenario) or rule(replace(small, name=spec.scenario.name))
    assert len(small.faults) <= len(numbers)
    assert scenario_from(tomllib.loads(first.spec.scenario_text), "x") == small


def test_faults_that_become_the_same_are_one() -> None:
    faults = (at(0, "reset"), at(1, "reset"), at(1, "reset", "before-send"))
    spec = case(faults=faults, workload=Use(sessions=1, tasks=1))
    judge = Judge(lambda s: len(s.faults) == 3 or s.faults == (at(0, "silence"), at(1, "silence")))
    found = shrink(spec, BUG, judge).spec.scenario
    assert len(found.faults) in (2, 3)
    whole = Judge(lambda s: {f.at for f in s.faults} == {"model.complete", "tools.refund"})
    found = shrink(spec, BUG, whole).spec.scenario
    assert {f.at for f in found.faults} == {"model.complete", "tools.refund"}


# -- the schedule

CHOICES = {f"home-1/s1-t1/{n}/out": 17 * n % 256 for n in range(1, 41)}


def scheduled(rule: Callable[[dict[str, int]], object]) -> Scenario:
    """What a schedule becomes where a rule over the decisions says whether it fails."""
    spec = case(faults=(), workload=Use(sessions=1, tasks=1, rewords=False, mix=("refund",)))

    def fails(scenario: Scenario) -> object:
        recorded = scenario.schedule.choices
        return rule(CHOICES if recorded is None else dict(recorded))

    return shrink(spec, BUG, Judge(fails, choices=CHOICES)).spec.scenario


def test_the_plainest_schedule_is_tried_before_any_other() -> None:
    assert scheduled(lambda _: True).schedule == Schedule(seeds=(0,), choices={})


def test_only_the_decisions_that_matter_are_left_and_as_small_as_may_be() -> None:
    first, second = "home-1/s1-t1/9/out", "home-1/s1-t1/30/out"
    assert (CHOICES[first], CHOICES[second]) == (153, 254)
    found = scheduled(lambda c: c.get(first, 0) >= 16 and c.get(second, 0) >= 192)
    assert found.schedule.choices == {first: 16, second: 192}


def test_what_is_not_broken_under_seed_0_keeps_its_seed() -> None:
    spec = case(workload=Use(sessions=1, tasks=1), schedule=Schedule(seeds=(3,)))
    found = shrink(replace(spec, seed=3), BUG, Judge(lambda s: s.schedule.seeds == (3,))).spec
    assert found.scenario.schedule == Schedule(seeds=(3,), choices={}) and found.seed == 3


def test_what_only_the_seed_says_stays_with_the_seed() -> None:
    spec = case(workload=Use(sessions=1, tasks=1), schedule=Schedule(seeds=(1, 2, 3)))
    judge = Judge(lambda s: s.schedule.choices is None, choices=CHOICES)
    found = shrink(replace(spec, seed=2), BUG, judge).spec.scenario
    assert found.schedule == Schedule(seeds=(2,))


def test_a_recording_that_came_with_the_run_is_its_schedule() -> None:
    spec = replace(case(faults=(), workload=Use(sessions=1, tasks=1)), choices={"a": 3, "b": 8})
    judge = Judge(lambda s: (s.schedule.choices or {}).get("b", 0) > 2, choices=CHOICES)
    found = shrink(spec, BUG, judge).spec
    assert (found.choices, found.scenario.schedule.choices) == (None, {"b": 3})


# -- single steps


def test_sessions_are_renamed_everywhere() -> None:
    scenario = replace(
        base().scenario,
        workload=Use(sessions=9, tasks=1),
        faults=(at(1), replace(at(13), marker="profile/s3")),
        operator=(Release(session="s3", at_ms=5),),
        schedule=Schedule(choices={"home-1/s3-t1/1/out": 5, "home-1/-/2/out": 6}),
    )
    two = next(s.scenario for s in fewer_sessions(scenario) if s.scenario.workload.sessions == 2)
    assert [f.session for f in two.faults] == ["s1", "s2"]
    assert (two.faults[1].task, two.faults[1].marker) == ("s2-t1", "profile/s2")
    assert two.operator == (Release(session="s2", at_ms=5),)
    assert two.schedule.choices == {"home-1/s2-t1/1/out": 5, "home-1/-/2/out": 6}


def test_the_task_that_is_left_is_of_the_kind_that_it_was() -> None:
    fault = Fault(at="tools.ticket", phase="after-commit", kind="reset", task="s1-t3", marker="A-3")
    use = Use(sessions=1, tasks=4, mix=("refund", "ship", "ticket"))
    scenario = replace(base().scenario, faults=(fault,), workload=use)
    first, loose = list(fewer_tasks(scenario, base().workload))[:2]
    assert first.scenario.workload == Use(sessions=1, tasks=1, mix=("ticket",))
    assert [s.scenario.faults[0].task for s in (first, loose)] == ["s1-t1", "s1-t1"]
    # A team's own orders are not called after their tasks: then any action of the task is meant.
    assert [s.scenario.faults[0].marker for s in (first, loose)] == ["A-3", ""]


def test_earlier_sites_are_few_and_the_earliest_comes_first() -> None:
    scenario = replace(base().scenario, faults=(at(16, "duplicate"),))
    steps = list(earlier_sites(scenario, 0, SITES, base().contract))
    found = [s.scenario.faults[0] for s in steps]
    assert found[0] == at(0, "duplicate") and found[-1] == at(15, "duplicate")
    assert at(1, "duplicate") in found and len(found) <= 6
    assert list(earlier_sites(replace(scenario, faults=(at(0),)), 0, SITES, base().contract)) == []


def test_simpler_kinds_are_possible_ones() -> None:
    scenario = replace(base().scenario, faults=(at(1, "pause", "after-reply"),))
    found = [s.scenario.faults[0] for s in simpler_kinds(scenario, 0)]
    kinds = [f.kind for f in found if f.kind != "pause"]
    assert kinds == [k for k in SIMPLEST_FIRST[:14] if k in kinds] and "crash" in kinds
    assert "trap" not in kinds and "malformed" not in kinds
    assert [f.phase for f in found if f.kind == "pause"] == [
        "before-send",
        "before-commit",
        "after-commit",
    ]


def test_a_plain_workload_has_nothing_plainer() -> None:
    use = Use(sessions=1, tasks=1, rewords=False)
    plain = Scenario(name="n", title="t", family="f", workload=use)
    assert list(plainer(plain, base().workload)) == []
    odd = replace(
        plain,
        workload=replace(use, concurrent=True, deliveries=3),
        regions=Regions(names=("east", "west"), active="all", processes=2, lag_ms=9),
    )
    steps = list(plainer(odd, base().workload))
    assert steps[0].scenario == plain
    assert all(s.scenario != odd for s in steps) and len(steps) > 6


# -- real agents

# A planted bug, by the name of its agent, and what the crowd around it does.
MODEL_SLOW = Fault(
    at="model.complete", phase="before-commit", kind="delay", for_ms=40, task="s1-t1"
)
MODEL_AGAIN = Fault(
    at="model.complete", phase="before-commit", kind="delay", for_ms=9, task="s2-t1"
)
# One of each class: a lost reply, a restart, a trap, another session, none needed.
PLANTED = (
    "double_charge",
    "key_lost_over_restart",
    "reads_output_after_trap",
    "last_profile_instead_of_none",
    "logs_attributes",
)


@lru_cache
def planted(name: str) -> RunSpec:
    """The run that shows a planted bug."""
    return next(s for s in every_planted() if f"/{name}.py" in s.agent)


every_planted = lru_cache(planted_specs)


def in_a_crowd(name: str) -> RunSpec:
    """The run that shows a planted bug, in two sessions and with two more faults."""
    spec = planted(name)
    scenario = spec.scenario
    crowd = replace(scenario.workload, sessions=2)
    faults = (MODEL_SLOW, *scenario.faults, MODEL_AGAIN)
    limits = replace(scenario.limits, recovery_ms_max=900_000)
    return replace(spec, scenario=replace(scenario, workload=crowd, faults=faults, limits=limits))


def judged(specs: Sequence[RunSpec]) -> list[Trial]:
    return [trial(spec, whole=True) for spec in specs]


@lru_cache
def made_small(name: str) -> Shrunk:
    """The smallest case of a planted bug in a crowd."""
    spec = in_a_crowd(name)
    shown = judged([spec])[0]
    fingerprint = next(row[2] for row in shown.broken if row[0] == spec.expected_check)
    return shrink(spec, fingerprint, judged)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_becomes_small(name: str) -> None:
    spec = in_a_crowd(name)
    assert len(spec.scenario.faults) == 3
    found = made_small(name)
    small, fingerprint = found.spec.scenario, found.fingerprint
    assert len(small.faults) <= 1 and small.workload.sessions <= 2 and small.workload.tasks == 1
    assert small.schedule == Schedule(seeds=(spec.seed,), choices={})
    assert all(f.session and f.task and f.marker and ":" not in f.at for f in small.faults)
    # As it stands in the file, and without anything of the search, it is still that bug.
    again = scenario_from(tomllib.loads(found.spec.scenario_text), "case.toml")
    assert again == small and found.tried <= 80
    alone = replace(spec, scenario=again, scenario_text="", choices=None)
    assert fingerprint in [row[2] for row in trial(alone).broken]


@pytest.mark.parametrize(
    ("name", "faults"),
    [("counts_tries_per_delivery", 1), ("retries_in_two_layers", 1), ("retries_in_quarantine", 2)],
)
def test_what_takes_many_strikes_takes_few_faults(name: str, faults: int) -> None:
    spec = planted(name)
    assert len(spec.scenario.faults) > 2
    shown = judged([spec])[0]
    fingerprint = next(row[2] for row in shown.broken if row[0] == spec.expected_check)
    found = shrink(spec, fingerprint, judged)
    assert len(found.spec.scenario.faults) <= faults
    again = scenario_from(tomllib.loads(found.spec.scenario_text), "case.toml")
    alone = replace(spec, scenario=again, scenario_text="", choices=None)
    assert fingerprint in [row[2] for row in trial(alone).broken]


def test_a_task_for_an_executor_gives_the_same() -> None:
    here = made_small("double_charge")
    there = shrink_task(
        Setting(in_process=True), in_a_crowd("double_charge"), here.fingerprint, 400
    )
    assert there == here


def test_no_trial_is_begun_after_its_time() -> None:
    judge = Judge(lambda _: True)
    small = shrink(case(faults=(at(1), at(4))), BUG, judge, time_ms=0)
    assert (small.tried, len(judge.asked), small.breach is not None) == (1, 1, True)
