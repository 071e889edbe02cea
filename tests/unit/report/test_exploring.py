"""A campaign of thousands of executions, told by every output as what it is."""

from __future__ import annotations

import io
import json
from typing import Any
from xml.etree import ElementTree as Xml

import jsonschema
import pytest
from rich.console import Console
from tests.unit.report import sample

from chaoslab.report.comment import comment
from chaoslab.report.compare import compare
from chaoslab.report.events import ndjson, schema
from chaoslab.report.exploring import (
    change_lines,
    executions_words,
    failures_in,
    headline_of,
    open_ends,
    show_exploration,
    show_worlds,
    unfinished,
)
from chaoslab.report.junit import junit_xml
from chaoslab.report.page.answer import answer_of
from chaoslab.report.page.gaps import gaps_of
from chaoslab.report.page.render import page_html
from chaoslab.report.page.sections import context_of

HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[2J\u202e| ::error::x"


def finding(**more: Any) -> dict[str, Any]:
    return {
        "fingerprint": "d59657d71c29e6d1",
        "check": "effects.delivery",
        "code": "duplicate-effect",
        "title": "refund: one action stands more than once",
        "contract": sample.CONTRACT,
        "state": "new",
        "warning": False,
        "executions": 12,
        "faults": ["silence after-commit at tools.refund"],
        "tried": 9,
        "run": "matrix-x--refund_bot--s0",
        "shown_again": True,
        "differs": None,
        "files": ["scenarios/regressions/double.toml"],
    } | more


def explored(*findings: dict[str, Any], code: int = 0, **more: Any) -> dict[str, Any]:
    """4,000 executions, of which three were done again in full."""
    broken = sum(one["executions"] for one in findings)
    exploration = {
        "kind": "sweep",
        "agent": sample.AGENT,
        "contract": sample.CONTRACT,
        "complete": True,
        "executions": 4_000,
        "words": {"held": 4_000 - broken, "broken": broken, "equivalent": 120},
        "claim": ["Each strike alone: ran 4,000 of 4,120, 120 equivalent, under seeds 0."],
        "statistics": {"executions a second": "90"},
        "findings": list(findings),
        "coverage": {"complete": True},
        "compared": None,
        "checks": {},
        "required": [],
    } | more
    runs = [sample.run("matrix/x", seed) for seed in range(3)]
    if findings:
        runs[0] |= {"verdict": "invalid", "violations": [sample.violation()]}
    return sample.results(
        runs=runs,
        bugs=[],
        known=[],
        promises=[],
        cut=[],
        shard=None,
        stopped=None,
        complete=True,
        exit_code=code,
        exploration=exploration,
        coverage={"title": "Every fault", "rows": [{"world": "matrix/x", "strikes": "4,000"}]},
    )


def on_terminal(results: dict[str, Any]) -> str:
    out = io.StringIO()
    show_exploration(Console(file=out, width=120, no_color=True), results, "reports/latest")
    return out.getvalue()


def page(results: dict[str, Any]) -> str:
    return page_html(context_of(results, failures=[], matrix=None, chunks={}, folder="f"))


def test_every_output_speaks_of_executions_and_not_of_the_few_runs() -> None:
    results = explored()
    many = "a sweep of 4,000 executions, 4,000 held, 0 broken"
    assert many in headline_of(results) and "3 executions were done again" in headline_of(results)
    answer = answer_of(results, {})
    assert answer["word"] == "Held" and many in answer["says"][0]
    assert "4,000" in page(results) and "Runs in full" in page(results)
    first = comment(results).splitlines()[2]
    assert first.startswith("**No promise was seen broken: a sweep of 4,000 executions")
    suites = Xml.fromstring(junit_xml(results, folder="r").encode()).findall("testsuite")
    [case] = next(s for s in suites if s.get("name") == "explored")
    assert "4,000 executions" in str(case.get("name")) and "ran 4,000" in str(case[0].text)
    said = on_terminal(results)
    assert many in said and "ran 4,000 of 4,120" in said and "executions a second: 90" in said


def test_a_finding_is_told_with_its_story_its_file_and_its_command() -> None:
    said = on_terminal(explored(finding(), code=1))
    assert said.index("BROKEN  effects.delivery") < said.index("seen in 12 executions")
    assert "so: 2 × refund" in said and "chaoslab replay reports/latest/matrix-x" in said
    assert "written: scenarios/regressions/double.toml" in said
    assert said.index("written:") < said.index("ran 4,000 of")
    results = explored(finding(), code=1)
    assert comment(results).splitlines()[2].startswith("**Broken: 1 bug in a sweep of 4,000")
    assert "scenarios/regressions/double.toml" in comment(results)
    assert "scenarios/regressions/double.toml" in page(results)


def test_what_no_full_run_shows_fails_the_case_of_the_exploration() -> None:
    results = explored(finding(run=None), code=1)
    root = Xml.fromstring(junit_xml(results, folder="r").encode())
    [case] = root.findall("testsuite[@name='explored']/testcase")
    failure = case.find("failure")
    assert failure is not None and "effects.delivery" in str(failure.get("message"))


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"problems": ["the disk is full"]}, "could not run"),
        ({"words": {"held": 1, "broke": 2}}, "could not run"),
        ({"differs": ["entry 7 differs"]}, "not repeatable"),
    ],
)
def test_what_the_lab_could_not_do_is_an_error_and_a_gap(more: dict[str, Any], kind: str) -> None:
    results = explored(code=5 if "differs" in more else 4, **more)
    root = Xml.fromstring(junit_xml(results, folder="r").encode())
    assert [one.get("type") for one in root.iter("error")] == [kind]
    assert kind in [gap["kind"] for gap in gaps_of(results)]
    assert answer_of(results, {})["look"] in ("bad", "warn")


