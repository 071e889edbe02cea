"""The exit code that a pipeline trusts, the bugs behind it, and the table of promises."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from chaoslab.check import rulesets
from chaoslab.check.model import Finding, Violation
from chaoslab.check.rulesets import counts
from chaoslab.contract import Contract, Egress, Invariant, ToolContract
from chaoslab.contract import loader as contract_loader
from chaoslab.contract.consequences import consequence_of
from chaoslab.run.bugs import bugs_of
from chaoslab.run.gate import exit_code
from chaoslab.run.known import Known, KnownBug
from chaoslab.run.model import RunRecord, run_json
from chaoslab.run.promises import counted, lines_of, promises
from chaoslab.run.results import results_of
from chaoslab.run.select import REFERENCE, scenario_files, specs_for

TODAY = date(2026, 3, 1)


def breach(fingerprint: str = "f1", **more: Any) -> dict[str, Any]:
    """A violation as results carry it."""
    plain = {"check": "effects.delivery", "code": "duplicate-effect", "tool": "refund"}
    plain |= {"anomaly": "key-changed", "fingerprint": fingerprint, "where": "fault"}
    plain |= {"subject": "refund o-1", "explanation": "2 x refund", "consequence": "money"}
    return {**plain, "witness": [1, 2], "because": None, **more}


def run(id: str = "a", *violations: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A run entry as far as the gate, the bugs and the promises read it."""
    plain: dict[str, Any] = {"id": id, "scenario": f"matrix/{id}", "seed": 0, "agent": "mine.py:f"}
    plain |= {"contract": "support", "backend": "sim", "role": "subject", "caught": None}
    plain |= {"verdict": "invalid" if violations else "valid", "violations": list(violations)}
    plain |= {"broke": None, "differs": None, "vacuous": None, "not_applicable": None}
    plain |= {"required": [], "checks": {}, "warnings": [], "faults_ran": True, "ops": 100}
    plain |= {"scenario_faults": 1, "tools": {}, "faults": {"planned": 1, "fired": 1}}
    return {**plain, **more}


def known(fingerprint: str = "f1", *, expires: date = date(2026, 4, 1)) -> Known:
    """One accepted breach."""
    bug = KnownBug(
        fingerprint=fingerprint,
        contract="support",
        check="effects.delivery",
        code="duplicate-effect",
        tool="refund",
        owner="pay",
        reason="PAY-12",
        accepted=date(2026, 2, 1),
        expires=expires,
        seen_in=("matrix/a seed 0",),
    )
    return Known(path="chaoslab-known.toml", entries=(bug,), today=TODAY)


# -- the exit code


def test_a_known_breach_passes_and_an_expired_or_further_one_does_not() -> None:
    assert exit_code([run("a", breach())]) == 1
    assert exit_code([run("a", breach())], known=known()) == 0
    assert exit_code([run("a", breach())], known=known(expires=date(2026, 2, 28))) == 1
    assert exit_code([run("a", breach(), breach("f2"))], known=known()) == 1
    assert exit_code([run("a", breach(), contract="other")], known=known()) == 1


def test_a_known_breach_hides_nothing_worse() -> None:
    broken = [run("a", breach()), run("b", verdict="unknown", broke="the agent left")]
    assert exit_code(broken, known=known()) == 4
    gap = [run("a", breach()), run("b", required=["keys.lineage"])]
    assert exit_code(gap, known=known()) == 3


def test_what_was_left_out_proves_nothing() -> None:
    held = run("a", checks={"effects.delivery": {"verdict": "valid"}})
    cut = [{"id": "b", "scenario": "matrix/b", "agent": "mine.py:f", "seed": 0, "why": "time"}]
    assert exit_code([held], missing=True) == 3
    assert exit_code([held], cut=cut) == 0
    assert exit_code([], cut=cut) == 3
    idle = {"keys.lineage": {"verdict": "not-applicable"}}
    asked = run("a", required=["keys.lineage"], checks=idle)
    assert exit_code([asked]) == 3
    assert exit_code([asked], cut=cut) == 3
    planted = run("p", breach(), role="negative-control", caught=True)
    assert exit_code([planted]) == 0
    assert exit_code([planted], cut=cut) == 3


def test_what_is_required_must_be_seen_in_some_run_of_that_agent_and_contract() -> None:
    idle = {"keys.lineage": {"verdict": "not-applicable"}}
    seen = {"keys.lineage": {"verdict": "valid"}}
    asked = run("a", required=["keys.lineage"], checks=idle)
    assert exit_code([asked, run("b", required=["keys.lineage"], checks=seen)]) == 0
    # What another agent shows, or another contract, speaks for nobody else.
    for whose in ({"agent": "other.py:f"}, {"contract": "billing"}):
        other = run("b", required=["keys.lineage"], checks=seen, **whose)
        assert exit_code([asked, other]) == 3
    # What one shard does not show another may; then merge says what is missing.
    assert exit_code([asked], part=True) == 0
    shard = {"index": 1, "of": 2, "plan": "p", "runs": ["a", "b"]}
    assert results_of([asked], wanted=1, shard=shard)["exit_code"] == 0
    assert results_of([asked], wanted=1, merged=["one", "two"])["exit_code"] == 3


