"""JUnit: a case fails exactly where the run fails the pipeline, and the file is XML whatever comes.

Validated by parsing and by what servers read; a schema of our own would only say the same twice.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from tests.unit.report.campaigns import (
    GAPS,
    HOSTILE,
    cut,
    hostile_results,
    known,
    known_bug,
    planted,
    results,
    run,
    violation,
)

from chaoslab.report.junit import junit_xml, xml_text


def parsed(found: dict[str, Any]) -> Xml.Element:
    text = junit_xml(found, folder="reports/x")
    root = Xml.fromstring(text.encode("utf-8"))
    assert root.tag == "testsuites"
    for suite in [root, *root]:
        cases = list(suite.iter("testcase"))
        for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(suite.get(name, "")) == sum(c.find(tag) is not None for c in cases)
        assert int(suite.get("tests", "")) == len(cases)
    return root


def only(found: dict[str, Any]) -> Xml.Element:
    (case,) = parsed(found).iter("testcase")
    return case


def said(case: Xml.Element) -> tuple[str, str]:
    (one,) = case
    return one.tag, one.get("message") or one.text or ""


def test_a_run_that_held_passes_with_its_time() -> None:
    case = only(results(run(7)))
    assert list(case) == []
    assert case.attrib == {
        "classname": "matrix",
        "name": "matrix/timeout [mine] seed 7",
        "time": "1.234",
    }


def test_families_are_suites() -> None:
    root = parsed(
        results(run(0), run(1, scenario="live/x"), run(2), started="2026-01-31T12:00:00Z")
    )
    assert [(s.get("name"), s.get("tests"), s.get("time")) for s in root] == [
        ("matrix", "2", "2.468"),
        ("live", "1", "1.234"),
    ]
    assert root[0].get("timestamp") == "2026-01-31T12:00:00"


def test_a_broken_run_fails_with_its_chain_and_its_replay() -> None:
    other = violation("keys.lineage", code="key-changed", fingerprint="ff" * 8, because=None)
    case = only(results(run(0, violations=[violation(), other, violation()])))
    tag, message = said(case)
    assert tag == "failure" and "\n" not in message
    assert message == (
        "effects.delivery (duplicate-effect): 2 × refund for one request; and 1 more"
    )
    text = case[0].text or ""
    assert "  #1 the agent asks\n  so: twice" in text and "keys.lineage (key-changed)" in text
    assert text.endswith("replay: chaoslab replay reports/x/matrix-timeout--mine--s0")
    assert text.count("so: twice") == 1


def test_what_is_known_is_skipped_and_what_has_expired_fails() -> None:
    broken = run(0, violations=[violation()])
    case = only(results(broken, known=known(known_bug())))
    assert said(case) == ("skipped", "known: ann, PAY-7, until 2026-03-01")
    case = only(results(broken, known=known(known_bug(until="2026-01-20"))))
    assert said(case)[0] == "failure"
    assert "expired: ann, PAY-7, until 2026-01-20" in (case[0].text or "")


def test_one_new_bug_beside_a_known_one_fails() -> None:
    other = violation("keys.lineage", code="key-changed", fingerprint="ff" * 8)
    case = only(results(run(0, violations=[violation(), other]), known=known(known_bug())))
    assert said(case)[0] == "failure"
    text = case[0].text or ""
    assert text.index("keys.lineage") < text.index("known: ann")


@pytest.mark.parametrize(
    ("entry", "tag", "words"),
    [
        (run(broke="it died", verdict="unknown"), "error", "it died"),
        (run(differs="#3 differs"), "error", "the same choices gave another history: #3 differs"),
        (planted(caught=False), "error", "effects.delivery should have found"),
        (planted(), "system-out", "effects.delivery found what is broken here on purpose"),
        (run(vacuous="no fault struck", verdict="unknown"), "skipped", "unproven: no fault struck"),
        (
            run(vacuous="no fault struck", verdict="unknown", required=["keys.lineage"]),
            "failure",
            "the contract requires keys.lineage; no fault struck",
        ),
        (
            run(not_applicable="no keyed tool", verdict="not-applicable"),
            "skipped",
            "not applicable: no keyed tool",
        ),
        (
            run(violations=[violation()], caught=True, expected_check="effects.delivery"),
            "system-out",
            "effects.delivery found",
        ),
    ],
)
def test_every_other_end(entry: dict[str, Any], tag: str, words: str) -> None:
    found = said(only(results(entry)))
    assert found[0] == tag and found[1].startswith(words)


def test_a_cut_run_is_skipped_with_the_reason() -> None:
    cases = list(parsed(results(run(0), cut=[cut(9)])).iter("testcase"))
    assert [c.get("name") for c in cases] == [f"matrix/timeout [mine] seed {n}" for n in (0, 9)]
    assert said(cases[1]) == ("skipped", "left out: 10 m were over")


def test_a_missing_shard_and_a_required_check_that_was_cut_are_errors_of_their_own() -> None:
    required = run(0, required=["keys.lineage"])
    idle = {"keys.lineage": {"verdict": "not-applicable", "reason": "no tool took a key"}}
    for found, words in (
        (results(run(0), gaps=GAPS, merged=["a"]), GAPS[0]),
        (results(required | {"checks": idle}, cut=[cut()]), "requires keys.lineage; no run"),
    ):
        assert found["exit_code"] == 3
        case = list(parsed(found).iter("testcase"))[-1]
        assert case.get("classname") == "campaign"
        assert said(case)[0] == "error" and words in said(case)[1]


def test_a_shard_alone_is_no_failure_and_says_that_it_is_one() -> None:
    first = run(0)
    plan = {"index": 1, "of": 2, "plan": "d", "runs": [first["id"], "another"]}
    case = list(parsed(results(first, shard=plan)).iter("testcase"))[-1]
    tag, words = said(case)
    assert tag == "skipped" and words.startswith("This is shard 1 of 2 alone: 1 of 2 planned")


ENDS = [
    run(0),
    run(1, violations=[violation()]),
    run(2, violations=[violation(fingerprint="dd" * 8)]),
    run(3, broke="x", verdict="unknown"),
    run(4, differs="x"),
    run(5, vacuous="x", verdict="unknown"),
    run(6, vacuous="x", verdict="unknown", required=["keys.lineage"]),
    run(7, violations=[violation()], caught=True, expected_check="effects.delivery", differs="x"),
    run(8, caught=False, expected_check="effects.delivery"),
    planted(9),
    planted(10, caught=False),
    run(11, not_applicable="x", verdict="not-applicable", required=["keys.lineage"]),
]


@pytest.mark.parametrize("first", range(len(ENDS)))
@pytest.mark.parametrize("second", range(len(ENDS)))
def test_the_file_fails_exactly_where_the_exit_code_does(first: int, second: int) -> None:
    runs = [ENDS[n] for n in sorted({first, second})]
    found = results(*runs, known=known(known_bug()))
    root = parsed(found)
    assert (root.get("failures"), root.get("errors")) != ("0", "0") or found["exit_code"] == 0
    assert (root.get("failures"), root.get("errors")) == ("0", "0") or found["exit_code"] != 0


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_breaks_nothing(text: str) -> None:
    found = hostile_results(text)
    root = parsed(found)
    assert [case.get("classname") for case in root.iter("testcase")].count("campaign") == 1
    tags = {e.tag for e in root.iter()}
    assert tags <= {
        "testsuites",
        "testsuite",
        "testcase",
        "failure",
        "error",
        "skipped",
        "system-out",
    }
    whole = junit_xml(found, folder="reports/x")
    assert len(whole) < 400_000
    assert not re.search(r"(?m)^\s*::(set-output|error)", whole)
    for case in root.iter():
        assert "\n" not in (case.get("message") or "")


def test_what_xml_cannot_hold_is_written_out() -> None:
    every = "".join(map(chr, [*range(0x20), 0x7F, 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0xFFFD, 0xFFFE]))
    every += "\uffff\U00010000\U0010ffff"
    text = xml_text(every)
    assert Xml.fromstring(f"<a>{text}</a>".encode()).text == text.replace("\r", "\n")
    assert "\\u0000" in text and "\\ud800" in text and "\\ufffe" in text and "\U0010ffff" in text


def test_results_of_an_older_version_are_read() -> None:
    late = ("bugs", "known", "promises", "cut", "shard", "merged", "started", "profile")
    old = {k: v for k, v in results(run(0, violations=[violation()])).items() if k not in late}
    for name in ("warnings", "scenario_faults", "tools", "ruleset"):
        del old["runs"][0][name]
    del old["runs"][0]["violations"][0]["consequence"]
    assert said(only(old))[0] == "failure"
