"""Every kind of fault on real processes: a right agent comes through, and one that takes a fresh
key for each try is found out where the fault makes it try again after the commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live.lab import AGENTS, scenario_file, spec_of, team_file, verdicts, workers

from chaoslab.history import View, read
from chaoslab.run.model import RunRecord
from chaoslab.run.perform import perform
from chaoslab.run.workers import Workers

AGENT = AGENTS / "modes_agent.py"
KINDS = {
    # kind, phase, for how long -> whether a fresh key means a second effect
    ("silence", "before-send", 0): False,
    ("silence", "after-commit", 0): True,
    ("reset", "before-send", 0): False,
    ("reset", "after-commit", 0): True,
    ("error-reply", "before-commit", 0): False,
    ("error-reply", "after-commit", 0): True,
    ("rate-limit", "before-commit", 0): False,
    ("delay", "before-commit", 150): False,
    ("delay", "after-commit", 150): False,
    ("duplicate", "after-commit", 50): False,
    ("hold", "before-commit", 1500): True,
    ("hold", "after-commit", 1500): True,
    ("pause", "after-commit", 300): False,
    ("pause", "before-send", 300): False,
    ("crash", "before-commit", 0): False,
    ("crash", "after-reply", 0): True,
}


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    """One worker for all."""
    with workers() as made:
        yield made


def struck(folder: Path, pool: Workers, fault: tuple[str, str, int], more: str) -> RunRecord:
    """A run with one fault."""
    kind, phase, for_ms = fault
    lines = f'at = "tools:keyed"\nkind = "{kind}"\nphase = "{phase}"\n'
    lines += f"for_ms = {for_ms}\n" if for_ms else ""
    path = team_file(folder, AGENT, more)
    path.write_text(path.read_text().replace(f"'{AGENT}'", f"'{AGENT}', 'queue', 'reply'"))
    scenario = scenario_file(folder, "kind", f"[[faults]]\n{lines}")
    (folder / "out").mkdir()
    spec = spec_of(path, scenario, repeats=0, linger_ms=50, silence_ms=200)
    record = perform(spec, pool, folder / "out")
    assert (record.broke, record.vacuous, record.not_applicable) == ("", "", "")
    assert record.faults["fired"] == 1
    return record


def name(fault: tuple[str, str, int]) -> str:
    """How a test is called."""
    return "-".join(fault[:2])


@pytest.mark.parametrize("fault", KINDS, ids=name)
def test_a_right_agent_comes_through(
    tmp_path: Path, pool: Workers, fault: tuple[str, str, int]
) -> None:
    record = struck(tmp_path, pool, fault, "")
    assert record.violations == () and verdicts(record)["effects.delivery"] == "valid"
    view = View(read(tmp_path / "out" / "fault.jsonl").ops)
    # Whatever happened on the way, the order was refunded once.
    assert len([op for op in view.named("tools.refund") if op.type == "commit"]) == 1
    paused = [op.f for op in view if op.f in ("process.pause", "process.resume")]
    assert paused == (["process.pause", "process.resume"] if fault[0] == "pause" else [])
    assert len(view.named("nemesis.release")) == (fault[0] == "hold")


def test_whoever_hangs_up_was_not_told(tmp_path: Path, pool: Workers) -> None:
    struck(tmp_path, pool, ("hold", "after-commit", 1500), 'env = { PATIENCE_S = "0.5" }')
    view = View(read(tmp_path / "out" / "fault.jsonl").ops)
    asked = [op.type for op in view.named("tools.refund")]
    assert asked[:3] == ["invoke", "commit", "info"] and asked.count("commit") == 1
    [left, *_] = [op for op in view.named("tools.refund") if op.type == "info"]
    assert left.get("error") == "deadline"


WRONG = {
    fault: twice for fault, twice in KINDS.items() if twice or fault[0] in ("duplicate", "delay")
}


@pytest.mark.parametrize(("fault", "twice"), WRONG.items(), ids=map(name, WRONG))
def test_a_fresh_key_for_each_try(
    tmp_path: Path, pool: Workers, fault: tuple[str, str, int], twice: bool
) -> None:
    record = struck(tmp_path, pool, fault, 'env = { FRESH = "1", PATIENCE_S = "1" }')
    found = {v.code for v in record.violations if v.check == "effects.delivery"}
    assert found == ({"duplicate-effect"} if twice else set())
    assert (record.verdict == "invalid") >= twice
