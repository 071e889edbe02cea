"""A scenario that is written reads back as the same scenario, whatever its texts are."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.check import CHECK_IDS
from chaoslab.contract import Limits
from chaoslab.core.errors import ScenarioError
from chaoslab.core.resources import resource_path
from chaoslab.faults import KINDS, PHASES, PORTS, ROLES, Fault, problem
from chaoslab.faults.model import SCOPES, TRAP_MODES
from chaoslab.scenario import (
    Regions,
    Release,
    Scenario,
    Schedule,
    Use,
    find_workload,
    load_scenario,
    scenario_from,
)
from chaoslab.scenario.loader import BUILDS, GAP_MS_MAX, NEEDS
from chaoslab.scenario.writing import fault_table, scenario_toml

FILES = sorted(resource_path("scenarios").rglob("*.toml"))
PLACES = (*PORTS, *ROLES, "tools.refund", "tools.refund.lookup", "wasm.ticket")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "",
        '"',
        '"""',
        "\\",
        "\\u0041",
        "a\nb",
        "\r\n",
        "# no comment",
        "\x00\x1b\x7f",
        "'''",
        "\u202e",
    ]
)
LARGE = st.integers(0, 2**62)


@st.composite
def faults(draw: st.DrawFn, regions: int) -> Fault:
    """A fault that the loader accepts."""
    kind = draw(st.sampled_from(tuple(KINDS)))
    at, phase = draw(st.sampled_from(PLACES)), draw(st.sampled_from(PHASES))
    plain = Fault(at=at, phase=phase, kind=kind, after_items=int(phase == "mid-write"))
    if problem(plain) or (kind == "partition" and regions < 2):
        plain = Fault(at="tools:*", phase="after-commit", kind="silence")
    long = plain.kind in ("delay", "duplicate", "hold", "pause", "partition", "crash")
    scopes = SCOPES if plain.kind == "crash" and regions > 1 else SCOPES[:1]
    return Fault(
        at=plain.at,
        phase=plain.phase,
        kind=plain.kind,
        session=draw(TEXTS),
        task=draw(TEXTS),
        marker=draw(TEXTS),
        attempt=draw(st.integers(1, 2**62)),
        after_items=draw(st.integers(1, 9)) if plain.after_items else 0,
        for_ms=draw(st.none() | st.integers(1, 2**62)) if long else None,
        scope=draw(st.sampled_from(scopes)),
        mode=draw(st.sampled_from(TRAP_MODES)) if plain.kind == "trap" else "panic",
        every=draw(st.booleans()),
    )


@st.composite
def uses(draw: st.DrawFn) -> Use:
    concurrent = draw(st.booleans())
    return Use(
        use="support",
        sessions=draw(st.integers(1, 10_000)),
        tasks=draw(st.integers(1, 10_000)),
        mix=tuple(draw(st.lists(st.sampled_from(tuple(find_workload("support").kinds))))),
        concurrent=concurrent,
        gap_ms=0 if concurrent else draw(st.integers(0, GAP_MS_MAX)),
        deliveries=draw(st.integers(1, 8)),
        rewords=draw(st.booleans()),
        wasm=draw(st.dictionaries(st.just("ticket"), st.sampled_from(BUILDS))),
    )


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """A scenario that the loader accepts; every field of it can have any value."""
    names = draw(st.lists(TEXTS, min_size=1, max_size=5, unique=True))
    return Scenario(
        name=draw(TEXTS),
        title=draw(TEXTS),
        family=draw(TEXTS),
        workload=draw(uses()),
        schedule=Schedule(
            seeds=tuple(draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3))),
            jitter_ms=draw(st.integers(0, 60_000)),
            choices=draw(st.none() | st.dictionaries(TEXTS, st.integers(0, 255), max_size=3)),
        ),
        faults=tuple(draw(st.lists(faults(len(names)), max_size=3))),
        regions=Regions(
            names=tuple(names),
            active=draw(st.sampled_from(["primary", "all"])),
            processes=draw(st.integers(1, 8)),
            lag_ms=draw(LARGE),
            failover_after_ms=draw(LARGE) or 1,
            restart_after_ms=draw(LARGE) or 1,
        ),
        operator=tuple(
            Release(session=session, at_ms=draw(LARGE))
            for session in draw(st.lists(TEXTS, max_size=2))
        ),
        limits=Limits(
            attempts_per_operation_max=draw(st.none() | LARGE),
            failed_tasks_max=draw(st.none() | LARGE),
            uncertain_tasks_max=draw(st.none() | LARGE),
            recovery_ms_max=draw(st.none() | LARGE),
            amplification_percent_max=draw(st.none() | LARGE),
        ),
        needs=tuple(draw(st.lists(st.sampled_from(NEEDS), max_size=2))),
        expect=draw(st.sampled_from(("valid", *CHECK_IDS))),
        heal_after_ms=draw(LARGE) or 1,
        linger_ms=draw(LARGE),
    )