def test_a_campaign_that_stopped_is_no_green_though_its_breach_is_known() -> None:
    found = results_of([run("a", breach())], wanted=3, known=known(), stopped="a rule is broken")
    assert (found["exit_code"], found["complete"]) == (3, False)
    assert results_of([run("a", breach())], wanted=1, known=known())["exit_code"] == 0


# -- rulesets


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> str:
    """A check that came with a ruleset after the first."""
    monkeypatch.setattr(contract_loader, "RULESETS", ("2026.1", "2099.1"))
    monkeypatch.setattr(rulesets, "RULESETS", ("2026.1", "2099.1"))
    monkeypatch.setitem(rulesets.SINCE, "keys.lineage", "2099.1")
    return "keys.lineage"


def test_a_later_check_counts_when_it_is_raised_to_or_required(later: str) -> None:
    assert not counts(later, "2026.1")
    assert counts(later, "2099.1")
    assert counts(later, "2026.1", required=[later])
    assert counts("invariant.mine", "2026.1")


def test_a_later_check_only_warns(later: str) -> None:
    (spec, *_) = specs_for(scenario_files(["timeout-after-commit"]), REFERENCE)
    record = RunRecord(spec=spec)
    found = Violation(check=later, code="key-changed", subject="s", explanation="e", witness=(1,))
    old = Finding(check="effects.delivery", verdict="valid")
    record.findings = record.counting(
        (old, Finding(check=later, verdict="invalid", violations=(found,))), where="control"
    )
    assert [f.check for f in record.findings] == ["effects.delivery"]
    entry = run_json(record)
    assert entry["violations"] == []
    assert [(v["check"], v["where"]) for v in entry["warnings"]] == [(later, "control")]
    assert later not in entry["checks"]
    [bug] = bugs_of([entry])
    assert bug["warning"]


# -- consequences


def test_the_contract_says_what_a_breach_costs() -> None:
    tools = {"refund": ToolContract(name="refund", consequence="money")}
    plain = Contract(tools=tools)
    assert consequence_of(plain, "effects.delivery", "refund") == "money"
    assert consequence_of(plain, "effects.delivery", "notify") == "customer-visible"
    assert consequence_of(plain, "limits.attempts", "") == "internal"
    assert consequence_of(plain, "memory.access", "") == "customer-visible"
    assert consequence_of(plain, "budgets.spend", "") == "money"
    own = Contract(
        tools=tools,
        consequences={"effects.delivery": "internal"},
        invariants=(Invariant(name="x", sql="select 1", consequence="money"),),
    )
    assert consequence_of(own, "effects.delivery", "refund") == "internal"
    assert consequence_of(own, "invariant.x", "") == "money"


# -- bugs


def test_one_bug_is_one_row_and_the_dearest_comes_first() -> None:
    cheap = breach("f0", consequence="internal", check="limits.attempts")
    rows = bugs_of(
        [
            run("big", breach(), cheap, ops=900),
            run("small", breach(), ops=90, seed=3),
            run("planted", breach("f9"), role="negative-control", caught=True),
        ]
    )
    assert [row["fingerprint"] for row in rows] == ["f1", "f0"]
    assert rows[0]["runs"] == ["big", "small"]
    assert rows[0]["example"] == "small"
    assert rows[0]["seeds"] == [0, 3]
    assert rows[0]["todo"]


def test_the_state_of_a_bug_is_that_of_its_acceptance() -> None:
    def state(one: Known) -> str:
        return str(bugs_of([run("a", breach())], one)[0]["state"])

    assert state(known()) == "known"
    assert state(known(expires=date(2026, 2, 1))) == "expired"
    assert state(known("f7")) == "new"
    expected = run("a", breach(), caught=True)
    assert bugs_of([expected], known())[0]["state"] == "expected"
    # Expected in one scenario is not expected in another, in whatever order they were run.
    other = run("b", breach())
    for runs in ([expected, other], [other, expected]):
        assert bugs_of(runs)[0]["state"] == "new"
        assert bugs_of(runs, known())[0]["state"] == "known"


# -- promises

LINE = {
    "id": "tools.refund.promise",
    "group": "Actions",
    "says": "refund: done exactly once",
    "checks": ["effects.delivery"],
    "tool": "refund",
    "offer": "",
}
USED = {"refund": {"actions": 2, "tries": 3, "effects": 2, "struck": 1}}
HELD = {"effects.delivery": {"verdict": "valid", "reason": "looked at 2 actions"}}


