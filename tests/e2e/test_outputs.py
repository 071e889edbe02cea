"""What other tools read, from real campaigns: one that is broken, then one that is mended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import pytest

from chaoslab.core.resources import resource_path
from chaoslab.report.comment import comment
from chaoslab.report.compare import compare
from chaoslab.report.events import ndjson, schema
from chaoslab.report.junit import junit_xml
from chaoslab.run.campaign import run_all
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.store import Campaign
from chaoslab.run.workers import Workers

BROKEN = f"{resource_path('fixtures/agents/double_charge.py')}:make_agent"


def campaign(folder: Path, agent: str, *scenarios: str) -> dict[str, Any]:
    specs = specs_for(scenario_files(list(scenarios)), agent, seeds=[0])
    workers = Workers(in_process=True)
    try:
        run_all(specs, Campaign(folder), workers, jobs=1, on_run=lambda entry, record: None)
    finally:
        workers.close()
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return campaign(tmp_path_factory.mktemp("broken"), BROKEN, "timeout-after-commit")


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return campaign(tmp_path_factory.mktemp("held"), REFERENCE, "timeout-after-commit")


def test_every_line_of_the_stream_fits_its_schema(
    broken: dict[str, Any], held: dict[str, Any]
) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for found in (broken, held):
        kinds = set()
        for text in ndjson(found).splitlines():
            event = json.loads(text)
            validator.validate(event)
            kinds.add(event["kind"])
            described = schema()["$defs"][event["kind"]]["properties"]
            assert set(event) <= set(described), event["kind"]
        assert {"campaign", "run", "promise", "end"} <= kinds
    shown = schema()["$defs"]["violation"]["properties"]
    assert all(set(v) <= set(shown) for run in broken["runs"] for v in run["violations"])


def test_the_servers_list_and_the_comment_say_what_the_results_say(
    broken: dict[str, Any], held: dict[str, Any]
) -> None:
    root = Xml.fromstring(junit_xml(broken, folder="reports/latest"))
    (failure,) = root.iter("failure")
    chain = broken["bugs"][0]["because"]
    assert all(line in (failure.text or "") for line in chain)
    text = comment(broken, folder="reports/latest")
    replay = f"chaoslab replay reports/latest/{broken['runs'][0]['id']}"
    assert replay in text and replay in (failure.text or "")
    assert f"**Broken: {len(broken['bugs'])} bugs in 1 of 1 runs.**" in text
    assert all(line in text for line in chain)
    root = Xml.fromstring(junit_xml(held, folder="reports/latest"))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("1", "0", "0")
    assert "**No promise was seen broken: 1 of 1 run held.**" in comment(held)


def test_against_itself_all_is_ongoing_and_where_nothing_ran_nothing_is_resolved(
    broken: dict[str, Any],
) -> None:
    same = compare(broken, broken)
    assert len(same.ongoing) == len(broken["bugs"]) and not same.new and not same.not_run
    idle = {**broken, "bugs": [], "runs": [{**broken["runs"][0], "violations": [], "checks": {}}]}
    change = compare(broken, idle)
    assert len(change.not_run) == len(broken["bugs"]) and not change.resolved