def read_back(text: str) -> Scenario:
    """The scenario in a text, by the way of bytes, as a file has them."""
    return scenario_from(tomllib.loads(text.encode("utf-8").decode("utf-8")), "x.toml")


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_packaged_scenario_reads_back_as_itself(path: Path) -> None:
    scenario = load_scenario(path)
    assert read_back(scenario_toml(scenario, comments=["A comment."])) == scenario


@settings(max_examples=100, deadline=None)
@given(scenarios(), st.lists(TEXTS, max_size=3))
def test_every_scenario_reads_back_as_itself(scenario: Scenario, comments: list[str]) -> None:
    assert read_back(scenario_toml(scenario, comments=comments)) == scenario
    assert all(c.isprintable() or c == "\n" for c in scenario_toml(scenario))


def test_only_what_differs_from_the_defaults_is_said() -> None:
    plain = Scenario(name="n", title="t", family="f")
    assert scenario_toml(plain) == 'format = 1\nname   = "n"\ntitle  = "t"\nfamily = "f"\n'


def test_the_plainest_schedule_is_not_the_seeds_schedule() -> None:
    plainest = Scenario(name="n", title="t", family="f", schedule=Schedule(choices={}))
    text = scenario_toml(plainest)
    assert text.endswith("\n\n[schedule.choices]\n")
    assert read_back(text).schedule.choices == {}


def test_what_a_person_reads() -> None:
    scenario = Scenario(
        name="n",
        title="t",
        family="f",
        workload=Use(mix=("ticket",), wasm={"ticket": "unwind"}),
        schedule=Schedule(seeds=(7,), choices={"home-1/s1-t1/2/out": 16, "a": 1}),
        faults=(Fault(at="memory.write", phase="after-reply", kind="crash", attempt=2),),
        operator=(Release(session="s1", at_ms=0),),
        limits=Limits(failed_tasks_max=0),
        linger_ms=5,
    )
    assert scenario_toml(scenario, comments=["first\nsecond", "", "third"]) == (
        "# first\n# second\n#\n# third\n\n"
        'format = 1\nname   = "n"\ntitle  = "t"\nfamily = "f"\n\n'
        '[workload]\nmix  = ["ticket"]\nwasm = { ticket = "unwind" }\n\n'
        "[schedule]\nseeds     = [7]\nlinger_ms = 5\n\n"
        '[schedule.choices]\n"home-1/s1-t1/2/out" = 16\na                    = 1\n\n'
        '[[faults]]\nat      = "memory.write"\nphase   = "after-reply"\nkind    = "crash"\n'
        "attempt = 2\n\n"
        '[[operator]]\nrelease = "s1"\nat_ms   = 0\n\n'
        "[limits]\nfailed_tasks_max = 0\n"
    )


@pytest.mark.parametrize(
    "hostile", ["a\x1b[2Jb", "a\rname = 1", "a\u2028name = 1", "\ud800", "\x00"]
)
def test_a_comment_stays_a_comment(hostile: str) -> None:
    plain = Scenario(name="n", title="t", family="f")
    text = scenario_toml(plain, comments=[hostile])
    assert read_back(text) == plain
    head = text.partition("\n\n")[0].split("\n")
    assert all(line.startswith("#") and line.isprintable() for line in head)


def test_half_a_character_is_refused_with_words() -> None:
    with pytest.raises(ScenarioError, match="cannot be written to a file"):
        scenario_toml(Scenario(name="\udcff", title="t", family="f"))


def test_a_fault_as_a_table_reads_back() -> None:
    fault = Fault(at="wasm:*", phase="before-commit", kind="trap", mode="loop", attempt=3)
    assert Fault(**fault_table(fault)) == fault
