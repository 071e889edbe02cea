"""The golden histories: small, on disk, read as any history is read, judged by every check.

A header says which check a history is for, what the contract and the limits are, and, for a
broken one, every code that must be found, and so also that nothing else is.
"""

from pathlib import Path
from typing import Any

import pytest

from chaoslab.check import CHECK_IDS, Evidence, Judgement, because, judge
from chaoslab.contract import Contract, Limits, ToolContract
from chaoslab.history import View, read

ROOT = Path(__file__).resolve().parents[3] / "fixtures" / "histories"
VALID = sorted((ROOT / "valid").glob("*.jsonl"))
INVALID = sorted((ROOT / "invalid").glob("*.jsonl"))


def _judged(path: Path) -> tuple[dict[str, Any], View, Judgement]:
    stored = read(path)
    assert not stored.torn
    head = dict(stored.header)
    raw = dict(head["contract"])
    tools = {
        name: ToolContract(
            name=name, **{**line, "identity_fields": tuple(line.get("identity_fields", ()))}
        )
        for name, line in raw.pop("tools", {}).items()
    }
    view = View(stored.ops)
    control = head.get("control")
    evidence = Evidence(
        history=view,
        contract=Contract(tools=tools, **raw),
        limits=Limits(**head["limits"]),
        control=View(read(ROOT / control).ops) if control else None,
        repeats=tuple(View(read(ROOT / name).ops) for name in head.get("repeats", ())),
    )
    return head, view, judge(evidence)


@pytest.mark.parametrize("path", VALID, ids=lambda p: p.stem)
def test_valid(path: Path) -> None:
    head, _, found = _judged(path)
    assert found.violations == ()
    assert found.finding(head["check"]).verdict == "valid"


@pytest.mark.parametrize("path", INVALID, ids=lambda p: p.stem)
def test_invalid(path: Path) -> None:
    head, view, found = _judged(path)
    broken = {f.check: [v.code for v in f.violations] for f in found.findings if f.violations}
    assert broken == head["breaks"]
    assert head["check"] in broken
    for violation in found.violations:
        assert list(violation.witness) == sorted(set(violation.witness))
        assert all(0 <= index < len(view) for index in violation.witness)
        assert violation.witness
        story = because(view, violation, replay="chaoslab replay reports/x")
        assert len(story) <= 14
        assert story[-3].startswith("  so: ")
        assert story[-2].startswith("  what to change: ")


def test_every_check_has_both() -> None:
    for paths in (VALID, INVALID):
        assert {str(read(p).header["check"]) for p in paths} == set(CHECK_IDS)
