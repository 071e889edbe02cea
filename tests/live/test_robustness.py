"""Whatever an agent sends to the lab's port, the lab goes on; and where the lab itself is wrong,
that is said and not passed off as a fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp
from tests.live.lab import AGENTS, SILENCE, run, scenario_file, spec_of, team_file, workers

from chaoslab.core.resources import resource_path
from chaoslab.run.perform import perform
from chaoslab.run.select import specs_for
from chaoslab.run.workers import Workers
from chaoslab.serve import rest
from chaoslab.serve.api import Lab

ANSWERS = {
    "garbage": "400",
    "huge header": "400",
    "half": "hung up",
    "no JSON": "400",
    "deep JSON": "400",
    "wrong token": "403",
    "no token": "403",
    "another process": "410",
    "a tool that is none": "404",
    "a bad outcome": "400",
    "crowd": 1000,
}


def test_a_rude_agent_is_judged_like_any_other(tmp_path: Path) -> None:
    record = run(
        spec_of(
            team_file(tmp_path, AGENTS / "rude_agent.py", ""),
            scenario_file(tmp_path, "rude", SILENCE),
            repeats=0,
        ),
        tmp_path,
    )
    said = json.loads((tmp_path / "said.json").read_text())
    assert said.pop("huge body") in ("400", "")  # told, or cut off while it was still sending
    assert said.pop("up and away") in ("400", "403", "404", "410")
    assert said == ANSWERS
    assert (record.broke, record.violations, record.vacuous) == ("", (), "")


def test_a_bug_of_the_labs_own_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(lab: Lab, process: str, path: str, request: Request) -> ASGIApp:
        raise LookupError("a bug")

    monkeypatch.setattr(rest, "tools", wrong)
    agent = AGENTS / "modes_agent.py"
    path = team_file(tmp_path, agent, "")
    path.write_text(path.read_text().replace(f"'{agent}'", f"'{agent}', 'queue', 'reply'"))
    spec = spec_of(path, scenario_file(tmp_path, "bug", SILENCE), repeats=0)
    (tmp_path / "out").mkdir()
    record = perform(spec, Workers(in_process=True), tmp_path / "out")
    assert "the lab itself failed: LookupError: a bug (" in record.broke
    assert Path(__file__).name in record.broke


def test_one_interpreter_does_both_kinds_of_execution(tmp_path: Path) -> None:
    agent = AGENTS / "modes_agent.py"
    path = team_file(tmp_path, agent, "")
    path.write_text(path.read_text().replace(f"'{agent}'", f"'{agent}', 'queue', 'reply'"))
    scenario = scenario_file(tmp_path, "both", SILENCE)
    live = spec_of(path, scenario, repeats=0)
    minimal = f"{resource_path('fixtures/agents/minimal.py')}:make_agent"
    [simulated] = specs_for([scenario], minimal, seeds=[0])
    digests = []
    with workers() as one:
        for number, spec in enumerate((live, simulated, live, simulated)):
            out = tmp_path / f"out-{number}"
            out.mkdir()
            record = perform(spec, one, out)
            assert (record.broke, record.violations, record.differs) == ("", (), "")
            digests.append(record.digest)
        assert len(one._all) == 2  # one for each order of sets
    assert digests[1] == digests[3]
