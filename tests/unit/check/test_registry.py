"""The registry: order, verdicts, crashes, and words for every code."""

import ast
import inspect
from pathlib import Path

import pytest
from tests.unit.check.builder import History, evidence

import chaoslab.check as package
from chaoslab.check import CHECK_IDS, CHECKS, TITLES, Check, Evidence, Finding, explain, judge
from chaoslab.check.texts import TEXTS, advice
from chaoslab.contract import Contract, Limits
from chaoslab.core.errors import UsageError
from chaoslab.history import View

EMPTY = Evidence(history=View([]), contract=Contract(), limits=Limits())


def test_every_check_has_words() -> None:
    assert set(CHECK_IDS) == set(TEXTS) == set(TITLES)
    assert len(set(CHECK_IDS)) == len(CHECKS) >= 24


def _codes_in_source() -> set[str]:
    """The codes that the checks can raise, read from their source."""
    return {
        leaf.value
        for path in Path(inspect.getfile(package)).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword) and node.arg == "code"
        for leaf in ast.walk(node.value)
        if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
    }


def test_every_code_has_a_meaning_and_advice() -> None:
    known = {code for text in TEXTS.values() for code in text.means}
    written = _codes_in_source()
    assert len(written) > 20
    own = {"invariant-broken"}  # of the team's rules, which have words of their own
    assert written - {"too-many-"} - own <= known
    assert advice("invariant.mine", "invariant-broken")
    for check, text in TEXTS.items():
        for code in text.means:
            assert advice(check, code), (check, code)
        assert {name.partition("/")[0] for name in text.todo} == set(text.means)


def test_explain() -> None:
    for check in CHECK_IDS:
        text = explain(check)
        assert text.startswith(f"{check}: {TITLES[check]}\n")
        assert max(len(line) for line in text.splitlines()) <= 100
    with pytest.raises(UsageError, match="no such check"):
        explain("effects.deliver")


def test_nothing_to_look_at_proves_nothing() -> None:
    found = judge(EMPTY)
    assert found.verdict == "unknown"
    assert {f.verdict for f in found.findings} <= {"not-applicable", "unknown"}
    assert all(f.reason for f in found.findings)
    assert found.finding("effects.delivery").verdict == "not-applicable"
    with pytest.raises(KeyError):
        found.finding("nothing")


def test_a_check_that_crashes_says_unknown() -> None:
    def broken(evidence: Evidence) -> Finding:
        raise ZeroDivisionError("x")

    found = judge(EMPTY, checks=[Check(id="mine", run=broken)])
    assert (found.verdict, found.findings[0].reason) == (
        "unknown",
        "the check itself broke: ZeroDivisionError",
    )


def test_where_is_stamped() -> None:
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="a")
    h.done("refund", "o-1", key="b")
    found = judge(evidence(h.end()), where="control")
    assert found.verdict == "invalid"
    assert {v.where for v in found.violations} == {"control"}


def test_damaged_values_do_not_crash_a_check() -> None:
    h = History().submit("s1-t1")
    for f in (
        "task.outcome",
        "report.transition",
        "wasm.poisoned",
        "region.promote",
        "nemesis.strike",
    ):
        h.add("event", f, None)
        h.add("event", f, [1, "x"])
    for f in ("tools.refund", "memory.write", "memory.scan", "leases.acquire", "wasm.ticket"):
        for kind in ("invoke", "ok", "commit"):
            h.add(kind, f, None)
            h.add(kind, f, "text", call=3)
    found = judge(evidence(h.end()))
    assert not [f for f in found.findings if "broke" in f.reason]


def test_the_page_names_every_check_and_every_code() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "checks.md").read_text()
    for check, text in TEXTS.items():
        codes = ", ".join(f"`{code}`" for code in text.means)
        assert f"| `{check}` | {text.title} | {codes} |" in page
    for name in (name for text in TEXTS.values() for name in text.todo if "/" in name):
        anomaly = name.partition("/")[2]
        if name.startswith("duplicate-effect/"):
            assert f"`{anomaly}`" in page
