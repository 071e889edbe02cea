"""Two campaigns side by side: what is new, what is resolved, and what nobody looked at.

A bug is resolved only where every run that showed it was done again and its check looked again.
Whatever was not done, or proved nothing, says nothing: not run is not resolved. Bugs are recognised
by fingerprint and contract, runs by their names, so a seed or a path that changed does not matter.

>>> compare({"runs": []}, {"runs": []}).comparable
False
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from chaoslab.core.visible import visible
from chaoslab.report.exploring import executions_words, exploration_in
from chaoslab.report.reading import Row, bugs_in, counted, rows
from chaoslab.run.known import looked_at

FORMAT: Final = 1
_LISTED_MAX: Final = 10
Mark = tuple[str, str]  # fingerprint, contract


@dataclass(frozen=True, slots=True, kw_only=True)
class BugChange:
    """One bug in two campaigns. `old_runs` and `new_runs` show it; `why` says what its place in
    the comparison rests on."""

    fingerprint: str
    contract: str
    check: str
    code: str
    title: str
    consequence: str
    old_runs: tuple[str, ...]
    new_runs: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChange:
    """A line of a contract whose state is another one now; None where it was not listed."""

    contract: str
    agent: str
    line: str
    says: str
    old: str | None
    new: str | None
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What changed from one campaign to the next. `comparable`: whether the lists mean anything;
    `notes`: why not, or what to keep in mind."""

    comparable: bool
    notes: tuple[str, ...] = ()
    new: tuple[BugChange, ...] = ()
    resolved: tuple[BugChange, ...] = ()
    ongoing: tuple[BugChange, ...] = ()
    not_run: tuple[BugChange, ...] = ()
    promises: tuple[LineChange, ...] = ()
    only_old: tuple[str, ...] = ()
    only_new: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON: plain lists and texts."""
        found: dict[str, Any] = {"format": FORMAT, **_listed(asdict(self))}
        found["lines"] = found.pop("promises")
        return found

    def lines(self) -> list[str]:
        """Lines for a terminal."""
        out = [f"NOTE  {note}" for note in self.notes]
        if not self.comparable:
            return [visible(line) for line in ["NOT COMPARABLE", *out]]
        for word, bugs in _words(self):
            out += [_bug_text(word, bug) for bug in bugs]
        out += [_line_text(line) for line in self.promises]
        for word, names in (("older", self.only_old), ("newer", self.only_new)):
            if names:
                out.append(f"ONLY IN THE {word.upper()}  {_few(names)}")
        counts = ", ".join(f"{len(bugs)} {word.lower()}" for word, bugs in _words(self))
        out.append(f"Bugs: {counts}; promises that changed: {len(self.promises)}.")
        return [visible(line) for line in out]


def _words(one: Comparison) -> list[tuple[str, tuple[BugChange, ...]]]:
    return [
        ("NEW", one.new),
        ("ONGOING", one.ongoing),
        ("RESOLVED", one.resolved),
        ("NOT RUN", one.not_run),
    ]


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, tuple) else value


def _bug_text(word: str, bug: BugChange) -> str:
    tail = f" ({bug.why})" if bug.why else ""
    return f"{word}  {bug.check} ({bug.code}), {bug.consequence}: {bug.title}{tail}"


def _line_text(line: LineChange) -> str:
    old, new = line.old or "not listed", line.new or "not listed"
    required = ", required" if line.required else ""
    return f"PROMISE  {line.says} [{line.line}{required}]: {old}, now {new}"


def _few(names: Sequence[str]) -> str:
    more = len(names) - _LISTED_MAX
    return ", ".join(names[:_LISTED_MAX]) + (f" and {more} more" if more > 0 else "")


def compare(old: Row, new: Row, /) -> Comparison:
    """What changed from the results `old` to the results `new`."""
    strange = [one["format"] for one in (old, new) if one.get("format", FORMAT) != FORMAT]
    if strange:
        why = f"results of format {strange[0]} cannot be read; allowed: {FORMAT}"
        return Comparison(comparable=False, notes=(why,))
    olds, news = _contracts(old), _contracts(new)
    if not olds.keys() & news.keys():
        why = (
            f"they have no contract in common: {_few(sorted(olds)) or 'no runs'} before, "
            f"{_few(sorted(news)) or 'no runs'} now"
        )
        return Comparison(comparable=False, notes=(why,))
    before, after = _bugs(old), _bugs(new)
    after = _bugs_expected(new, before) | after
    runs = {run["id"]: run for run in rows(new, "runs")}
    gone = {mark: bugs for mark, bugs in before.items() if mark not in after}
    unseen = {mark: _unseen(bugs, runs) for mark, bugs in gone.items()}
    warned = {_mark(bug) for bug in bugs_in(old) if bug.get("warning")}
    ids = {run["id"]: None for run in rows(old, "runs")}
    return Comparison(
        comparable=True,
        notes=tuple(_notes(old, new)),
        new=tuple(
            _change((), bugs, "only a warning before" if mark in warned else "")
            for mark, bugs in after.items()
            if mark not in before
        ),
        ongoing=tuple(
            _change(before[mark], bugs, _excused(bugs))
            for mark, bugs in after.items()
            if mark in before
        ),
        resolved=tuple(
            _change(bugs, (), _seen_again(bugs, runs))
            for mark, bugs in gone.items()
            if not unseen[mark]
        ),
        not_run=tuple(
            _change(bugs, (), unseen[mark]) for mark, bugs in gone.items() if unseen[mark]
        ),
        promises=tuple(_lines(old, new)),
        only_old=tuple(run for run in ids if run not in runs),
        only_new=tuple(run for run in runs if run not in ids),
    )


def _contracts(results: Row) -> dict[str, dict[str, set[str | None]]]:
    """By contract of the subjects: their agents, and by which rulesets they were judged."""
    found: dict[str, dict[str, set[str | None]]] = {}
    for run in rows(results, "runs"):
        if run["role"] == "subject":
            by = found.setdefault(run["contract"], {})
            by.setdefault(run["agent"], set()).add(run.get("ruleset"))
    return found


def _notes(old: Row, new: Row) -> list[str]:
    olds, news = _contracts(old), _contracts(new)
    out = []
    for word, one, other in (("older", olds, news), ("newer", news, olds)):
        for contract in sorted(one.keys() - other.keys()):
            out.append(f"contract {contract} is only in the {word} campaign")
    for contract in sorted(olds.keys() & news.keys()):
        before, after = olds[contract], news[contract]
        if before.keys() != after.keys():
            out.append(
                f"other agents under contract {contract}: {_few(sorted(before))} before, "
                f"{_few(sorted(after))} now"
            )
        rules = [{r for found in one.values() for r in found} for one in (before, after)]
        if rules[0] != rules[1]:
            told = [_few(sorted(r or "none" for r in one)) for one in rules]
            out.append(
                f"another ruleset under contract {contract}: {told[0]} before, {told[1]} now; a "
                "bug may be new only because it counts now"
            )
    if old.get("chaoslab") != new.get("chaoslab"):
        versions = [one.get("chaoslab") or "not written down" for one in (old, new)]
        out.append(f"another version of chaoslab: {versions[0]} before, {versions[1]} now")
    for word, results in (("older", old), ("newer", new)):
        if not results.get("complete", True):
            out.append(f"the {word} campaign is not complete")
    return out + _explored(old, new)


def _explored(old: Row, new: Row) -> list[str]:
    """What to keep in mind where one of them explored: its runs are samples of many executions, so
    that a bug without a run there is no bug that is gone."""
    found = [exploration_in(one) for one in (old, new)]
    if found == [None, None]:
        return []
    told = [executions_words(one) if one else "runs alone" for one in found]
    words = f"{told[0]} before, {told[1]} now; only the runs that were done in full are compared"
    lines = (found[1] or {}).get("compared")
    more = "; what the newer one says of its executions stands in its own report" if lines else ""
    return [words + more]


def _mark(bug: Row) -> Mark:
    return bug["fingerprint"], bug["contract"]


def _bugs(results: Row) -> dict[Mark, list[Row]]:
    """The bugs that count; two agents under one contract may share one."""
    found: dict[Mark, list[Row]] = {}
    for bug in counted(bugs_in(results)):
        found.setdefault(_mark(bug), []).append(bug)
    return found


def _bugs_expected(results: Row, before: Mapping[Mark, Sequence[Row]]) -> dict[Mark, list[Row]]:
    """What counted before and is expected now: a scenario that says so resolves no bug."""
    found: dict[Mark, list[Row]] = {}
    for bug in bugs_in(results):
        if bug["state"] == "expected" and not bug.get("warning") and _mark(bug) in before:
            found.setdefault(_mark(bug), []).append(bug)
    return found


def _excused(bugs: Sequence[Row]) -> str:
    return "the scenario expects it now" if bugs[0]["state"] == "expected" else ""


def _runs_of(bugs: Sequence[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run for bug in bugs for run in bug["runs"]))


def _change(old: Sequence[Row], new: Sequence[Row], why: str = "") -> BugChange:
    bug = (new or old)[0]
    return BugChange(
        fingerprint=bug["fingerprint"],
        contract=bug["contract"],
        check=bug["check"],
        code=bug["code"],
        title=bug["title"],
        consequence=bug["consequence"],
        old_runs=_runs_of(old),
        new_runs=_runs_of(new),
        why=why,
    )


def _unseen(bugs: Sequence[Row], runs: Mapping[str, Row]) -> str:
    """Which of the runs that showed a bug say nothing about it now; empty if all were looked at."""
    showed = _runs_of(bugs)
    why = [(run, _idle(runs.get(run), bugs[0])) for run in showed]
    open_ = [(run, words) for run, words in why if words]
    if not open_:
        return ""
    run, words = open_[0]
    return f"{len(open_)} of {len(showed)} runs that showed it say nothing now; {run}: {words}"


def _idle(run: Row | None, bug: Row) -> str:
    """Why a run cannot say that a bug is gone."""
    if run is None:
        return "not run"
    if run["contract"] != bug["contract"]:
        return f"it was done under another contract, {run['contract']}"
    for name in ("broke", "differs", "vacuous", "not_applicable"):
        if run[name]:
            return str(run[name])
    if not run["faults_ran"]:
        return "broken without any fault, so the faults were not tried"
    if looked_at(run, bug["check"], bug["tool"]):
        return ""
    return f"{bug['check']} proved nothing there" + (f" of {bug['tool']}" if bug["tool"] else "")


def _seen_again(bugs: Sequence[Row], runs: Mapping[str, Row]) -> str:
    showed = _runs_of(bugs)
    if any(not runs[run]["deterministic"] for run in showed):
        return "on real processes, where not seen this time is no proof"
    return f"{len(showed)} of {len(showed)} runs that showed it were done again"


def _lines(old: Row, new: Row) -> list[LineChange]:
    alone = {c for c, found in _contracts(old).items() if len(found) == 1}
    alone &= {c for c, found in _contracts(new).items() if len(found) == 1}
    before, after = _promised(old, alone), _promised(new, alone)
    if not before or not after:
        return []  # an older version wrote none: nothing changed that one could tell
    out = []
    for key in dict.fromkeys((*before, *after)):
        was, now = before.get(key), after.get(key)
        one = now or was
        states = [None if line is None else str(line["state"]) for line in (was, now)]
        if one is not None and states[0] != states[1]:
            out.append(
                LineChange(
                    contract=key[0],
                    agent=one["agent"],
                    line=key[2],
                    says=one["says"],
                    old=states[0],
                    new=states[1],
                    required=bool(one.get("required")),
                )
            )
    return out


def _promised(results: Row, alone: set[str]) -> dict[tuple[str, str, str], Row]:
    """The lines of all promise tables; a contract's only agent is the same under another path."""
    return {
        (
            promise["contract"],
            "" if promise["contract"] in alone else promise["agent"],
            line["id"],
        ): {**line, "agent": promise["agent"]}
        for promise in rows(results, "promises")
        for line in promise["lines"]
    }
