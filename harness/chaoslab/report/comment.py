"""The comment on a pull request: the answer, what is new, and what was not observed.

It is made from `results.json` alone and always fits below what code hosts take, whatever an agent
wrote: rows first, then the because-chains of as many bugs as there is room for, and where
something is left out it says how much. Nothing here says that all is well; it says what held in
the runs that were done, and which promises nobody has seen kept.

>>> print(comment({"format": 1, "runs": [], "exit_code": 0, "complete": True}).splitlines()[2])
**Nothing was observed: no run was done.**
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from chaoslab.report.compare import BugChange, Comparison, compare
from chaoslab.report.exploring import (
    change_lines,
    claim_in,
    counts_of,
    executions_words,
    exploration_in,
    failures_in,
    finding_lines,
    findings_in,
    open_ends,
    runs_words,
    statistics_in,
    unfinished,
)
from chaoslab.report.markdown import block, cut, plain, row, size, span, table
from chaoslab.report.reading import (
    Ending,
    Row,
    bugs_in,
    counted,
    ending,
    gaps,
    rows,
    states,
    unseen_checks,
)
from chaoslab.report.words import short_agent

_EXPIRED: Final = "They were accepted for a time that is over."
_NOT_RUN: Final = "The runs that showed them were not done, or proved nothing: not resolved."
_GONE: Final = "The runs that showed them were done and did not; take them out of the file."
MARK: Final = "<!-- chaoslab -->"
COMMENT_MAX_BYTES: Final = 60_000
_ROOM_BYTES: Final = 58_000  # the rest is for the words that say what was left out
_TABLES_BYTES: Final = 30_000
_SHARE_BYTES: Final = 2_000  # of each table, before what is left goes to the first ones
_ROWS_MAX: Final = 40
_FEW: Final = 3
_ORDER: Final = (
    ("broken", "broken"),
    ("could not run", "could not run"),
    ("missed", "bug missed"),
    ("not repeatable", "not repeatable"),
    ("unproven where required", "unproven, though required"),
    ("unproven", "unproven"),
    ("known", "known"),
    ("expected", "broken as expected"),
    ("not applicable", "not applicable"),
    ("held", "held"),
)


@dataclass(slots=True, kw_only=True)
class _Section:
    """A heading, a table or a list below it, and what can be unfolded for its rows."""

    title: str
    head: Sequence[str] = ()
    body: list[str] = field(default_factory=list)
    details: list[Callable[[], str]] = field(default_factory=list)
    words: str = ""

    @property
    def bytes(self) -> int:
        """How much its rows would take."""
        return sum(size(one) + 1 for one in self.body[:_ROWS_MAX])

    def lines(self, room: int) -> list[str]:
        """The section without its details; as many rows as there is room for."""
        kept = []
        for one in self.body[:_ROWS_MAX]:
            room -= size(one) + 1
            if room < 0:
                break
            kept.append(one)
        left = len(self.body) - len(kept)
        out = [f"### {self.title} ({len(self.body)})", ""]
        out += [self.words, ""] if self.words else []
        out += table(self.head, kept) if self.head else kept
        out += ["", f"and {left} more"] if left else []
        return [*out, ""]


def comment(results: Row, /, *, against: Row | None = None, folder: str = "") -> str:
    """The comment as Markdown. `against`: the results of an older campaign, such as the main
    branch's; `folder`: where this one lies, for the replay commands."""
    bugs = bugs_in(results)
    known = states(bugs)
    ends = [(run, ending(run, known)) for run in rows(results, "runs")]
    change = None if against is None else compare(against, results)
    sections = _sections(results, bugs, ends, change, folder)
    out = [MARK, "", f"**{answer(results, bugs, ends)}**", "", *_tested(results, ends)]
    if exploration_in(results) is None:
        out += _counts(ends, len(rows(results, "cut")))
    else:
        out += _executions(results)
    spare = _TABLES_BYTES - sum(min(section.bytes, _SHARE_BYTES) for section in sections)
    for section in sections:
        more = min(max(section.bytes - _SHARE_BYTES, 0), max(spare, 0))
        spare -= more
        out += section.lines(min(section.bytes, _SHARE_BYTES) + more)
    out += _planted(ends)
    text = "\n".join(out).rstrip() + "\n"
    return _with_details(text, [one for section in sections for one in section.details])