def state(*runs: dict[str, Any], **more: Any) -> tuple[str, str]:
    """The state of a line over some runs, and the reason."""
    [line] = counted([{**LINE, **more}], runs)
    return line["state"], line["reason"]


def test_a_promise_is_proven_only_by_runs_that_looked_at_it() -> None:
    assert state() == ("unproven", "no run looked at it")
    assert state(run("a", tools=USED, checks=HELD)) == ("proven", "")
    assert state(run("a", checks=HELD)) == ("unproven", "refund was never used")
    calm = {"refund": {**USED["refund"], "struck": 0}}
    assert state(run("a", tools=calm, checks=HELD)) == ("proven", "no fault struck it")


def test_one_doubtful_run_leaves_a_promise_unproven() -> None:
    held = run("a", tools=USED, checks=HELD)
    cut_short = {"effects.delivery": {"verdict": "unknown", "reason": "the record stops early"}}
    doubts = (
        run("b", broke="the agent left"),
        run("b", differs="entry 7"),
        run("b", tools=USED, checks=cut_short),
    )
    for doubt in doubts:
        assert state(held, doubt)[0] == "unproven"
    assert state(held, doubts[0]) == ("unproven", "the agent left")


def test_a_run_that_shows_nothing_takes_nothing_back_unless_it_was_required() -> None:
    held = run("a", tools=USED, checks=HELD)
    bad = {"effects.delivery": {"verdict": "invalid", "reason": "looked at 3"}}
    idle = (
        run("b", tools=USED, checks=HELD, vacuous="never struck"),
        run("b", faults_ran=False),
        run("b", breach(tool="notify"), tools=USED, checks=bad),
    )
    for one in idle:
        assert state(one)[0] == "unproven"
        assert state(held, one)[0] == "proven"
        assert state(held, one, required=True)[0] == "unproven"
    assert state(held, run("b", not_applicable="no such tool"), required=True)[0] == "proven"


def test_a_breach_breaks_the_line_of_its_tool_alone() -> None:
    bad = {"effects.delivery": {"verdict": "invalid", "reason": "looked at 3"}}
    runs = [run("a", breach(), tools=USED, checks=bad)]
    assert state(*runs)[0] == "broken"
    assert state(*runs, tool="notify")[0] == "unproven"


def test_what_is_not_promised_says_what_would_promise_it() -> None:
    lines = {line["id"]: line for line in lines_of(Contract(), [])}
    assert lines["egress.policy"]["offer"].startswith("[egress]")
    [line] = counted([lines["egress.policy"]], [run("a", tools=USED)])
    assert line["state"] == "not-promised"
    promised = Contract(egress=Egress(hosts=("kb.example",)), required=("egress.policy",))
    line = next(x for x in lines_of(promised, []) if x["id"] == "egress.policy")
    assert (line["offer"], line["required"]) == ("", True)
    assert "kb.example" in line["says"]


def test_one_key_for_one_action_is_promised_only_where_keys_are_looked_at() -> None:
    """At least once asks for no key, so a run that held over another tool proves nothing of it."""
    tools = [
        ToolContract(name="refund", keys=True, promise="exactly-once"),
        ToolContract(name="ship", keys=True),
    ]
    used = {"actions": 1, "tries": 1, "effects": 1, "struck": 0}
    held = run("a", tools={"refund": used, "ship": used}, checks={"keys.lineage": {
        "verdict": "valid", "reason": "looked at 1 request"}})  # fmt: skip
    found = {line["id"]: line for line in counted(lines_of(Contract(), tools), [held])}
    assert found["tools.refund.keys"]["state"] == "proven"
    assert found["tools.ship.keys"]["state"] == "not-promised"
    assert found["tools.ship.keys"]["offer"] == '[tools.ship] promise = "exactly-once"'


def test_planted_bugs_break_no_promise() -> None:
    table = {"agent": "mine.py:f", "contract": "support", "backend": "sim", "ruleset": "2026.1"}
    planted = run("a", breach(), role="negative-control", caught=True)
    [found] = promises([{**table, "lines": [LINE]}], [planted])
    assert found["lines"][0]["state"] == "unproven"


def test_the_promises_of_two_shards_are_those_of_the_whole() -> None:
    table: dict[str, Any] = {"agent": "mine.py:f", "contract": "support", "backend": "sim"}
    table |= {"ruleset": "2026.1", "lines": [LINE]}
    one, two = run("a", tools=USED, checks=HELD), run("b", tools=USED, checks=HELD)
    parts = [results_of([r], wanted=1, promised=[table])["promises"][0] for r in (one, two)]
    whole = results_of([one, two], wanted=2, promised=[table])["promises"]
    assert promises(parts, [one, two]) == whole
