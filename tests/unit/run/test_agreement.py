"""The agreement as pure functions: what counts as the same, what can be expressed, which ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaoslab.contract import Contract
from chaoslab.contract.target import Target
from chaoslab.core.errors import UsageError
from chaoslab.faults import Fault, Nemesis, Placed, Site
from chaoslab.report.agreement import answer, reasons_of
from chaoslab.report.page.agreement import agreement_html
from chaoslab.run.agreeing import subjects_of
from chaoslab.run.agreement import (
    LEFT_OUT,
    Seen,
    Verdict,
    cell_of,
    compared,
    counts_of,
    exit_code,
)
from chaoslab.run.expressible import expressible
from chaoslab.run.ways import WAYS, Way, way_named, ways_of
from chaoslab.scenario import Scenario
from chaoslab.scenario.model import Release, Schedule, Use

KEYS, SENT = "keys.lineage", "effects.delivery"


def seen(sim: str = "", real: str = "", **more: str) -> Seen:
    return Seen(sim=frozenset(sim.split()), real=frozenset(real.split()), **more)


@pytest.mark.parametrize(
    ("one", "planned", "verdict"),
    [
        (seen(KEYS, KEYS), KEYS, "agrees"),
        (seen(f"{KEYS} {SENT}", KEYS), KEYS, "agrees"),
        (seen(KEYS, f"{KEYS} {SENT}"), KEYS, "differs"),
        (seen(f"{KEYS} {SENT}", SENT), KEYS, "differs"),
        (seen(KEYS, ""), KEYS, "differs"),
        (seen(KEYS, "", idle="never struck"), KEYS, "idle"),
        (seen(KEYS, KEYS, idle="in one repetition"), KEYS, "agrees"),
        (seen("", ""), KEYS, "differs"),
        (seen("", ""), "", "agrees"),
        (seen("", KEYS), "", "differs"),
        (seen(KEYS, ""), "", "differs"),
        (seen("", "", idle="never struck"), "", "idle"),
        (seen("", KEYS, idle="never struck"), "", "differs"),
        (seen(KEYS, "", broke="it does not start"), KEYS, "could-not-run"),
        (seen("", "", not_applicable="days"), KEYS, "not-applicable"),
    ],
)
def test_a_way_agrees_or_says_why_not(one: Seen, planned: str, verdict: Verdict) -> None:
    found, why = compared(one, planned=planned)
    assert found == verdict
    assert bool(why) == (verdict != "agrees")


def entry(**more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "id": "r",
        "verdict": "valid",
        "vacuous": None,
        "broke": None,
        "not_applicable": None,
        "violations": [],
        "checks": {},
        "faults": {"fired": 1},
        "wall_ms": 5,
    }
    return {**plain, **more}


def test_a_cell_tells_why_nothing_was_proven_and_what_was_not_run() -> None:
    checks = {"a": {"verdict": "valid", "reason": "x"}, "b": {"verdict": "unknown", "reason": "y"}}
    unproven = cell_of(entry(verdict="unknown", checks=checks), frozenset())
    assert (unproven["verdict"], unproven["why"]) == ("idle", "y")
    assert cell_of(None, frozenset())["verdict"] == "not-run"
    held = cell_of(entry(), frozenset())
    assert (held["verdict"], held["struck"]) == ("agrees", 1)


def rows(*verdicts: str) -> list[dict[str, Any]]:
    return [
        {
            "short": "a",
            "role": "planted",
            "scenario": "f/s",
            "planned": KEYS,
            "sim": [KEYS],
            "cells": {"process": {"verdict": v, "why": "<b>why", "run": "r", "checks": []}},
        }
        for v in verdicts
    ]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (("agrees",), 0),
        (("agrees", "not-applicable"), 0),
        (("not-applicable",), 3),
        (("agrees", "idle"), 3),
        (("agrees", "not-run"), 3),
        (("agrees", "idle", "could-not-run"), 4),
        (("agrees", "differs"), 4),
        ((), 3),
    ],
)
def test_the_exit_code_is_the_worst(verdicts: tuple[str, ...], code: int) -> None:
    assert exit_code(rows(*verdicts)) == code


def test_reasons_stand_once_with_all_their_subjects_and_the_worst_first() -> None:
    told = reasons_of(rows("idle", "agrees", "differs", "differs"), "out")
    assert [text.split("  ")[0] for text in told] == ["DIFFERS", "IDLE"]
    assert told[0].count("a in f/s") == 2 and "out/process/r" in told[0]


def test_the_page_escapes_what_others_said_and_names_what_is_absent() -> None:
    table = rows("agrees", "differs")
    results = {
        "version": "0",
        "exit_code": 4,
        "seeds": 2,
        "ways": [{"name": "process", "words": "w", "counts": counts_of(table, "process")}],
        "absent": {"docker": "no daemon"},
        "rows": table,
    }
    page = agreement_html(results)
    assert "&lt;b&gt;why" in page and "<b>why" not in page
    assert "docker: absent, no daemon" in page
    assert answer(results)[0] == "process: 2 subjects, 1 agrees, 1 DIFFERS."


TARGET = Target(commands=(), ready="ports", speed=10)
PLAIN = Scenario(name="s", title="", family="f")
DAY_MS = 86_400_000


def fault(**more: Any) -> Fault:
    return Fault(at="tools:keyed", phase="after-commit", **more)


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        (PLAIN, ""),
        (replace(PLAIN, workload=Use(tasks=2, gap_ms=600_000)), ""),
        (replace(PLAIN, workload=Use(tasks=2, gap_ms=600_001)), "it waits 600 s"),
        (replace(PLAIN, faults=(fault(kind="hold", for_ms=DAY_MS),)), "its hold lasts"),
        (replace(PLAIN, faults=(fault(kind="delay", for_ms=600_000),)), ""),
        (replace(PLAIN, operator=(Release(session="s1", at_ms=DAY_MS),)), "its operator comes"),
        (replace(PLAIN, schedule=Schedule(choices={})), "it is a recorded schedule"),
    ],
)
def test_what_cannot_be_expressed_has_a_reason(scenario: Scenario, words: str) -> None:
    found = expressible(scenario, Contract(), TARGET)
    assert found.startswith(words) and bool(found) == bool(words)


def test_a_time_that_never_comes_is_no_reason_where_nothing_waits_for_it() -> None:
    late = replace(PLAIN.regions, failover_after_ms=DAY_MS)
    paused = replace(PLAIN, regions=late, faults=(fault(kind="pause", for_ms=1_000),))
    killed = replace(paused, faults=(fault(kind="crash"),))
    assert not expressible(paused, Contract(), TARGET)
    assert "its failover comes after" in expressible(killed, Contract(), TARGET)


def test_an_agent_with_a_runner_of_its_own_keeps_its_guests_and_regions() -> None:
    own = replace(TARGET, ready="")
    two = replace(PLAIN, regions=replace(PLAIN.regions, names=("a", "b")))
    assert "two regions" in expressible(two, Contract(), own)
    assert not expressible(two, Contract(), TARGET)


def test_ways_have_names_of_their_own_and_an_unknown_one_is_refused() -> None:
    names = [way.name for way in WAYS]
    assert names[0] == "process" and len(set(names)) == len(names)
    with pytest.raises(UsageError, match="allowed: process"):
        way_named("teleport")


def test_a_way_whose_part_is_absent_is_told_and_refused_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = Way(name="docker", words="", probe=lambda: "no daemon answers")
    monkeypatch.setattr("chaoslab.run.ways.WAYS", (WAYS[0], more))
    found, absent = ways_of([])
    assert [way.name for way in found] == ["process"] and absent == {"docker": "no daemon answers"}
    with pytest.raises(UsageError, match="no daemon answers"):
        ways_of(["process", "docker"])


def test_a_way_that_changes_only_regions_takes_only_what_strikes_there() -> None:
    [zombie] = subjects_of(["zombie_without_fence"])
    [charge] = subjects_of(["double_charge"])
    for way in WAYS:
        assert zombie.on(way)
        assert charge.on(way) is not way.narrow
    assert exit_code([{"cells": {"process": {"verdict": "agrees"}, "docker": dict(LEFT_OUT)}}]) == 0


def test_a_way_changes_the_target_and_asks_functions_when_it_is_taken() -> None:
    way = Way(name="slow", words="", changes={"speed": 2, "database": lambda: "there"})
    made = way.target_for("a.py:make_agent")
    assert (made.speed, made.database, made.ready) == (2, "there", "ports")


def test_a_fault_that_lost_a_race_waits_for_the_next_try() -> None:
    one = Fault(at="tools.pay", phase="before-commit", kind="crash")
    site = Site(session="s", task="t", port="tools.pay", marker="m", attempt=1)
    nemesis = Nemesis([Placed(number=0, fault=one, sites=(site,), eligible=1)], Contract())
    [waiting] = nemesis.at(site)
    nemesis.postpone(waiting, site)
    assert nemesis.at(site) == []
    assert nemesis.at(replace(site, attempt=2)) == [waiting]
    nemesis.healed = True
    nemesis.postpone(waiting, site)
    nemesis.healed = False
    assert nemesis.at(replace(site, attempt=2)) == []
