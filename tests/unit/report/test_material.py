"""What a report is made from: whole runs, and what is left where some is missing or damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from chaoslab.core.errors import FormatError, LabError
from chaoslab.report.page import write_page
from chaoslab.report.page.material import RunFiles, load_material
from chaoslab.run.campaign import run_all
from chaoslab.run.select import scenario_files, specs_for
from chaoslab.run.store import Campaign
from chaoslab.run.workers import Workers

AGENT = "fixtures/agents/double_charge.py:make_agent"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign of one broken run."""
    folder = tmp_path_factory.mktemp("campaign")
    specs = specs_for(scenario_files(["matrix/timeout-after-commit"]), AGENT, seeds=[0])
    workers = Workers(in_process=True)
    run_all(specs, Campaign(folder), workers, jobs=1, on_run=lambda entry, record: None)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it that may be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "c"))


def run_of(folder: Path) -> RunFiles:
    """The one run of a campaign, as a report sees it."""
    material = load_material(folder)
    return material.run(material.results["runs"][0]["id"])


def test_a_whole_run_has_its_histories_and_its_contract(folder: Path) -> None:
    run = run_of(folder)
    assert run.present and not run.trouble
    assert run.wheres == ("fault", "control")
    view = run.view("fault")
    assert view is not None and len(view) == run.entry["ops"]
    assert run.contract.tools["refund"].promise == "exactly-once"
    assert "timeout-after-commit" in run.scenario_text


@pytest.mark.parametrize("spoil", ["cut", "line gone", "word changed"])
def test_a_damaged_history_is_no_evidence(folder: Path, spoil: str) -> None:
    [path] = folder.glob("*/fault.jsonl")
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    path.write_bytes(
        {
            "cut": data[:-20],
            "line gone": b"".join(lines[:-1]),
            "word changed": data.replace(b"refund:o-s1-t1#2", b"refund:o-s1-t1#9"),
        }[spoil]
    )
    run = run_of(folder)
    assert run.view("fault") is None
    assert "fault.jsonl" in run.trouble
    assert run.view("control") is not None


def test_where_only_the_entry_is_left_it_says_so(folder: Path) -> None:
    [path] = folder.glob("*/run.json")
    shutil.rmtree(path.parent)
    run = run_of(folder)
    assert not run.present and run.wheres == () and run.view("fault") is None
    assert run.trouble == "its folder is not there"


def test_a_damaged_run_json_is_told(folder: Path) -> None:
    [path] = folder.glob("*/run.json")
    path.write_text("{")
    assert "damaged" in run_of(folder).trouble


def test_a_run_named_like_a_path_leads_nowhere(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    results["runs"][0]["id"] = f"../{folder.name}/{results['runs'][0]['id']}"
    (folder / "results.json").write_text(json.dumps(results))
    try:
        run = run_of(folder)
    except FormatError:  # refused at the door is as good
        return
    assert not run.present


def test_a_history_nested_without_end_is_refused_in_words(folder: Path) -> None:
    [path] = folder.glob("*/fault.jsonl")
    first, *lines = path.read_text().splitlines()
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    entry = json.loads(lines[0]) | {"value": {"deep": "HERE"}}
    lines[0] = json.dumps(entry).replace('"HERE"', deep)
    path.write_text("\n".join([first, *lines]) + "\n")
    with pytest.raises(LabError, match="nested too deep"):
        write_page(folder)
    assert not list(folder.glob("*.tmp"))


def test_a_link_out_of_the_campaign_is_not_followed(folder: Path, tmp_path: Path) -> None:
    [run] = [path for path in folder.iterdir() if (path / "run.json").is_file()]
    elsewhere = tmp_path / "elsewhere"
    run.rename(elsewhere)
    run.symlink_to(elsewhere)
    assert not run_of(folder).present
    shutil.copy(elsewhere / "run.json", folder.parent)
    results = json.loads((folder / "results.json").read_text())
    results["runs"][0]["id"] = ".."
    (folder / "results.json").write_text(json.dumps(results))
    assert not load_material(folder).run("..").present
