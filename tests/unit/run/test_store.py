"""What lies on disk: who may read it, and that a file of another's does nothing when it is read."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from chaoslab.core.errors import FormatError
from chaoslab.report.junit import junit_xml
from chaoslab.run.store import FORMAT, read_results, read_run, write_json

EVIL = "\x1b[2J\x00\n::error::x\n##[error]y\u202e\ud800"


def test_a_private_file_is_never_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    left = path.with_suffix(".tmp")
    left.write_text("a killed writer's")
    left.chmod(0o666)
    write_json(path, {"a": 1}, mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {"a": 1}
    assert not left.exists()


@pytest.mark.parametrize("name", ["results.json", "run.json"])
def test_words_of_others_act_nowhere(tmp_path: Path, name: str) -> None:
    told = {"id": "a", "tools": {EVIL: {"tries": 1}}, "broke": f"plain {EVIL}"}
    whole: dict[str, Any] = {"format": FORMAT, "fingerprint": "f", "run": told, "runs": [told]}
    whole["contract"] = {"name": "my\nown"}  # a run is repeated from it, so it stays
    (tmp_path / name).write_text(json.dumps(whole))
    if name == "run.json":
        found = read_run(tmp_path / name)
        assert found["contract"] == whole["contract"]
        run = found["run"]
    else:
        run = read_results(tmp_path)["runs"][0]
    assert run["broke"] == r"plain \x1b[2J\x00\n::error::x\n\x23#[error]y\u202e\ud800"
    assert list(run["tools"]) == [run["broke"].removeprefix("plain ")]


def test_nesting_without_end_is_said_to_be_damage(tmp_path: Path) -> None:
    deep = '{"a":' * 100_000
    (tmp_path / "results.json").write_text(deep)
    (tmp_path / "run.json").write_text(deep)
    with pytest.raises(FormatError, match="damaged"):
        read_results(tmp_path)
    with pytest.raises(FormatError, match="damaged"):
        read_run(tmp_path / "run.json")


def test_a_time_that_is_none_keeps_junit_well_formed() -> None:
    run = {"family": "f\x00", "scenario": "f/a", "agent": "a", "seed": 0, "wall_ms": 1}
    run |= dict.fromkeys(("broke", "caught", "differs", "not_applicable", "vacuous"))
    run |= {"expected_check": None, "verdict": "valid", "violations": [], "required": []}
    run |= {"checks": {}, "role": "subject", "contract": "c", "id": "x"}
    text = junit_xml({"runs": [run], "bugs": [], "started": "\x00\x1b\ud800Z"}, folder="r")
    assert ElementTree.fromstring(text)[0].get("timestamp") == r"\x00\x1b\ud800"
