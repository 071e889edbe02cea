"""The gate's rules as a pipeline meets them: what is required, and which checks count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chaoslab.check import rulesets
from chaoslab.cli import main
from chaoslab.cli import run as run_command
from chaoslab.contract import loader
from chaoslab.report.outputs import FILES
from tests.e2e.conftest import ROOT, Run

SCENARIO = "matrix/timeout-after-commit"
AGENT = "mine.py:make_agent"
BROKEN = ("effects.delivery", "keys.lineage", "recovery.converges")


@pytest.fixture
def wrong(here: Path) -> Path:
    """The agent that charges twice, as a team's own, beside a contract."""
    text = (ROOT / "fixtures/agents/double_charge.py").read_text()
    (here / "mine.py").write_text(text)
    return here


def contract(folder: Path, extra: str = "") -> None:
    """A contract that promises one refund an order."""
    (folder / "chaoslab.toml").write_text(
        f'format = 1\nname = "mine"\n{extra}\n[tools.refund]\nkeys = true\n'
        'identity_fields = ["order"]\npromise = "exactly-once"\nconsequence = "money"\n'
    )


def results(folder: Path) -> dict[str, Any]:
    """The newest results below a folder."""
    found: dict[str, Any] = json.loads((folder / "reports/latest/results.json").read_text())
    return found


def never_struck(folder: Path) -> str:
    """A scenario whose fault finds nothing to strike, so that it proves nothing."""
    text = (ROOT / f"scenarios/{SCENARIO}.toml").read_text()
    text = text.replace('name   = "timeout-after-commit"', 'name = "never"')
    text = text.replace("attempt = 1", "attempt = 9")
    (folder / "never.toml").write_text(text)
    return "never.toml"


