"""All outputs of a campaign tell one story, whatever happened in it: the exit code, JUnit, the
stream of events, the comment, the lines of the terminal and the list of bugs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as Xml

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.report.campaigns import cut, known, known_bug, results, run, violation

from chaoslab.report.comment import comment
from chaoslab.report.counts import count_lines
from chaoslab.report.events import lines
from chaoslab.report.junit import junit_xml

MARKS = tuple(digit * 16 for digit in "123")
CHECKS = ("effects.delivery", "keys.lineage")
ODD = ("broke", "differs", "vacuous", "not_applicable")


@st.composite
def entries(draw: st.DrawFn, seed: int) -> dict[str, Any]:
    """An entry that a run can leave."""
    more: dict[str, Any] = {"agent": draw(st.sampled_from(("mine.py:f", "other.py:f")))}
    more["required"] = draw(st.lists(st.sampled_from(CHECKS), unique=True))
    planted = draw(st.integers(0, 9)) == 0
    expected = draw(st.sampled_from((None, None, None, CHECKS[0]))) if not planted else CHECKS[0]
    marks = draw(st.lists(st.sampled_from(MARKS), unique=True, max_size=2))
    odd = draw(st.sampled_from(("", "", *ODD)))
    if odd in ("broke", "not_applicable"):
        marks = []
    more |= {odd: "so it was"} if odd else {}
    more["violations"] = [violation(CHECKS[mark == MARKS[2]], fingerprint=mark) for mark in marks]
    found = {one["check"] for one in more["violations"]}
    more |= {"expected_check": expected, "caught": expected in found if expected else None}
    more["role"] = "negative-control" if planted else "subject"
    more["faults_ran"] = not marks or draw(st.booleans())
    entry = run(seed, **more, id=f"matrix-x--a--s{seed}")
    if not more["faults_ran"] or odd in ("broke", "not_applicable"):
        entry["checks"] = {}
    elif draw(st.integers(0, 3)) == 0:
        for check in CHECKS:
            if check not in found:
                word = draw(st.sampled_from(("unknown", "not-applicable")))
                entry["checks"][check] = {"verdict": word, "reason": "so"}
    unknown = any(one["verdict"] == "unknown" for one in entry["checks"].values())
    if not marks and odd:
        entry["verdict"] = "not-applicable" if odd == "not_applicable" else "unknown"
    elif not marks and unknown:
        entry["verdict"] = "unknown"
    return entry


@st.composite
def campaigns(draw: st.DrawFn) -> dict[str, Any]:
    """A campaign of a few runs, some of them accepted, cut or missing."""
    runs = [draw(entries(n)) for n in range(draw(st.integers(0, 4)))]
    accepted = draw(st.dictionaries(st.sampled_from(MARKS), st.booleans()))
    bugs = [
        known_bug(m, until="2026-01-15" if late else "2026-03-01") for m, late in accepted.items()
    ]
    more: dict[str, Any] = {"cut": [cut()] if draw(st.booleans()) else []}
    if draw(st.integers(0, 4)) == 0:
        more["gaps"] = ("shard 2 of 2 is missing",)
    elif draw(st.integers(0, 4)) == 0:
        more["stopped"] = "invariant.x is broken without any fault"
        more["wanted"] = len(runs) + len(more["cut"]) + 1
    elif draw(st.integers(0, 4)) == 0:
        ids = [one["id"] for one in [*runs, *more["cut"]]]
        more["shard"] = {"index": 1, "of": 2, "plan": "p", "runs": [*ids, "matrix-y--a--s0"]}
    return results(*runs, known=known(*bugs), **more)


def tags(found: dict[str, Any]) -> list[str]:
    root = Xml.fromstring(junit_xml(found, folder="reports/x").encode())
    return [one.tag for case in root.iter("testcase") for one in case]


def starts(text: str) -> str:
    return text.splitlines()[2].strip("*").partition(":")[0].partition(",")[0]


@given(campaigns())
def test_all_outputs_tell_one_story(found: dict[str, Any]) -> None:
    code = found["exit_code"]
    bad = [tag for tag in tags(found) if tag in ("failure", "error")]
    assert bool(bad) == bool(code)
    open_bugs = [b for b in found["bugs"] if b["state"] in ("new", "expired") and not b["warning"]]
    assert bool(open_bugs) == (code == 1)
    assert ("failure" in bad) or code != 1
    last = json.loads(list(lines(found))[-1])
    assert (last["exit_code"], last["complete"]) == (code, found["complete"])
    said = comment(found)
    words = {
        1: {"Broken"},
        3: {"Not proven", "Nothing was observed"},
        4: {"No answer"},
        5: {"No answer"},
    }
    right = words.get(code, {"No promise was seen broken", "Nothing new was seen broken"})
    right |= set() if code else {"Nothing was proven", "No agent of yours was looked at"}
    right |= {"Nothing was observed"} if not found["runs"] else set()
    assert starts(said) in right, said
    assert ("### New" in said) == any(b["state"] == "new" for b in open_bugs)
    assert ("### Expired" in said) == any(b["state"] == "expired" for b in open_bugs)
    told = [line.partition("  ")[0] for line in count_lines(found)]
    if code == 3 and found["complete"]:
        assert "REQUIRED" in told or (found["cut"] and not _own(found["runs"]))
    assert not (code == 0 and "EXPIRED" in told and _covers(found, "expired"))


def _own(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in runs if one["role"] == "subject"]


def _covers(found: dict[str, Any], state: str) -> bool:
    """Whether a run that nothing excuses shows a bug of that state."""
    marks = {one["fingerprint"] for one in found["known"] if one["state"] == state}
    runs = [one for one in _own(found["runs"]) if one["caught"] is not True]
    return any(v["fingerprint"] in marks for one in runs for v in one["violations"])
