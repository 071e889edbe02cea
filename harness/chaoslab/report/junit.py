"""`junit.xml`: the results in the form that every CI server reads.

One suite is a family, one case is a run. A case fails exactly where the run fails the pipeline, so
the server's list and the exit code never disagree; what the exit code knows beyond single runs (a
missing shard, a required check whose runs were cut) is a case of its own. A run that proved nothing
is skipped with its reason, never passed.

>>> xml_text("bell \\x07, half of a pair \\ud800, and é")
'bell \\\\u0007, half of a pair \\\\ud800, and é'
>>> junit_xml({"runs": []}, folder="reports/x").count("<testcase")
0
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree as Xml

from chaoslab.core.visible import visible
from chaoslab.report.exploring import (
    claim_in,
    counts_of,
    executions_words,
    exploration_in,
    failures_in,
    finding_lines,
    findings_in,
    statistics_in,
)
from chaoslab.report.reading import (
    FAILING,
    Ending,
    Key,
    Row,
    bugs_in,
    ending,
    gaps,
    known_words,
    rows,
    state_in,
    states,
    unseen_checks,
)
from chaoslab.report.words import short_agent

_ILLEGAL: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MESSAGE_MAX: Final = 300
_TEXT_MAX: Final = 20_000
_CHAINS_MAX: Final = 5
_GATE: Final = "campaign"
_EXPLORED: Final = "explored"


def xml_text(text: str, /) -> str:
    """The text with what XML 1.0 cannot hold, in any spelling, written out as an escape."""
    return _ILLEGAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def junit_xml(results: Row, /, *, folder: str) -> str:
    """`junit.xml` of a campaign. `folder`: where it lies, as a person would type it."""
    known = states(bugs_in(results))
    accepted = {(one["fingerprint"], one["contract"]): one for one in rows(results, "known")}
    suites: dict[str, Xml.Element] = {}
    ends = []
    for run in rows(results, "runs"):
        end = ending(run, known)
        ends.append(end)
        case = _case(_suite(suites, run["family"], results), run["family"], _name(run))
        case.set("time", _seconds(run["wall_ms"]))
        _judge(case, run, end, known, accepted, folder)
    for one in rows(results, "cut"):
        family = one["scenario"].partition("/")[0]
        case = _case(_suite(suites, family, results), family, _name(one))
        case.set("time", "0.000")
        _said(case, "skipped", f"left out: {one['why']}")
    _explored(suites, results)
    _gate(suites, results, ends)
    return _whole(suites.values())


def _name(run: Row) -> str:
    return f"{run['scenario']} [{short_agent(run['agent']) or run['agent']}] seed {run['seed']}"


def _suite(suites: dict[str, Xml.Element], family: str, results: Row) -> Xml.Element:
    if family not in suites:
        suites[family] = Xml.Element("testsuite", {"name": xml_text(visible(family))})
        if results.get("started"):
            # The common schema of these files has a time without a zone.
            started = str(results["started"]).removesuffix("Z")
            suites[family].set("timestamp", xml_text(visible(started)))
    return suites[family]


def _case(suite: Xml.Element, family: str, name: str) -> Xml.Element:
    names = {"classname": xml_text(visible(family)), "name": xml_text(visible(name))}
    return Xml.SubElement(suite, "testcase", names)


def _said(case: Xml.Element, tag: str, message: str, *, kind: str = "", text: str = "") -> None:
    found = Xml.SubElement(case, tag)
    if kind:
        found.set("type", kind)
    message = visible(message)
    found.set("message", xml_text(message[:_MESSAGE_MAX] + "…" * (len(message) > _MESSAGE_MAX)))
    if text:
        found.text = _long(text)


def _long(text: str) -> str:
    clean = visible(text, lines=True)
    over = len(clean) - _TEXT_MAX
    return xml_text(clean if over <= 0 else f"{clean[:_TEXT_MAX]}\n… {over} characters more")


def _judge(
    case: Xml.Element,
    run: Row,
    end: Ending,
    known: Mapping[Key, str],
    accepted: Mapping[tuple[str, str], Row],
    folder: str,
) -> None:
    place = f"{folder}/{run['id']}"
    replay = f"chaoslab replay {shlex.quote(place)}"
    match end.kind:
        case "held":
            pass
        case "caught" | "expected":
            Xml.SubElement(case, "system-out").text = _long(end.why)
        case "broken":
            text = "\n\n".join([*_chains(run, known, accepted), f"replay: {replay}"])
            _said(case, "failure", end.why, kind="broken", text=text)
        case "unproven where required":
            _said(case, "failure", end.why, kind=end.kind, text=f"replay: {replay}")
        case "could not run" | "not repeatable" | "missed":
            _said(case, "error", end.why, kind=end.kind, text=f"{end.why}\n\nreplay: {replay}")
        case "known":
            marks = dict.fromkeys((v["fingerprint"], run["contract"]) for v in run["violations"])
            told = [known_words(accepted[mark]) for mark in marks if mark in accepted]
            _said(case, "skipped", f"known: {'; '.join(told) or end.why}")
        case _:
            _said(case, "skipped", f"{end.kind}: {end.why}")


def _chains(
    run: Row, known: Mapping[Key, str], accepted: Mapping[tuple[str, str], Row]
) -> list[str]:
    """What broke, each bug once: those that count first."""
    shown: dict[str, Mapping[str, Any]] = {}
    order = {"new": 0, "expired": 1, "known": 2}
    for one in sorted(run["violations"], key=lambda v: order.get(state_in(v, run, known), 0)):
        shown.setdefault(one["fingerprint"], one)
    out = []
    for n, one in enumerate(shown.values()):
        state = state_in(one, run, known)
        entry = accepted.get((one["fingerprint"], run["contract"]))
        lines = [f"{one['check']} ({one['code']}): {one['explanation']}"]
        if state in ("known", "expired") and entry:
            lines.append(f"  {state}: {known_words(entry)}")
        if n < _CHAINS_MAX:
            lines += one.get("because") or ()
        out.append("\n".join(lines))
    return out


def _explored(suites: dict[str, Xml.Element], results: Row) -> None:
    """A sweep or a stress campaign as a case: thousands of executions are no list of cases. What
    they showed to be broken fails in the full run that shows it; what no full run can show fails
    here."""
    exploration = exploration_in(results)
    if exploration is None:
        return
    how = str(exploration["kind"])
    case = _case(_suite(suites, _EXPLORED, results), how, executions_words(exploration))
    case.set("time", _seconds(int(results.get("wall_ms", 0))))
    found = [
        f"{one['check']} ({one['code']}): {'; '.join(finding_lines(one))}"
        for one in findings_in(results)
    ]
    told = [f"{name}: {value}" for name, value in statistics_in(results)]
    broke = counts_of(exploration).get("could not run", 0)
    problems = [str(one) for one in exploration.get("problems") or ()]
    differs = [str(one) for one in exploration.get("differs") or ()]
    unseen = [one for one in failures_in(results) if not one.get("run")]
    if unseen:
        what = "; ".join(f"{one['check']} ({one['code']})" for one in unseen)
        _said(case, "failure", f"broken, and not run in full: {what}", kind="broken")
    elif broke or problems:
        words = problems[0] if problems else f"executions that could not be done: {broke:,}"
        _said(case, "error", words, kind="could not run")
    elif differs:
        _said(case, "error", differs[0], kind="not repeatable")
    text = "\n".join([*claim_in(results), *found, *told])
    Xml.SubElement(case, "system-out").text = _long(text)


def _gate(suites: dict[str, Xml.Element], results: Row, ends: Sequence[Ending]) -> None:
    """What fails a pipeline though no single run does."""
    missing = gaps(results)
    cases = [case for suite in suites.values() for case in suite]
    told = any(case.find(tag) is not None for case in cases for tag in ("error", "failure"))
    alone = results.get("exit_code", 0) and not told
    alone = alone and not any(end.kind in FAILING for end in ends)
    if not missing and not alone:
        return
    case = _case(_suite(suites, _GATE, results), _GATE, "everything that was asked for")
    case.set("time", "0.000")
    checks = unseen_checks(results)
    if checks:
        late = ", and runs were cut" if rows(results, "cut") else ""
        missing.append(f"The contract requires {', '.join(checks)}; no run looked at it{late}.")
    missing = missing or ["What the contract requires was not looked at by any run."]
    tag = "error" if results.get("exit_code", 0) else "skipped"
    _said(case, tag, " ".join(missing), kind="not observed" if tag == "error" else "")


def _seconds(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03d}"


def _whole(suites: Sequence[Xml.Element] | Any) -> str:
    root = Xml.Element("testsuites", {"name": "chaoslab"})
    for suite in suites:
        _count(suite, list(suite))
        root.append(suite)
    _count(root, [case for suite in root for case in suite])
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, "unicode") + "\n"


def _count(element: Xml.Element, cases: Sequence[Xml.Element]) -> None:
    element.set("tests", str(len(cases)))
    for tag, name in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        element.set(name, str(sum(case.find(tag) is not None for case in cases)))
    ms = sum(int(case.get("time", "0.000").replace(".", "")) for case in cases)
    element.set("time", _seconds(ms))
