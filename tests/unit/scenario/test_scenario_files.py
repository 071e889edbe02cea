"""Scenario and workload files: every possible test is accepted, every other one explained."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.core.errors import ScenarioError
from chaoslab.core.resources import resource_path
from chaoslab.faults import KINDS, PHASES, PORTS, ROLES
from chaoslab.faults.model import MODEL_KINDS
from chaoslab.scenario import find_workload, load_scenario, load_workload, scenario_from

# The example of the design page, as it stands there.
EXAMPLE = """
format = 1
name   = "timeout-after-commit"
title  = "The reply is lost after the action was committed"
family = "matrix"
[workload]
use = "support"
sessions = 3
tasks = 2
[[faults]]
at    = "tools:keyed"
phase = "after-commit"
kind  = "silence"
attempt = 1
[limits]
attempts_per_operation_max = 3
"""

HEAD = {"format": 1, "name": "n", "title": "t", "family": "f"}
TWO_REGIONS = {"regions": {"names": ["here", "there"]}}
PLACES = (*PORTS, *ROLES, "tools.refund", "wasm.ticket")

# The pairs that make sense, written down a second time, from the prose of faults/model.py.
ON_ALL_PHASES = ("crash", "pause", "partition")
ON_THE_WIRE = ("silence", "reset", "delay")
AT_THE_SERVICE = ("error-reply", "duplicate", "hold", "trap")
ONCE = {"reorder": "before-commit", "rate-limit": "before-commit"}
IN_A_GROUP = ("silence", "reset", "error-reply", "crash", "pause")


def possible(kind: str, phase: str, at: str) -> bool:
    """Whether a fault makes sense."""
    if phase == "mid-write":
        return at == "memory.write_many" and kind in IN_A_GROUP
    if kind in MODEL_KINDS:
        return phase == "after-commit" and at == "model.complete"
    if kind == "trap" and (not at.startswith("wasm") or at == "wasm.instantiate"):
        return False
    if kind in ("duplicate", "reorder") and at.startswith("wasm"):
        return False
    if kind in ONCE:
        return phase == ONCE[kind]
    phases = {
        **dict.fromkeys(ON_ALL_PHASES, PHASES[:4]),
        **dict.fromkeys(ON_THE_WIRE, PHASES[:3]),
        **dict.fromkeys(AT_THE_SERVICE, PHASES[1:3]),
    }
    return phase in phases[kind]


def raw_fault(kind: str, phase: str, at: str) -> dict[str, Any]:
    fault: dict[str, Any] = {"kind": kind, "phase": phase, "at": at}
    return {**fault, "after_items": 1} if phase == "mid-write" else fault


def problems_of(raw: dict[str, Any], file: str = "x.toml") -> str:
    with pytest.raises(ScenarioError) as caught:
        scenario_from({**HEAD, **raw}, file)
    return str(caught.value)


def test_the_example_of_the_design_loads_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "timeout.toml"
    path.write_text(EXAMPLE)
    scenario = load_scenario(path)
    assert scenario.id == "matrix/timeout-after-commit"
    assert (scenario.workload.sessions, scenario.workload.tasks) == (3, 2)
    assert scenario.faults[0].where() == "silence after-commit at tools:keyed"
    assert scenario.limits.attempts_per_operation_max == 3


def test_every_possible_fault_is_accepted() -> None:
    found = [
        raw_fault(kind, phase, at)
        for kind, phase, at in itertools.product(KINDS, PHASES, PLACES)
        if possible(kind, phase, at)
    ]
    assert len(found) > 200
    scenario = scenario_from({**HEAD, **TWO_REGIONS, "faults": found}, "x.toml")
    assert len(scenario.faults) == len(found)


def test_every_impossible_fault_is_refused_by_place_value_and_what_was_allowed() -> None:
    found = [
        raw_fault(kind, phase, at)
        for kind, phase, at in itertools.product(KINDS, PHASES, PLACES)
        if not possible(kind, phase, at)
    ]
    text = problems_of({**TWO_REGIONS, "faults": found}, "odd.toml")
    assert text.startswith(f"odd.toml has {len(found)} problems")
    lines = text.splitlines()[1:]
    for number, (line, fault) in enumerate(zip(lines, found, strict=True)):
        assert line.strip().startswith(f"faults[{number}]: "), line
        assert "allowed" in line
        assert fault["kind"] in line or fault["phase"] in line or fault["at"] in line


def test_what_is_allowed_instead_is_itself_possible() -> None:
    """Advice that leads to the next refusal is no advice."""
    for kind, phase, at in itertools.product(KINDS, PHASES, PLACES):
        if possible(kind, phase, at) or not any(possible(kind, p, at) for p in PHASES):
            continue
        line = problems_of({**TWO_REGIONS, "faults": [raw_fault(kind, phase, at)]})
        advice = re.findall(r"allowed for [a-z-]+: ([a-z, -]+)", line)
        for advised in advice[0].split(", "):
            assert possible(kind, advised, at), (kind, phase, at, line)


def test_a_fault_without_a_phase_is_refused() -> None:
    text = problems_of({"faults": [{"at": "tools:keyed", "kind": "silence"}]})
    assert "faults[0].phase: a fault without a phase is refused; allowed: before-send" in text


@pytest.mark.parametrize("at", ["tools", "tools.", "tools:odd", "memory.reed", "", ".", "clock"])
def test_a_place_that_does_not_exist_is_refused(at: str) -> None:
    text = problems_of({"faults": [{"at": at, "kind": "silence", "phase": "after-commit"}]})
    assert "faults[0]" in text and (repr(at) in text or not at)
    assert "tools:keyed" in text or "allowed" in text


def test_a_place_that_does_not_exist_is_answered_with_places() -> None:
    text = problems_of({"faults": [{"at": "tool:x", "kind": "silence", "phase": "after-commit"}]})
    assert "tools:keyed" in text and "memory.write_many" in text


def test_all_problems_come_at_once() -> None:
    text = problems_of(
        {
            "format": 2,
            "name": 3,
            "heal": 1,
            "needs": ["docker"],
            "workload": {"use": "supprt", "sessions": 0, "tasks": True, "mixx": []},
            "schedule": {"seeds": [], "jitter_ms": -1, "choices": {"a": 256}},
            "faults": [
                {"at": "tools:keyed", "phase": "after", "kind": "silent"},
                {"phase": "before-send", "kind": "crash", "atempt": 2, "attempt": 0},
            ],
            "regions": {"names": ["a", "a"], "active": "none", "lag_ms": "1"},
            "operator": [{"at_ms": 3}],
            "limits": {"recovery_ms": 1},
        }
    )
    for part in (
        "format: got 2 (int); allowed: 1",
        "name: got 3 (int)",
        "heal: unknown key",
        "needs: got 'docker' (str); allowed: wasm",
        "workload.sessions: got 0 (int)",
        "workload.tasks: got True (bool)",
        "workload.mixx: unknown key; did you mean mix?",
        "workload.use: got 'supprt' (str); allowed: desk, support",
        "schedule.seeds: ",
        "schedule.jitter_ms: got -1",
        "schedule.choices.a: got 256 (int)",
        "faults[0].phase: got 'after' (str); allowed: before-send",
        "faults[0].kind: got 'silent' (str); allowed: silence",
        "faults[1].at: is missing",
        "faults[1].atempt: unknown key; did you mean attempt?",
        "faults[1].attempt: got 0 (int)",
        "regions.names: ",
        "regions.active: got 'none'",
        "regions.lag_ms: got '1'",
        "operator[0].release: is missing",
        "limits.recovery_ms: unknown key; did you mean recovery_ms_max?",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    "seeds", [[], [True], [-1], ["1"], [1.0], 3, "1", [2**63], [[1]], {"a": 1}]
)
def test_seeds_that_are_none_are_named(seeds: object) -> None:
    text = problems_of({"schedule": {"seeds": seeds}})
    assert "schedule.seeds" in text and "allowed" in text
    assert re.search(r"got .*\((list|int|str|dict)\)", text), "the value and its type are shown"


def test_an_unknown_workload_kind_or_expectation_is_named_with_those_there_are() -> None:
    text = problems_of({"workload": {"mix": ["refund", "dance"]}})
    assert "workload.mix: got 'dance' (str); allowed: refund, ship, ticket" in text


@pytest.mark.parametrize(
    "use", ["../workloads/support", "/etc/passwd", "", "a/b", "nul\0", "sup\ud800"]
)
def test_a_workload_is_a_name_and_never_a_path(use: str) -> None:
    text = problems_of({"workload": {"use": use}})
    assert "workload.use" in text and "allowed: desk, support" in text


def test_a_fault_of_a_region_needs_a_second_region() -> None:
    crash = {"at": "tools:keyed", "phase": "after-commit", "kind": "crash", "scope": "region"}
    part = {"at": "tools:keyed", "phase": "after-commit", "kind": "partition"}
    text = problems_of({"faults": [crash, part]})
    assert "faults[0]: scope = region needs two names" in text
    assert "a partition needs two names" in text


def test_a_scenario_says_everything_a_shrunk_case_needs() -> None:
    fault = {
        "at": "memory.write_many",
        "phase": "mid-write",
        "kind": "crash",
        "after_items": 2,
        "session": "s1",
        "task": "s1-t1",
        "marker": "a+b+c",
        "attempt": 2,
    }
    scenario = scenario_from(
        {
            **HEAD,
            "workload": {
                "concurrent": True,
                "deliveries": 2,
                "rewords": False,
                "mix": ["ship"],
                "wasm": {"ticket": "unwind"},
            },
            "schedule": {
                "seeds": [3],
                "choices": {"home-1/s1-t1/1/out": 7},
                "jitter_ms": 0,
                "heal_after_ms": 9,
                "linger_ms": 0,
            },
            "faults": [fault],
            "regions": {"names": ["a", "b"], "active": "all", "processes": 2},
            "operator": [{"release": "s1", "at_ms": 5}],
            "needs": ["wasm"],
            "expect": "effects.delivery",
        },
        "x.toml",
    )
    assert scenario.schedule.choices == {"home-1/s1-t1/1/out": 7}
    assert (scenario.heal_after_ms, scenario.linger_ms) == (9, 0)
    assert scenario.faults[0].after_items == 2 and scenario.faults[0].attempt == 2
    assert scenario.workload.wasm == {"ticket": "unwind"}
    assert scenario.operator[0].session == "s1"


rubbish = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=4) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["use", "seeds", "names", "choices", "at", "kind", "phase", "wasm"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=5,
)
TOP = (*HEAD, "workload", "schedule", "faults", "regions", "operator", "limits", "needs", "expect")


@given(st.dictionaries(st.sampled_from(TOP), rubbish, max_size=4))
@settings(max_examples=80, deadline=None)
def test_no_file_whatever_crashes_the_loader(raw: dict[str, Any]) -> None:
    try:
        scenario_from({**HEAD, **raw}, "x.toml")
    except ScenarioError as error:
        assert "x.toml has" in str(error)


def test_files_that_cannot_be_read_are_scenario_errors(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", tmp_path, bad):
        for load in (load_scenario, load_workload):
            with pytest.raises(ScenarioError, match=path.name):
                load(path)


# -- workloads


def workload(tmp_path: Path, text: str) -> str:
    path = tmp_path / "w.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load_workload(path)
    return str(caught.value)


def test_a_plan_that_calls_an_unknown_tool_is_refused(tmp_path: Path) -> None:
    text = workload(
        tmp_path, 'format = 1\n[tasks.a]\nprompt = "p"\n[[tasks.a.plan]]\ntool = "pay"\n'
    )
    assert "tasks.a: its plan calls an unknown tool 'pay'" in text


def test_a_workload_without_tasks_and_with_typos_is_refused_at_once(tmp_path: Path) -> None:
    text = workload(tmp_path, "[tools.pay]\nkey = true\nduration_ms = -1\n")
    for part in (
        "format: is missing",
        "tools.pay.key: unknown key; did you mean keys?",
        "tools.pay.duration_ms: got -1",
        "at least one [tasks.NAME]",
    ):
        assert part in text, part


def test_every_packaged_scenario_and_workload_loads() -> None:
    for path in resource_path("fixtures/workloads").glob("*.toml"):
        assert find_workload(path.stem).kinds
    found = sorted(resource_path("scenarios").rglob("*.toml"))
    assert found
    for path in found:
        scenario = load_scenario(path)
        assert path.stem == scenario.name and path.parent.name == scenario.family
        assert tomllib.loads(path.read_text())["format"] == 1