def test_what_is_required_and_unproven_fails_and_elsewhere_it_is_printed(
    chaoslab: Run, here: Path
) -> None:
    scenario = never_struck(here)
    (here / "mine.py").write_text((ROOT / "tests/e2e/agents/plain.py").read_text())
    contract(here)
    done = chaoslab("run", scenario, "--agent", AGENT, "--seed", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "UNPROVEN" in done.stdout and "1 unproven" in done.stdout
    contract(here, 'required = ["effects.delivery"]')
    done = chaoslab("run", scenario, "--agent", AGENT, "--seed", "0")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "REQUIRED  effects.delivery is unproven in 1 run" in done.stdout
    [table] = results(here)["promises"]
    states = {line["id"]: line["state"] for line in table["lines"]}
    assert states["tools.refund.promise"] == "unproven"
    assert states["egress.policy"] == "not-promised"


def test_checks_newer_than_the_ruleset_warn_until_it_is_raised(
    wrong: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loader, "RULESETS", ("2026.1", "2099.1"))
    monkeypatch.setattr(rulesets, "RULESETS", ("2026.1", "2099.1"))
    for check in BROKEN:
        monkeypatch.setitem(rulesets.SINCE, check, "2099.1")
    monkeypatch.chdir(wrong)
    command = ["run", SCENARIO, "--agent", AGENT, "--seed", "0", "--in-process"]
    contract(wrong, 'ruleset = "2026.1"')
    assert main(command) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    assert "WARNING  effects.delivery is broken in 1 run" in said
    found = results(wrong)
    assert {bug["check"] for bug in found["bugs"]} == set(BROKEN)
    assert all(bug["warning"] for bug in found["bugs"])
    assert found["runs"][0]["verdict"] == "valid"
    contract(wrong, 'ruleset = "2099.1"')
    assert main(command) == 1
    contract(wrong, 'ruleset = "2026.1"\nrequired = ["effects.delivery"]')
    assert main(command) == 1
    assert [b["check"] for b in results(wrong)["bugs"] if not b["warning"]] == ["effects.delivery"]


def test_an_unknown_ruleset_and_a_wrong_consequence_are_refused(chaoslab: Run, wrong: Path) -> None:
    contract(wrong, 'ruleset = "2020.1"\n[consequences]\n"isolation.sessions" = "dear"')
    done = chaoslab("run", SCENARIO, "--agent", AGENT)
    assert done.returncode == 2
    assert "ruleset: got '2020.1'" in done.stderr
    assert "allowed: money, customer-visible, internal" in done.stderr


def test_the_dearest_breach_comes_first(chaoslab: Run, wrong: Path) -> None:
    contract(wrong, '[consequences]\n"keys.lineage" = "internal"')
    done = chaoslab("run", SCENARIO, "--agent", AGENT, "--seed", "0")
    assert done.returncode == 1
    bugs = results(wrong)["bugs"]
    assert [b["consequence"] for b in bugs] == ["money", "money", "internal"]
    assert bugs[0]["check"] == "effects.delivery"
    assert bugs[-1]["check"] == "keys.lineage"


RULE = """
[[invariants]]
name = "no-refund"
says = "nothing is refunded"
sql = "select min(op) as op from effects where tool = 'refund' having count(*) > 0"
"""


def test_a_known_rule_that_stops_the_campaign_gives_no_green(
    wrong: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other runs were not done: whatever they would have shown, nobody has seen."""
    monkeypatch.chdir(wrong)
    (wrong / "chaoslab.toml").write_text('format = 1\nname = "mine"\n' + RULE)
    command = ["run", SCENARIO, "--agent", AGENT, "--seed", "0", "--seed", "1", "--in-process"]
    assert main(command) == 1
    assert main(["accept", "reports/latest", "--owner=a", "--reason=b", "--expires=3d"]) == 0
    capsys.readouterr()
    assert main(command) == 3
    said = capsys.readouterr().out
    assert "STOPPED  invariant.no-refund" in said
    assert "NOT STRUCK  1 run is broken without any fault" in said
    found = results(wrong)
    assert len(found["runs"]) == 1 and not found["complete"]
    assert found["known"][0]["state"] == "known"


def test_what_is_required_must_be_seen_in_some_run(
    wrong: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scenario has no budget to look at, so nothing about budgets was proven."""
    monkeypatch.chdir(wrong)
    (wrong / "chaoslab.toml").write_text(
        'format = 1\nname = "mine"\nrequired = ["budgets.spend"]\n'
        '[tools.credit]\nkeys = true\n[budgets.goodwill]\ntool = "credit"\nmax = 9\n'
    )
    assert main(["run", SCENARIO, "--agent", AGENT, "--seed", "0", "--in-process"]) == 3
    words = "REQUIRED  budgets.spend: no run looked at it"
    assert words in capsys.readouterr().out
    latest = wrong / "reports/latest"
    assert "budgets.spend; no run looked at it." in (latest / "junit.xml").read_text()
    assert "looked at by no run: budgets.spend" in (latest / "comment.md").read_text()
    shard = ["--shard", "1/1", "--reports", "one"]
    assert main(["run", SCENARIO, "--agent", AGENT, "--seed", "0", "--in-process", *shard]) == 0
    assert main(["merge", "one"]) == 3


def test_durations_that_cannot_be_written_take_nothing_away(
    wrong: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broken promise stays code 1, and every file about it is there."""
    contract(wrong)
    monkeypatch.chdir(wrong)
    command = ["run", SCENARIO, "--agent", AGENT, "--seed", "0", "--in-process"]
    assert main([*command, "--write-durations", "nowhere/x.json"]) == 1
    assert "nowhere/x.json cannot be written" in capsys.readouterr().out
    for name in FILES:
        assert (wrong / "reports/latest" / name).is_file()


def test_what_was_said_of_a_campaign_is_taken_away_when_it_is_resumed(
    wrong: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed campaign that is killed must not leave the answer of an earlier one."""
    contract(wrong)
    monkeypatch.chdir(wrong)
    command = ["run", SCENARIO, "--agent", AGENT, "--seed", "0", "--in-process"]
    assert main(command) == 1
    left = wrong / "reports/latest"
    seen: list[list[str]] = []

    def killed(*_: Any, **__: Any) -> None:
        seen.append(sorted(path.name for path in left.iterdir()))
        raise KeyboardInterrupt

    monkeypatch.setattr(run_command, "run_all", killed)
    assert main([*command, "--resume"]) == 130
    assert seen == [["matrix-timeout-after-commit--mine--s0"]]


def test_a_mistake_of_the_lab_is_no_broken_promise(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python ends a traceback with code 1, by which a pipeline would blame the agent."""
    monkeypatch.chdir(here)

    def wrong(*_: Any, **__: Any) -> None:
        raise TypeError("a mistake")

    monkeypatch.setattr(run_command, "run_all", wrong)
    assert main(["run", SCENARIO, "--seed", "0", "--in-process"]) == 4
    said = capsys.readouterr().err
    assert "TypeError: a mistake" in said and "the lab itself broke" in said
