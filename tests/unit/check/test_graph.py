"""The lineage graph: one test per anomaly, both worlds of a try, the drawing, real executions."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.check.builder import CONTRACT, History, codes

from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.common import merged_contract
from chaoslab.backends.sim import simulate
from chaoslab.check.anomalies import KINDS, Anomaly, Kind
from chaoslab.check.drawing import EDGES, NODES
from chaoslab.check.facts import Facts
from chaoslab.check.graph import Lineage, lineage, words_of
from chaoslab.contract import Contract, ToolContract
from chaoslab.faults import place
from chaoslab.history import View, Writer
from chaoslab.run.select import REFERENCE, scenario_files, specs_for

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "lineage.md"


def graph(h: History, contract: Contract = CONTRACT) -> Lineage:
    return lineage(Facts(h.view()), contract)


def told(h: History, kind: Kind) -> list[tuple[str, str, tuple[int, ...], str, bool]]:
    """The anomalies of one kind, and that nothing else accuses the agent."""
    found = graph(h)
    assert {a.kind for a in found.anomalies if not a.legitimate} <= {kind}
    return [(a.tool, a.marker, a.ops, a.detail, a.legitimate) for a in found.of(kind)]


# -- one kind after the other


def test_key_absent() -> None:
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="k")
    h.info(first)
    bare = h.ask("refund", "o-1")
    assert told(h, "key-absent") == [("refund", "o-1", (bare,), "on-retry", False)]
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="k")
    h.done("notify", "o-1")  # takes no keys
    assert told(h, "key-absent") == []
    # Sent once at a promise of at most once, a bare request is in order; sent twice it is not.
    h = History().submit("s1-t1")
    one = h.ask("ship", "o-1")
    assert told(h, "key-absent") == [("ship", "o-1", (one,), "always", True)]
    h.ask("ship", "o-1")
    assert told(h, "key-absent") == [("ship", "o-1", (one,), "always", False)]


def test_key_changed() -> None:
    h = History().start("p1").submit("s1-t1")
    first = h.ask("refund", "o-1", key="a")
    h.kill("p1").start("p2", "west")
    second = h.ask("refund", "o-1", key="b", process="p2")
    third = h.ask("refund", "o-1", key="c", process="p2")
    assert told(h, "key-changed") == [("refund", "o-1", (first, second), "after-failover", False)]
    assert graph(h).threads["refund", "o-1"].keys == ("a", "b", "c")
    h.ops = h.ops[:second]
    assert (told(h, "key-changed"), third) == ([], second + 1)


def test_a_refusal_does_not_hide_the_request_before_it() -> None:
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="a")
    h.info(first)
    h.fail(h.ask("refund", "o-1", key="a"))  # this one did not happen; the first one may have
    second = h.ask("refund", "o-1", key="b")
    assert told(h, "key-changed") == [("refund", "o-1", (first, second), "on-retry", False)]


def test_each_task_has_keys_of_its_own_where_the_same_words_may_be_two_actions() -> None:
    h = History().submit("s1-t1").submit("s1-t2")
    first = h.ask("say", "hello", key="a")
    h.ask("say", "hello", key="b", task="s1-t2")
    assert told(h, "key-changed") == []
    h.ask("say", "hello", key="a", task="s1-t2")
    assert len(told(h, "key-changed")) == 1  # s1-t2 changed its mind
    h.ops.pop()
    second = h.ask("say", "hello", key="b")
    assert told(h, "key-changed") == [("say", "hello", (first, second), "on-retry", False)]


def test_a_request_of_an_unknown_task_may_be_of_any() -> None:
    h = History().submit("s1-t1").submit("s1-t2")
    first = h.ask("say", "hello", key="a", task="")
    second = h.ask("say", "hello", key="b")
    h.ask("say", "hello", key="a", task="s1-t2")
    assert told(h, "key-changed") == [("say", "hello", (first, second), "on-retry", False)]


def test_the_last_request_that_may_have_happened_is_shown() -> None:
    h = History().submit("s1-t1")
    h.info(h.ask("refund", "o-1", key="a"))
    last = h.ask("refund", "o-1", key="a")
    h.info(last)
    new = h.ask("refund", "o-1", key="b")
    assert told(h, "key-changed") == [("refund", "o-1", (last, new), "on-retry", False)]


def test_a_look_up_settles_a_conflict_only_afterwards() -> None:
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="k", args={"why": "broken"})
    h.commit(first)
    look = h.invoke("tools.refund.lookup", {"args": {}, "lookup": True}, "s1-t1", marker="o-1")
    h.ok(look, data={"refs": []})
    second = h.ask("refund", "o-1", key="k", args={"why": "damaged"})
    h.fail(second, "conflict")
    assert told(h, "key-reused") == [("refund", "o-1", (first, second), "payload-changed", False)]
    look = h.invoke("tools.refund.lookup", {"args": {}, "lookup": True}, "s1-t1", marker="o-1")
    h.ok(look, data={"refs": ["refund:o-1#1"]})
    assert told(h, "key-reused") == []


def test_key_reused() -> None:
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="k")
    h.info(first)
    h.fail(h.ask("refund", "o-1", key="k"), "rate-limited")
    second = h.ask("refund", "o-2", key="k")
    assert told(h, "key-reused") == [("refund", "o-2", (first, second), "another-operation", False)]
    h = History().submit("s1-t1")
    h.fail(h.ask("refund", "o-1", key="k"))
    h.ask("refund", "o-2", key="k")
    assert told(h, "key-reused") == []
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="k", args={"why": "broken"})
    h.commit(first)
    second = h.ask("refund", "o-1", key="k", args={"why": "damaged"})
    h.fail(second, "conflict")
    assert told(h, "key-reused") == [("refund", "o-1", (first, second), "payload-changed", False)]


def test_duplicate_by_marker() -> None:
    h = History().start("p1").submit("s1-t1")
    first = h.ask("notify", "o-1")
    h.commit(first)
    h.info(first)
    second = h.ask("notify", "o-1")
    h.commit(second)
    (found,) = told(h, "duplicate-by-marker")
    assert found == (
        "notify",
        "o-1",
        (first, first + 1, second, second + 1),
        "un-keyed-retry",
        False,
    )
    assert codes("effects.delivery", h.end()) == ["duplicate-effect/un-keyed-retry"]
    # A tool that is promised at least once may be used again.
    h = History().submit("s1-t1")
    h.done("audit", "o-1")
    h.done("audit", "o-1")
    assert [row[4] for row in told(h, "duplicate-by-marker")] == [True]
    # What has no marker cannot be recognised.
    h = History().submit("s1-t1")
    h.done("notify", "")
    h.done("notify", "")
    assert told(h, "duplicate-by-marker") == []
    # One request that the network delivered twice is nobody's retry.
    h = History().submit("s1-t1")
    call = h.ask("notify", "o-1")
    h.commit(call)
    h.commit(call)
    assert told(h, "duplicate-by-marker") == []


def test_orphan_effect() -> None:
    h = History().submit("s1-t1")
    h.done("audit", "o-1")
    index = h.add("commit", "tools.refund", {"ref": "x"}, marker="o-9", call=77)
    assert told(h, "orphan-effect") == [("refund", "o-9", (index,), "", False)]
    assert graph(h).threads["refund", "o-9"].tries == ()


def test_dangling_intent() -> None:
    h = History().submit("s1-t1").intent("refund", "o-1", "s1-t1", "k")
    assert [a.proven for a in graph(h).of("dangling-intent")] == [False]
    h.outcome("s1-t1").end()
    assert told(h, "dangling-intent") == [("refund", "o-1", (1, 2), "", False)]
    assert [a.proven for a in graph(h).of("dangling-intent")] == [True]
    h = History().submit("s1-t1").intent("refund", "o-1", "s1-t1", "k")
    assert told(h.outcome("s1-t1", "failed").end(), "dangling-intent") == []


def test_claimed_not_done() -> None:
    h = History().submit("s1-t1")
    h.fail(h.ask("refund", "o-1", key="k"))
    h.outcome("s1-t1", "completed", ("refund", "o-1", None)).end()
    assert told(h, "claimed-not-done") == [("refund", "o-1", (3,), "", False)]
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="k")
    h.outcome("s1-t1", "completed", ("refund", "o-1", ref)).end()
    assert told(h, "claimed-not-done") == []
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="k")
    h.outcome("s1-t1", "completed", ("refund", "o-1", "refund:o-7#1")).end()
    assert told(h, "claimed-not-done") == [("refund", "o-1", (2, 4), "wrong-ref", False)]
    assert codes("outcome.honest", h) == ["wrong-ref"]


def test_done_not_claimed() -> None:
    def end(status: str, *claims: tuple[str, str]) -> History:
        h = History().submit("s1-t1")
        h.done("refund", "o-1", key="k")
        h.done("audit", "o-1")
        h.done("elsewhere", "o-1")
        return h.outcome("s1-t1", status, *claims).end()

    left_out = ("refund", "o-1", (2, 10), "", False)
    unknown_to_the_contract = ("elsewhere", "o-1", (8, 10), "", True)
    assert told(end("completed", ("audit", "o-1")), "done-not-claimed") == [
        left_out,
        unknown_to_the_contract,
    ]
    both = end("completed", ("audit", "o-1"), ("refund", "o-1"))
    assert told(both, "done-not-claimed") == [unknown_to_the_contract]
    denied = ("refund", "o-1", (2, 10), "although-answered", False)
    assert told(end("failed"), "done-not-claimed") == [denied]
    assert told(end("completed"), "done-not-claimed") == []  # it never lists what it did
    h = History().submit("s1-t1")
    h.done("elsewhere", "o-1")
    h.outcome("s1-t1", "failed").end()  # a denial is one, whatever the contract names
    assert told(h, "done-not-claimed") == [("elsewhere", "o-1", (2, 4), "although-answered", False)]
    h = History().submit("s1-t1")
    h.done("audit", "o-1")
    h.done("audit", "o-1")
    h.outcome("s1-t1", "completed", ("refund", "o-1"))
    assert len(graph(h).of("done-not-claimed")) == 1  # however often it was done


def test_absorbed() -> None:
    h = _lost_and_sent_again()
    assert told(h, "absorbed") == [("refund", "o-1", (6, 7), "", True)]
    assert [a.ref for a in graph(h).of("absorbed")] == ["refund:o-1#1"]
    # A reply that says so will do, where the service is not ours and writes no such entry.
    h.ops = [replace(op, f="report.log") if op.type == "event" else op for op in h.ops]
    assert told(h, "absorbed") == [("refund", "o-1", (6, 8), "", True)]
    h = History().submit("s1-t1")
    h.done("refund", "o-1", key="k")
    assert told(h, "absorbed") == []


def test_compensated() -> None:
    h = History().submit("s1-t1")
    ref = h.done("refund", "o-1", key="a")
    h.done("void", ref, undoes=ref)
    h.done("refund", "o-1", key="b")
    assert told(h, "compensated") == [("refund", "o-1", (2, 5), "", True)]
    assert told(h, "key-changed") == told(h, "duplicate-by-marker") == []


def test_every_kind_has_its_test() -> None:
    assert {f"test_{kind.replace('-', '_')}" for kind in KINDS} <= set(globals())


# -- both worlds


def worlds(h: History, tool: str = "refund") -> list[tuple[str, int]]:
    return [(one.world, one.decided) for one in graph(h).threads[tool, "o-1"].tries]


def kinds(anomalies: tuple[Anomaly, ...]) -> list[str]:
    return [a.kind for a in anomalies]


def test_the_ledger_decides() -> None:
    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="k")
    assert worlds(h) == [("undecided", -1)]
    h.info(first)
    assert worlds(h) == [("undecided", -1)]
    h.commit(first)  # late, after the agent was left alone with its doubt
    assert worlds(h) == [("happened", 3)]
    (one,) = graph(h).threads["refund", "o-1"].tries
    assert one.in_doubt
    second = h.ask("refund", "o-1", key="k")
    h.fail(second, "rate-limited")
    assert worlds(h)[1:] == [("did-not-happen", 5)]


def test_absence_counts_only_at_the_end() -> None:
    h = History().submit("s1-t1")
    h.info(h.ask("refund", "o-1", key="k"))
    h.outcome("s1-t1", "uncertain")
    assert worlds(h) == [("undecided", -1)]
    h.event("final.effects", {"tool": "ship", "effects": []})
    reading = len(h.ops)
    h.event("final.effects", {"tool": "refund", "effects": []}).event("lab.end")
    assert worlds(h) == [("did-not-happen", reading)]


def test_what_would_follow_from_each_world() -> None:
    h = History().submit("s1-t1")
    first = h.ask("notify", "o-1")
    h.info(first)
    h.outcome("s1-t1", "completed", ("notify", "o-1"))
    (one,) = graph(h).threads["notify", "o-1"].tries
    assert (kinds(one.if_happened), kinds(one.if_not)) == ([], ["claimed-not-done"])
    h.ops.pop()
    h.outcome("s1-t1", "failed")
    (one,) = graph(h).threads["notify", "o-1"].tries
    assert [(a.kind, a.ops, a.detail) for a in one.if_happened] == [
        ("done-not-claimed", (first, 3), "reply-lost")
    ]
    assert one.if_not == ()
    # What was foretold is what is then found, down to the commit that was not there yet.
    h.commit(first)
    (denied,) = graph(h).of("done-not-claimed")
    assert (denied.ops, denied.detail) == ((3, 4), "reply-lost")
    assert worlds(h, "notify") == [("happened", 4)]


def test_a_second_commit_would_be_a_duplicate_only_without_the_key() -> None:
    def second(tool: str, key: str | None, other: str | None, **args: Any) -> list[str]:
        h = History().submit("s1-t1")
        first = h.ask(tool, "o-1", key=key)
        h.commit(first)
        h.info(first)
        h.ask(tool, "o-1", key=other, **args)
        return kinds(graph(h).threads[tool, "o-1"].tries[1].if_happened)

    assert second("notify", None, None) == ["duplicate-by-marker"]
    assert second("refund", "a", "b") == ["duplicate-by-marker"]
    assert second("refund", "a", "a") == ["absorbed"]
    # Other content under the same key would be refused, so this world is empty.
    assert second("refund", "a", "a", args={"order": "o-1", "why": "x"}) == []


# -- threads and the drawing


def _lost_and_sent_again() -> History:
    """An intent, a lost reply, a retry that the service recognises, a record, a claim."""
    h = History().submit("s1-t1").intent("refund", "o-1", "s1-t1", "k")
    first = h.ask("refund", "o-1", key="k")
    ref = h.commit(first)
    h.strike(first, "silence", "after-commit")
    h.info(first)
    again = h.ask("refund", "o-1", key="k")
    h.add(
        "event", "tools.refund", {"absorbed": ref}, call=again, marker="o-1", key="k", task="s1-t1"
    )
    h.ok(again, ref, absorbed=True)
    h.write("task/s1-t1", {"steps": [{"tool": "refund", "ref": ref}]}, task="s1-t1")
    return h.outcome("s1-t1", "completed", ("refund", "o-1", ref)).end()


def test_a_thread_from_end_to_end() -> None:
    thread = graph(_lost_and_sent_again()).threads["refund", "o-1"]
    assert [op.index for op in thread.intents] == [1]
    assert thread.keys == ("k",)
    assert [(t.invoke.index, t.process, t.task, t.absorbed, t.world, t.decided, t.in_doubt)
            for t in thread.tries] == [
        (2, "p1", "s1-t1", "", "happened", 3, True),
        (6, "p1", "s1-t1", "refund:o-1#1", "happened", 7, False),
    ]  # fmt: skip
    assert [e.ref for e in thread.effects] == ["refund:o-1#1"]
    assert [(row.ref, row.commit.index) for row in thread.rows] == [("refund:o-1#1", 10)]
    assert [claim.outcome.index for claim in thread.replies] == [12]
    assert kinds(thread.anomalies) == ["absorbed"]


def test_a_row_keeps_the_reference_and_comes_after_the_commit() -> None:
    def row(*values: Any) -> list[int]:
        h = History().submit("s1-t1")
        h.write("early", "refund:o-1#1")
        h.done("refund", "o-1", key="k")
        h.done("refund", "o-2", key="l")
        for value in values:
            h.write("log", value)
        return [r.commit.index for r in graph(h).threads["refund", "o-1"].rows]

    assert row("refund:o-1#11", {"refund:o-2#1": True}) == []
    assert row("x", ["said: (refund:o-1#1)."], "refund:o-1#1") == [14]
    assert row({"refund:o-1#1": 1}) == [11]


def test_words() -> None:
    assert "pay:a b#1" in words_of({"ref": "pay:a b#1"})  # whole, blanks and all
    assert "pay:a b#1" not in words_of("it is pay:a b#1")


def test_a_wasm_guest_that_asks_in_its_own_words() -> None:
    h = History().submit("s1-t1")
    call = h.wasm("i1", "")
    h.commit(call, tool="ticket", key="g", marker="o-1")
    h.ok(call)
    thread = graph(h).threads["ticket", "o-1"]
    assert [(t.invoke.index, t.key, t.world) for t in thread.tries] == [(call, "g", "happened")]
    assert thread.keys == ("g",)


def test_the_graph_is_made_once() -> None:
    facts = Facts(_lost_and_sent_again().view())
    assert lineage(facts, CONTRACT) is lineage(facts, CONTRACT)
    assert lineage(facts, Contract()) is not lineage(facts, CONTRACT)


def drawn(h: History) -> list[str]:
    raw: Any = graph(h).to_json()
    return [f"{e['from']} --{e['type']}--> {e['to']}" for e in raw["edges"]]


def test_every_edge_between_nodes_that_are_there() -> None:
    h = _lost_and_sent_again()
    h.submit("s1-t2").intent("notify", "o-2", "s1-t2")
    h.done("notify", "o-2", task="s1-t2")
    ref = "refund:o-1#1"
    h.done("void", ref, undoes=ref, task="s1-t2")
    raw: Any = graph(h).to_json()
    assert json.loads(json.dumps(raw)) == raw == graph(h).to_json()
    ids = [node["id"] for node in raw["nodes"]]
    assert len(ids) == len(set(ids))
    assert {end for e in raw["edges"] for end in (e["from"], e["to"])} <= set(ids)
    assert {e["type"] for e in raw["edges"]} == set(EDGES)
    places = [node["op"] for node in raw["nodes"]]
    assert places == sorted(places)
    stands = {n["id"]: n["stands"] for n in raw["nodes"] if n["type"] == "commit"}
    assert stands == {"commit:3": False, "commit:18": True, "commit:21": True}


def test_an_undecided_try_is_drawn_with_both_worlds() -> None:
    h = History().submit("s1-t1")
    h.ask("notify", "o-1")
    h.outcome("s1-t1", "completed", ("notify", "o-1"))
    raw: Any = graph(h).to_json()
    (node,) = (n for n in raw["nodes"] if n["type"] == "try")
    assert node["world"] == "undecided" and "decided" not in node
    assert (node["if_happened"], [a["kind"] for a in node["if_not"]]) == ([], ["claimed-not-done"])


def test_the_example_of_the_reference_page_is_true() -> None:
    h = _lost_and_sent_again()
    raw: Any = graph(h).to_json()
    page = PAGE.read_text(encoding="utf-8")
    edges, anomalies, tries = page.split("## An example")[1].split("```")[1::2]
    assert edges.splitlines()[1:] == drawn(h)
    assert json.loads(anomalies.removeprefix("json")) == raw["anomalies"]
    assert json.loads(tries.removeprefix("json")) == [
        node for node in raw["nodes"] if node["type"] == "try"
    ]
    for kind in (*KINDS, *EDGES, *NODES):
        assert f"| `{kind}` |" in page


@pytest.mark.parametrize("name", ["matrix/timeout-after-commit", "matrix/failover-zombie"])
def test_the_reference_agent_is_never_accused(name: str) -> None:
    for seed in (0, 1):
        spec = specs_for(scenario_files([name]), REFERENCE, seeds=[seed])[0]
        contract = merged_contract(spec.contract, spec.workload)
        base = ExecutionSpec(
            scenario=spec.scenario,
            workload=spec.workload,
            contract=spec.contract,
            agent=spec.agent,
            seed=seed,
        )
        quiet = replace(base, scenario=replace(spec.scenario, faults=()))
        control = simulate(quiet, Writer(None, {}))
        placed = place(spec.scenario.faults, control.sites, contract)
        struck = simulate(replace(base, placed=placed), Writer(None, {}))
        for end in (control, struck):
            found = lineage(Facts(View(end.ops)), contract)
            assert [a for a in found.anomalies if not a.legitimate] == []
            tries = [t for thread in found.threads.values() for t in thread.tries]
            assert tries and all(t.world != "undecided" for t in tries)
            done = [t for t in found.threads.values() if t.effects]
            assert all(thread.rows and thread.replies for thread in done)
            assert any(t.absorbed for t in tries) == bool(found.of("absorbed"))


def test_tools_that_the_contract_does_not_name_are_promised_nothing() -> None:
    h = History().submit("s1-t1")
    h.ask("pay", "o-1", key="a")
    h.ask("pay", "o-1", key="b")
    assert graph(h).anomalies == ()
    weak = Contract(tools={"pay": ToolContract(name="pay", keys=True)})
    (changed,) = graph(h, weak).anomalies
    assert (changed.kind, changed.legitimate) == ("key-changed", True)
