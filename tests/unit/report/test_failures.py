"""One failure, one card: what an on-call engineer finds there, and what is left without files."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.unit.report.scenes import RUN, Record, bug, files, material, once, scene, twice

from chaoslab.check.masking import Mask
from chaoslab.cli import main
from chaoslab.report.page.failures import (
    FOCUS_MAX,
    failures_of,
    focus_of,
    lineage_of,
    replay_command,
)
from chaoslab.report.page.material import load_material


def test_a_real_campaign_answers_every_question_of_whoever_is_on_call(tmp_path: Path) -> None:
    agent = "fixtures/agents/double_charge.py:make_agent"
    code = main(
        [
            *("run", "matrix/timeout-after-commit", "--agent", agent, "--in-process"),
            *("--seed", "0", "--reports", str(tmp_path)),
        ]
    )
    assert code == 1
    folder = tmp_path / "latest"
    failures = failures_of(load_material(folder))
    assert {f.bug["check"] for f in failures} == {
        "effects.delivery",
        "keys.lineage",
        "recovery.converges",
    }
    found = next(f for f in failures if f.bug["check"] == "effects.delivery")
    assert found.trouble == ""
    assert found.ledger is not None
    assert [row.state for row in found.ledger.rows].count("extra") == 1
    assert [try_.answer_type for try_ in found.tries] == ["outcome unknown", "answered"]
    assert len({try_.key for try_ in found.tries}) == 2
    assert found.affected[0].startswith("1 of 6 tasks: s1-t1")
    assert "derive the key once" in found.todo
    assert 'name   = "timeout-after-commit"' in found.scenario_text
    assert {hint.kind for hint in found.production} == {"key", "operation", "query"}
    kinds = [node["type"] for node in found.lineage["nodes"]]
    assert (kinds.count("try"), kinds.count("commit"), kinds.count("key")) == (2, 2, 2)
    assert set(found.bug["witness"]) <= set(found.focus)
    command = shlex.split(found.replay)
    assert command[:2] == ["chaoslab", "replay"]
    assert (Path(command[2]) / "run.json").is_file()


def test_failures_stand_in_the_order_of_the_bugs_with_expected_ones_last(tmp_path: Path) -> None:
    bugs = [
        bug(fingerprint="e", state="expected"),
        bug(fingerprint="b", where="control"),
        bug(fingerprint="a"),
    ]
    run = files({"fault": twice(), "control": once()}, *bugs)
    found = failures_of(material(run, bugs, tmp_path))
    assert [f.bug["fingerprint"] for f in found] == ["b", "a", "e"]
    assert [f.bug["fingerprint"] for f in failures_of(material(run, bugs, tmp_path), most=1)] == [
        "b"
    ]


def test_a_bug_that_was_seen_without_faults_is_told_from_that_history(tmp_path: Path) -> None:
    one = bug(where="control")
    run = files({"fault": once("o-9"), "control": twice()}, one)
    [found] = failures_of(material(run, [one], tmp_path))
    assert [row.key for row in found.tries] == ["k1", "k2"]
    assert found.ledger is not None and not found.ledger.compared


def test_without_the_files_of_its_run_a_failure_says_so_and_keeps_the_rest(tmp_path: Path) -> None:
    one = bug(todo="derive the key once.")
    [found] = failures_of(material(files({}, one), [one], tmp_path))
    assert found.trouble == "its history fault.jsonl is not there"
    assert (found.ledger, found.tries, found.production, found.focus) == (None, (), (), ())
    assert found.todo == "derive the key once."
    assert found.replay.endswith(RUN)
    gone = bug(example="another-run", todo="")
    [left] = failures_of(material(files({}, one), [gone], tmp_path))
    assert left.run is None and "not in these results" in left.trouble
    assert left.todo.startswith("derive the key once from")


def test_the_command_is_as_a_person_would_type_it(tmp_path: Path) -> None:
    one = bug()
    run = files({"fault": twice(), "control": once()}, one)
    [found] = failures_of(material(run, [one], tmp_path / "reports"), folder="reports/latest")
    assert found.replay == f"chaoslab replay reports/latest/{RUN}"
    [inside] = failures_of(material(run, [one], Path.cwd() / "reports" / "x"))
    assert inside.replay == f"chaoslab replay reports/x/{RUN}"
    assert replay_command("my reports", "a'b") == """chaoslab replay 'my reports/a'"'"'b'"""


def test_the_lineage_is_that_of_the_action_and_of_what_undid_it() -> None:
    record = Record()
    record.task("s1-t1")
    first = record.ask("o-1")
    record.commit(first)
    other = record.ask("o-2", key="k2")
    record.commit(other)
    undo = record.ask("refund:o-1#1", tool="unrefund", key=None)
    record.commit(undo, compensates="refund:o-1#1")
    graph = lineage_of(scene(record.end(), witness=[first]))
    markers = {node.get("marker") for node in graph["nodes"] if node["type"] == "try"}
    assert markers == {"o-1", "refund:o-1#1"}
    assert "compensates" in {edge["type"] for edge in graph["edges"]}
    assert {(a["tool"], a["marker"]) for a in graph["anomalies"]} == {("refund", "o-1")}
    nothing = lineage_of(scene(once(), tool="", check="limits.tasks", witness=[1]))
    assert nothing["nodes"] == []


def test_the_focus_has_the_proof_the_action_and_the_deaths_in_between() -> None:
    record = Record()
    record.task("s1-t1")
    first = record.ask("o-1", key="k1")
    done = record.commit(first)
    strike = record.strike(first, "crash")
    killed = record.add("event", "process.kill", process="p1")
    record.add("event", "process.kill", process="p9")
    unrelated = record.ask("o-2", key="k9")
    second = record.ask("o-1", key="k2", attempt=2)
    again = record.commit(second, 2)
    focus = focus_of(scene(record.end(), witness=[again]))
    assert {first, done, strike, killed, second, again} <= set(focus)
    assert not {unrelated, killed + 1} & set(focus)
    assert list(focus) == sorted(focus)


def test_a_focus_has_an_end_and_keeps_the_proof() -> None:
    record = Record()
    record.task("s1-t1")
    calls = [record.ask("o-1", attempt=n + 1) for n in range(FOCUS_MAX + 50)]
    focus = focus_of(scene(record.end(), witness=[calls[-1]]))
    assert len(focus) == FOCUS_MAX
    assert calls[-1] in focus


def test_nothing_sensitive_and_nothing_that_acts_is_left_in_a_failure(tmp_path: Path) -> None:
    record = Record()
    record.task("s1-t1", tenant="DE02120300004711")
    for attempt in (1, 2):
        call = record.ask(
            "DE02 1203 0000 4711",
            key="DE02120300004711",
            attempt=attempt,
            note="<script>\u202e\x1b[2J",
        )
        record.commit(call, attempt)
        record.answer(call, ref="DE02120300004711")
    mask = Mask({"DE02120300004711": "‹iban of s1›"})
    one = bug(witness=[1, 2], explanation="twice", subject="refund ‹iban of s1›")
    run = files({"fault": record.end(), "control": once()}, one, mask=mask)
    run.scenario_text = "# DE02120300004711\u202e\nformat = 1\n"
    [found] = failures_of(material(run, [one], tmp_path))
    told = [repr(found.ledger), repr(found.tries), repr(found.production), repr(found.affected)]
    told += [repr(found.lineage), found.scenario_text]
    text = " ".join(told)
    assert "4711" not in text
    assert "\u202e" not in text and "\x1b" not in text
    assert found.scenario_text.count("\n") == 2