def _with_details(text: str, details: Sequence[Callable[[], str]]) -> str:
    """The comment with what can be unfolded, as far as there is room."""
    used, kept = size(text), []
    for detail in details:
        one = detail()
        used += size(one) + 2
        if used > _ROOM_BYTES:
            break
        kept.append(one)
    left = len(details) - len(kept)
    if kept:
        text += "\n### Why\n\n" + "\n\n".join(kept) + "\n"
    if left:
        text += f"\nand {left} more, for which there is no room here; the report has them.\n"
    assert size(text) < COMMENT_MAX_BYTES, "each part has its share"
    return text


# -- the answer


def answer(results: Row, bugs: Sequence[Row], ends: Sequence[tuple[Row, Ending]], /) -> str:
    """One sentence for what the campaign amounts to."""
    if exploration_in(results) is not None:
        return _explored(results)
    own = [end.kind for run, end in ends if run["role"] == "subject"]
    code, count = results.get("exit_code", 0), Counter(end.kind for _, end in ends)
    if not ends:
        return "Nothing was observed: no run was done."
    fails = [b for b in counted(bugs) if b["state"] in ("new", "expired")]
    if code == 1 or count["broken"]:
        late = sum(b["state"] == "expired" for b in fails)
        tail = f", {late} of them accepted for a time that is over" if late else ""
        return f"Broken: {_n(len(fails), 'bug')} in {count['broken']} of {len(own)} runs{tail}."
    if code == 4:
        return (
            f"No answer: {_n(count['could not run'], 'run')} could not be done, "
            f"{_n(count['missed'], 'bug')} planted on purpose not found."
        )
    if code == 5:
        return f"No answer: {_n(count['not repeatable'], 'run')} could not be repeated."
    if code == 3:
        return "Not proven: what the contract requires was not seen, or runs are missing."
    if not own:
        return "No agent of yours was looked at, only planted bugs."
    told = [f"{own.count('held')} of {_n(len(own), 'run')} held"]
    for n, words in ((count["known"], "known bugs in {}"), (count["unproven"], "{} unproven")):
        if n:
            told.append(words.format(n))
    if cut_runs := rows(results, "cut"):
        told.append(f"{len(cut_runs)} left out")
    start = "Nothing new was seen broken" if count["known"] else "No promise was seen broken"
    if not any(kind in ("held", "known", "expected") for kind in own):
        start = "Nothing was proven"
    return f"{start}: {', '.join(told)}."


def _explored(results: Row) -> str:
    """The same for a sweep or a stress campaign, of which the runs are only a few samples."""
    code, exploration = results.get("exit_code", 0), results["exploration"]
    counts, told = counts_of(exploration), executions_words(exploration)
    told += ", and it was not finished" if unfinished(results) else ""
    fails = failures_in(results)
    if code == 1:
        return f"Broken: {_n(len(fails), 'bug')} in {told}."
    if code == 4:
        broke = counts.get("could not run", 0)
        return f"No answer: {_n(broke, 'execution')} could not be done, in {told}."
    if code == 5:
        return "No answer: what failed did not fail again with the same choices."
    if not counts["held"] and not counts["broken"]:
        return f"Nothing was proven: {told}."
    if code == 3:
        return f"Not proven: what the contract requires was not seen, in {told}."
    start = "Nothing new was seen broken" if counts["broken"] else "No promise was seen broken"
    return f"{start}: {told}."


def _executions(results: Row) -> list[str]:
    """How the executions of an exploration ended, as a table."""
    counts = counts_of(results["exploration"])
    told = row([f"{count:,}" for count in counts.values()])
    return [*table(list(counts), [told]), "", runs_words(results), ""]


