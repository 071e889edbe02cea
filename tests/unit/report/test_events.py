"""The event stream: every line fits its schema and below 64 kB, and a wrong line is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from tests.unit.report.campaigns import (
    HOSTILE,
    cut,
    hostile_results,
    known,
    known_bug,
    line,
    planted,
    promised,
    results,
    run,
    violation,
)

from chaoslab.report.events import LINE_MAX_BYTES, lines, ndjson, schema

Event = dict[str, Any]
VALIDATOR = jsonschema.Draft202012Validator(schema())


def stream(found: Event) -> list[Event]:
    text = ndjson(found)
    assert text.isascii() and text.endswith("\n")
    assert all(len(one) < LINE_MAX_BYTES for one in text.splitlines())
    events = [json.loads(one) for one in text.splitlines()]
    for event in events:
        VALIDATOR.validate(event)
    assert events[0]["kind"] == "campaign" and events[-1]["kind"] == "end"
    return events


def campaign() -> Event:
    found = results(
        run(0, violations=[violation()]),
        run(1),
        planted(2),
        known=known(known_bug()),
        cut=[cut()],
        started="2026-01-31T12:00:00Z",
        profile="pr",
    )
    found["promises"] = promised(line(), line("keys.lineage", state="proven"))
    return found


def test_the_schema_is_a_schema_and_says_of_every_field_what_it_is() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    bare = []
    for name, one in schema()["$defs"].items():
        for field, found in one["properties"].items():
            if "description" not in found or not {"type", "enum", "const", "anyOf"} & set(found):
                bare.append(f"{name}.{field}")
    assert bare == []


def test_the_lines_come_in_order_and_none_is_lost() -> None:
    found = campaign()
    events = stream(found)
    assert [e["kind"] for e in events] == (
        ["campaign", *["run"] * 3, "promise", "promise", "bug", "known", "cut", "end"]
    )
    assert events[0]["format"] == 1 and events[0]["runs"] == 3
    assert [{"kind": "run", **one} for one in found["runs"]] == events[1:4]
    assert events[6]["state"] == "known" and events[6]["runs"] == [found["runs"][0]["id"]]
    assert events[4]["agent"] == "mine.py:make_agent" and events[4]["state"] == "unproven"
    assert events[-1] == {
        "kind": "end",
        "exit_code": 0,
        "complete": True,
        "stopped": None,
        "lines": len(events) - 1,
    }


def test_every_field_that_is_written_is_described() -> None:
    for event in stream(campaign()):
        described = set(schema()["$defs"][event["kind"]]["properties"])
        assert set(event) <= described, event["kind"]
    shown = schema()["$defs"]["violation"]["properties"]
    assert set(violation()) <= set(shown)


def test_a_shard_is_named_without_its_whole_plan() -> None:
    plan = {"index": 2, "of": 3, "plan": "d1", "runs": [f"run-{n}" for n in range(9_000)]}
    event = stream(results(run(0), shard=plan))[0]
    assert event["shard"] == {"index": 2, "of": 3, "plan": "d1", "planned": 9_000}


def _without(name: str) -> Callable[[Event], Event]:
    return lambda event: {k: v for k, v in event.items() if k != name}


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("campaign", lambda e: e | {"format": 2}),
        ("campaign", _without("format")),
        ("run", lambda e: e | {"seed": "7"}),
        ("run", lambda e: e | {"verdict": "held"}),
        ("run", lambda e: e | {"violations": [{"check": "x"}]}),
        ("run", _without("id")),
        ("bug", lambda e: e | {"state": "mended"}),
        ("promise", _without("state")),
        ("known", lambda e: e | {"runs": [1]}),
        ("cut", _without("why")),
        ("end", lambda e: e | {"exit_code": 7}),
        ("end", lambda e: e | {"kind": "finish"}),
        ("end", _without("kind")),
    ],
)
def test_a_wrong_line_is_refused(kind: str, spoil: Callable[[Event], Event]) -> None:
    event = next(e for e in stream(campaign()) if e["kind"] == kind)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(spoil(event))


def test_a_field_that_came_later_is_no_error() -> None:
    for event in stream(campaign()):
        VALIDATOR.validate(event | {"later": {"than": "this"}})


def test_a_long_line_is_cut_and_says_where() -> None:
    long = ["a line of the chain " * 20] * 2_000
    many = [run(n, violations=[violation(because=long if n == 0 else None)]) for n in range(600)]
    found = results(*many)
    events = stream(found)
    bug = next(e for e in events if e["kind"] == "bug")
    assert bug["shortened"]["/runs"] == 600 and len(bug["runs"]) < 600
    assert bug["fingerprint"] == violation()["fingerprint"]
    entry = next(e for e in events if e["kind"] == "run")
    assert entry["shortened"]["/violations/0/because"] == 2_000
    assert entry["id"] == many[0]["id"] and entry["verdict"] == "invalid"


@pytest.mark.parametrize("size", [100, 70_000, 3_000_000])
def test_one_huge_text_stays_below_the_limit(size: int) -> None:
    text = "é\n" * (size // 2)
    (_, event, *_) = stream(results(run(0, broke=text, verdict="unknown")))
    assert (event["broke"] == text) == (size == 100)
    if size > 100:
        assert event["broke"].endswith(f"… (cut: {len(text)} characters)")


def test_deep_and_wide_values_stay_below_the_limit() -> None:
    deep: Any = "x" * 100
    for _ in range(50):
        deep = [deep] * 3 if len(json.dumps(deep)) < 200_000 else {"é" * 90: deep}
    stream(
        results(run(0, later=deep, tools={f"tool-{n}" * 50: {"tries": n} for n in range(9_000)}))
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_in_its_line(text: str) -> None:
    found = hostile_results(text)
    events = stream(found)
    assert len(events) == events[-1]["lines"] + 1 == len(list(lines(found)))
    assert events[2]["broke"][:1_000] == text[:1_000]


def test_results_of_an_older_version_are_read() -> None:
    kept = ("format", "exit_code", "complete", "stopped", "runs")
    old = {k: v for k, v in campaign().items() if k in kept}
    for entry in old["runs"]:
        for name in ("warnings", "scenario_faults", "tools", "ruleset"):
            del entry[name]
    assert [e["kind"] for e in stream(old)] == ["campaign", *["run"] * 3, "bug", "end"]