def test_what_was_cut_is_never_green() -> None:
    results = explored(coverage={"complete": False}, complete=False)
    assert unfinished(results) and not unfinished(explored())
    assert answer_of(results, {})["word"] == "Held so far"
    assert "not finished" in comment(results).splitlines()[2]
    assert "go on with --resume" in on_terminal(results)
    assert ("not executed", 0) in [(kind, count) for kind, _, count in open_ends(results)]


def test_nothing_but_strikes_that_never_struck_proves_nothing() -> None:
    results = explored(words={"never-struck": 4_000}, code=3)
    assert answer_of(results, {})["means"] == "nothing was proven by any execution"
    assert comment(results).splitlines()[2].startswith("**Nothing was proven")
    assert ("never struck", 4_000) in [(kind, count) for kind, _, count in open_ends(results)]


def test_only_what_counts_is_a_failure() -> None:
    kinds = [finding(warning=True), finding(state="known"), finding(shown_again=False), finding()]
    assert failures_in(explored(*kinds)) == [kinds[3]]


def test_changes_are_told_by_word() -> None:
    one = {"check": "a.b", "code": "c", "title": "t", "why": "12 of 12 strikes"}
    compared = {"comparable": True, "notes": ["x"], "resolved": [one], "not_looked_at": [one]}
    told = change_lines(explored(compared=compared))
    assert told[0] == "NOTE  x" and "RESOLVED  a.b (c): t (12 of 12 strikes)" in told
    assert told[-1].endswith("0 new, 0 ongoing, 1 resolved, 1 not looked at again.")
    assert change_lines(explored(compared={"comparable": False}))[0].startswith("NOT COMPARABLE")
    notes = compare(explored(), sample.results()).notes
    assert any("a sweep of 4,000 executions" in note and "runs alone" in note for note in notes)


def test_the_stream_fits_its_schema() -> None:
    lines = [json.loads(line) for line in ndjson(explored(finding(), code=1)).splitlines()]
    for line in lines:
        jsonschema.validate(line, schema())
    assert [line["kind"] for line in lines[:3]] == ["campaign", "exploration", "finding"]
    assert lines[0]["executions"] == 4_000 and lines[1]["how"] == "sweep"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**lines[2], "executions": "many"}, schema())


def test_what_an_agent_said_stays_words_everywhere() -> None:
    bad = finding(title=HOSTILE, faults=[HOSTILE], files=[HOSTILE], run=None, check=HOSTILE)
    more = {"claim": [HOSTILE], "notes": [HOSTILE], "statistics": {HOSTILE: HOSTILE}}
    results = explored(bad, code=1, **more)
    for text in (on_terminal(results), comment(results), junit_xml(results, folder="r")):
        assert "\x1b" not in text and "\u202e" not in text
    assert "<img" not in page(results) and "\u202e" not in page(results)
    assert not any(line.startswith("::") for line in on_terminal(results).splitlines())


def test_words_for_one() -> None:
    one = {"kind": "stress", "executions": 1, "words": {"held": 1, "equivalent": 1}}
    assert executions_words(one) == (
        "a stress campaign of 1 execution, 1 held, 0 broken; "
        "1 further strike was not executed, being equivalent to others"
    )


def test_a_world_that_does_not_hold_by_itself_is_not_gone_on_with() -> None:
    cut = {"complete": False, "worlds": [{"world": "w-1", "why": ""}]}
    assert "go on with --resume" in on_terminal(explored(coverage=cut))
    stuck = {"complete": False, "worlds": [{"world": "w-1", "why": "2 × refund"}]}
    told = on_terminal(explored(coverage=stuck))
    assert "mend what is broken without any fault" in told and "--resume" not in told


def test_the_page_names_each_finding_and_how_it_was_made_small() -> None:
    shown = page(explored(finding(), finding(fingerprint="ff", title="a <b>name</b>", run=None)))
    assert "refund: one action stands more than once" in shown
    assert "a &lt;b&gt;name&lt;/b&gt;" in shown and "<b>name</b>" not in shown
    assert "made so in 9 trials" in shown and "double.toml" in shown


@pytest.mark.parametrize("width", [60, 80, 100, 120, 140, 160, 200])
def test_no_number_is_cut_off_however_narrow_the_terminal(width: int) -> None:
    row = {"world": "matrix/timeout-after-commit and 3 more", "id": "w-f65b5a", "seed": "0"}
    row |= {"calls": "3", "kinds": "10", "strikes": "67 of 75, 8 equivalent"}
    row |= {"pairs": "875 of 4,250, 663 equivalent", "held": "942", "broken": "12"}
    row |= {"unproven": "0", "never struck": "215", "could not run": "31", "left out": "2,712"}
    out = io.StringIO()
    show_worlds(Console(file=out, width=width, no_color=True), {"rows": [row], "columns": [*row]})
    told = out.getvalue()
    for text in ("875 of 4,250, 663 equivalent", "215", "31", "left out", "2,712"):
        assert text in told, told
