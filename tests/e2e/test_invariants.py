"""The rules of a team's own, from its contract to what a person reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .conftest import ROOT, Run

AGENT = f"{ROOT}/fixtures/agents/double_charge.py:make_agent"
LOST_REPLY = "matrix/timeout-after-commit"

QUERY = """
[[invariants]]
name = "one-refund-per-order"
says = "an order is refunded more than once"
sql = '''
select min(op) as op, max(op) as second_op, tool, marker from effects
where tool = "refund" group by tool, marker having count(*) > 1
'''
"""
FUNCTION = """
[[invariants]]
name = "mine"
check = "rules.py:mine"
"""


def contract(here: Path, rules: str) -> str:
    (here / "mine.toml").write_text(f"format = 1\nname = 'mine'\n{rules}")
    return "mine.toml"


def results(here: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((here / "reports/latest/results.json").read_text())
    return found


def test_a_query_finds_what_no_promise_forbids(chaoslab: Run, here: Path) -> None:
    # The contract promises nothing, so a second refund breaks no check of the lab.
    done = chaoslab(
        "run", LOST_REPLY, "--seed", "0", "--agent", AGENT, "--contract", contract(here, QUERY)
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN  invariant.one-refund-per-order (invariant-broken)" in done.stdout
    assert "so: an order is refunded more than once: tool refund, marker o-s1-t1." in done.stdout
    run = next((here / "reports/latest").glob("matrix-*"))
    again = chaoslab("replay", str(run))
    assert "Bit for bit the same" in again.stdout
    assert "invariant.one-refund-per-order" in again.stdout


def test_a_rule_that_is_broken_without_any_fault_stops_the_campaign(
    chaoslab: Run, here: Path
) -> None:
    rules = "[[invariants]]\nname = 'no-refunds'\nsays = 'there was a refund'\n"
    rules += "sql = 'select op, marker from effects where tool = \"refund\"'\n"
    done = chaoslab(
        *("run", "matrix", "--seed", "0", "--agent", AGENT, "--jobs", "1"),
        *("--contract", contract(here, rules)),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "STOPPED  invariant.no-refunds is broken without any fault" in done.stdout
    assert "there was a refund: marker o-s1-t1" in done.stdout
    assert len(list((here / "reports/latest").glob("matrix-*/run.json"))) == 1
    assert results(here)["complete"] is False


def test_a_function_of_the_team_judges_the_evidence(chaoslab: Run, here: Path) -> None:
    (here / "rules.py").write_text(
        "from chaoslab.check import Violation\n"
        "def mine(evidence):\n"
        "    print('heard by nobody')\n"
        "    for op in evidence.history.named('nemesis.strike'):\n"
        "        yield Violation(check='', code='struck', subject=op.task, witness=(op.index,),\n"
        "                        explanation=f'{op.task} was struck')\n"
    )
    done = chaoslab(
        "run", LOST_REPLY, "--seed", "0", "--agent", AGENT, "--contract", contract(here, FUNCTION)
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN  invariant.mine (struck)" in done.stdout
    assert "heard by nobody" not in done.stdout
    run = next((here / "reports/latest").glob("matrix-*"))
    (here / "elsewhere").mkdir()
    assert "invariant.mine" in chaoslab("replay", str(run)).stdout


def test_a_function_that_hangs_or_breaks_leaves_its_own_rule_unproven(
    chaoslab: Run, here: Path
) -> None:
    required = 'required = ["invariant.mine"]\n'
    other = QUERY.replace("count(*) > 1", "count(*) > 9")
    for body, words in (
        ("    while True: pass\n", "did not end within 10000 ms"),
        ("    raise KeyError('x')\n", "raised KeyError: 'x' ("),
        ("    return [7]\n", "got int; allowed: chaoslab.check.Violation"),
        ("    import os; os._exit(3)\n", "ended itself with code 3"),
    ):
        (here / "rules.py").write_text("def mine(evidence):\n" + body)
        told = f"UNPROVEN  {LOST_REPLY} seed 0\n  invariant.mine: "
        done = chaoslab(
            *("run", LOST_REPLY, "--seed", "0", "--watchdog", "10"),
            *("--contract", contract(here, required + FUNCTION + other)),
        )
        assert done.returncode == 3, done.stdout + done.stderr
        [run] = results(here)["runs"]
        assert run["checks"]["invariant.mine"]["verdict"] == "unknown"
        assert words in run["checks"]["invariant.mine"]["reason"]
        assert told in done.stdout
        assert run["checks"]["invariant.one-refund-per-order"]["verdict"] == "valid"


def test_a_rule_that_cannot_be_asked_is_refused_before_anything_runs(
    chaoslab: Run, here: Path
) -> None:
    for rules, words in (
        ("name = 'x'\nsql = 'delete from effects'", "only a query is allowed"),
        ("name = 'x'\nsql = 'select order_id from effects'", "no such column: order_id; the t"),
        ("name = 'x'\ncheck = 'gone.py:f'", "there is no file"),
        ("name = 'x'\ncheck = 'gone'", "allowed: path.py:function"),
        ("name = 'x'", "allowed: one of sql and check"),
        ("name = 'X y'\nsql = 'select op from effects'", "allowed: small letters"),
    ):
        given = contract(here, f"[[invariants]]\n{rules}\n")
        done = chaoslab("run", LOST_REPLY, "--agent", AGENT, "--contract", given)
        assert done.returncode == 2
        assert words in done.stderr
        assert not (here / "reports").exists()


def test_a_missing_function_is_refused_before_anything_runs(chaoslab: Run, here: Path) -> None:
    (here / "rules.py").write_text("def other(evidence): return []\n")
    done = chaoslab("run", LOST_REPLY, "--agent", AGENT, "--contract", contract(here, FUNCTION))
    assert done.returncode == 2 and "there is no such function" in done.stderr
    assert not (here / "reports").exists()


def test_a_function_spoils_no_other_rule_and_may_not_follow_chance(
    chaoslab: Run, here: Path
) -> None:
    (here / "rules.py").write_text(
        "import itertools\ncount = itertools.count()\n"
        "def greedy(evidence):\n"
        "    for op in evidence.history:\n"
        "        if isinstance(op.value, dict): op.value.clear()\n"
        "    return []\n"
        "def mine(evidence):\n"
        "    import os\n"
        "    n = int.from_bytes(os.urandom(8), 'big')\n"
        "    from chaoslab.check import Violation as V\n"
        "    return [V(check='', code='n', subject='n', explanation=str(n), witness=(0,))]\n"
    )
    greedy = FUNCTION.replace("mine", "greedy")
    done = chaoslab(
        *("run", LOST_REPLY, "--seed", "0", "--agent", AGENT),
        *("--contract", contract(here, greedy + FUNCTION + QUERY)),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    [run] = results(here)["runs"]
    assert run["checks"]["invariant.one-refund-per-order"]["verdict"] == "invalid"
    assert "two answers" in run["checks"]["invariant.mine"]["reason"]