def _n(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _tested(results: Row, ends: Sequence[tuple[Row, Ending]]) -> list[str]:
    subjects = [run for run, _ in ends if run["role"] == "subject"]
    agents = list(dict.fromkeys(run["agent"] for run in subjects))
    contracts = list(dict.fromkeys(run["contract"] for run in subjects))
    parts = []
    if subjects:
        parts.append(f"Agent {_few(agents)}, contract {_few(contracts)}")
    if results.get("profile"):
        parts.append(f"profile {span(results['profile'])}")
    if results.get("chaoslab"):
        parts.append(f"chaoslab {span(results['chaoslab'])}")
    out = [", ".join(parts) + ".", ""] if parts else []
    if any(not run["deterministic"] for run in subjects):
        out += ["On real processes: recorded, not deterministic.", ""]
    return out


def _few(names: Sequence[str], most: int = _FEW) -> str:
    more = len(names) - most
    told = ", ".join(span(name, most=120) for name in names[:most])
    return told + (f" and {more} more" if more > 0 else "")


def _counts(ends: Sequence[tuple[Row, Ending]], left_out: int) -> list[str]:
    count = Counter(end.kind for run, end in ends)
    told = [(words, count[kind]) for kind, words in _ORDER if count[kind]]  # type: ignore[index]
    told += [("left out", left_out)] if left_out else []
    if not told:
        return []
    return [*table([w for w, _ in told], [row([str(n) for _, n in told])]), ""]


def _planted(ends: Sequence[tuple[Row, Ending]]) -> list[str]:
    planted = {run["agent"] for run, _ in ends if run["role"] == "negative-control"}
    if not planted:
        return []
    missed = sorted({short_agent(r["agent"]) for r, end in ends if end.kind == "missed"})
    found = f"Planted bugs of this version: {len(planted) - len(missed)} of {len(planted)} found"
    return [f"{found}; MISSED: {_few(missed)}." if missed else f"{found}, each by its check."]


# -- the sections


def _sections(
    results: Row,
    bugs: Sequence[Row],
    ends: Sequence[tuple[Row, Ending]],
    change: Comparison | None,
    folder: str,
) -> list[_Section]:
    own = counted(bugs)
    before = {(b.fingerprint, b.contract) for b in change.ongoing} if change else set()
    fresh = [b for b in own if b["state"] == "new"]
    old = [b for b in fresh if (b["fingerprint"], b["contract"]) in before]
    accepted = rows(results, "known")
    number = {id(bug): n for n, bug in enumerate((b for b in own), 1)}

    def of_bugs(title: str, these: Sequence[Row], words: str = "") -> _Section:
        return _bug_section(title, these, number, folder, words, accepted)

    found = [
        _notes(results, change),
        *_exploration(results),
        of_bugs("New", [b for b in fresh if b not in old]),
        of_bugs("Still broken, as in the older campaign", old),
        of_bugs("Expired", [b for b in own if b["state"] == "expired"], _EXPIRED),
        _troubles(ends),
        _unproven(results, ends),
        of_bugs("Known", [b for b in own if b["state"] == "known"]),
        _accepted("Known, not run", accepted, "not-run", _NOT_RUN),
        _accepted("Resolved: known, and no longer seen", accepted, "gone", _GONE),
        *([] if change is None else _changes(change)),
        of_bugs(
            "Warnings",
            [b for b in bugs if b.get("warning")],
            "Found by checks that are newer than the contract's ruleset; they count nothing yet.",
        ),
        _left_out(rows(results, "cut")),
    ]
    return [section for section in found if section.body]


def _exploration(results: Row) -> list[_Section]:
    """What an exploration claims, and what it found."""
    claim = [f"- {span(one, most=600)}" for one in claim_in(results)]
    claim += [f"- {span(f'{name}: {value}')}" for name, value in statistics_in(results)]
    found = []
    for one in findings_in(results):
        told = span("; ".join(finding_lines(one)), most=600)
        check = f"{one['check']} ({one['code']})"
        found.append(row([plain(str(one.get("title") or check)), span(check), told]))
    changes = [f"- {span(one, most=400)}" for one in change_lines(results)]
    return [
        _Section(
            title="Found", head=("what is broken", "check", "seen, and shrunk to"), body=found
        ),
        _Section(title="Explored", body=claim),
        _Section(title="Since the older exploration", body=changes),
    ]


def _notes(results: Row, change: Comparison | None) -> _Section:
    told = gaps(results)
    checks = unseen_checks(results)
    if checks:
        late = ", and runs were cut" if rows(results, "cut") else ""
        told.append(f"Required, and looked at by no run{late}: {', '.join(checks)}")
    told += list(change.notes) if change else []
    if change and not change.comparable:
        told.append("The older campaign cannot be compared with this one.")
    told += [f"{why}: {count:,}" if count else why for _, why, count in open_ends(results)]
    told += [str(one) for one in (exploration_in(results) or {}).get("notes") or ()]
    body = [f"- {span(one, most=400)}" for one in told]
    return _Section(title="Missing, and to keep in mind", body=body)


def _bug_section(
    title: str,
    bugs: Sequence[Row],
    number: dict[int, int],
    folder: str,
    words: str,
    accepted: Sequence[Row],
) -> _Section:
    body: list[str] = []
    details: list[Callable[[], str]] = []
    entries = {(one["fingerprint"], one["contract"]): one for one in accepted}
    head = ["bug", "consequence", "what is broken", "scenario", "seen in"]
    named = any(bug["state"] in ("known", "expired") for bug in bugs)
    for bug in bugs:
        n = str(number.get(id(bug), "-"))
        seen = bug.get("executions") or 0  # of an exploration, of which there are few runs
        count = _n(seen, "execution") if seen else _n(len(bug["runs"]), "run")
        cells = [n, plain(bug["consequence"]), plain(bug["title"]), _few(bug["scenarios"]), count]
        if named:
            entry = entries.get((bug["fingerprint"], bug["contract"]), {})
            cells += [span(entry.get(name, ""), most=80) for name in ("owner", "reason", "expires")]
        body.append(row(cells))
        if id(bug) in number:
            details.append(partial(_detail, bug, n, folder))
    head += ["owner", "reason", "until"] if named else []
    return _Section(title=title, head=head, body=body, details=details, words=words)


def _detail(bug: Row, n: str, folder: str) -> str:
    lines = [f"{bug['check']} ({bug['code']}): {bug.get('explanation') or bug['title']}"]
    lines += [cut(line, 400) for line in (bug.get("because") or ())]
    place = f"{folder}/{bug['example']}" if folder else bug["example"]
    return "\n".join(
        [
            f"<details><summary>Bug {n}: why, and how to see it again</summary>",
            "",
            block(lines),
            "",
            block([f"chaoslab replay {shlex.quote(place)}"], most=600),
            "",
            "</details>",
        ]
    )


def _accepted(title: str, entries: Sequence[Row], state: str, words: str) -> _Section:
    """What was accepted and is not seen in these runs."""
    body = []
    for one in entries:
        if one["state"] == state:
            what = span(f"{one['check']} ({one['code']}) {one['tool']}")
            names = [span(one[name], most=80) for name in ("owner", "reason", "expires")]
            body.append(row([what, *names]))
    head = ("what", "owner", "reason", "until")
    return _Section(title=title, head=head, body=body, words=words)


def _troubles(ends: Sequence[tuple[Row, Ending]]) -> _Section:
    """Runs that gave no verdict, the same reason once."""
    found: dict[tuple[str, str], list[str]] = {}
    for run, end in ends:
        if end.kind in ("could not run", "not repeatable", "missed"):
            found.setdefault((end.kind, end.why), []).append(
                f"{run['scenario']} seed {run['seed']}"
            )
    body = [row([kind, span(why, most=300), _few(names)]) for (kind, why), names in found.items()]
    return _Section(title="No verdict", head=("how", "why", "where"), body=body)


def _unproven(results: Row, ends: Sequence[tuple[Row, Ending]]) -> _Section:
    """The promises that nobody has seen kept, those first that the contract requires."""
    body: list[str] = []
    late: list[str] = []
    for promise in rows(results, "promises"):
        for line in promise["lines"]:
            if line["state"] == "unproven":
                required = bool(line.get("required"))
                cells = [plain(line["says"]), "yes" if required else "no"]
                (body if required else late).append(
                    row([*cells, span(line.get("reason") or "", most=300)])
                )
    runs: dict[tuple[bool, str], list[str]] = {}
    for run, end in ends:
        if end.kind in ("unproven where required", "unproven"):
            key = (end.kind != "unproven", end.why)
            runs.setdefault(key, []).append(f"{run['scenario']} seed {run['seed']}")
    for (required, why), names in runs.items():
        told = row([_few(names), "yes" if required else "no", span(why, most=300)])
        (body if required else late).append(told)
    head = ("promise, or run", "required", "why")
    return _Section(title="Unproven", head=head, body=body + late)


def _changes(change: Comparison) -> list[_Section]:
    """What only the comparison with an older campaign can tell."""

    def of(title: str, bugs: Sequence[BugChange], words: str = "") -> _Section:
        body = [row([plain(b.consequence), plain(b.title), span(b.why, most=300)]) for b in bugs]
        head = ("consequence", "what was broken", "why it stands here")
        return _Section(title=title, head=head, body=body, words=words)

    lines = [
        row([plain(one.says), one.old or "not listed", one.new or "not listed"])
        for one in change.promises
    ]
    return [
        of("Resolved since the older campaign", change.resolved),
        of("Not run since the older campaign", change.not_run, "Not run is not resolved."),
        _Section(title="Promises that changed", head=("promise", "before", "now"), body=lines),
    ]


def _left_out(cuts: Sequence[Row]) -> _Section:
    found: dict[str, list[str]] = {}
    for one in cuts:
        found.setdefault(one["why"], []).append(f"{one['scenario']} seed {one['seed']}")
    body = [row([str(len(names)), span(why), _few(names)]) for why, names in found.items()]
    return _Section(title="Left out", head=("runs", "why", "which"), body=body)
