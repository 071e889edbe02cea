"""What a sweep or a stress campaign came to, in words: its table, its findings, its claim.

Thousands of executions leave a handful of full runs: those of the findings and a few samples. So
nothing that tells a campaign may count runs and stop there; whoever writes an answer (terminal,
page, comment, JUnit, events) takes its numbers from here.

>>> told = {"exploration": {"kind": "sweep", "executions": 4000, "words": {"held": 4000}},
...         "runs": [{"agent": "mine.py:make", "contract": "desk", "role": "subject"}]}
>>> print(headline_of(told))
mine.py:make, contract desk: a sweep of 4,000 executions, 4,000 held, 0 broken. 1 execution was \
done again in full, as a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console, JustifyMethod
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from chaoslab.core.visible import visible
from chaoslab.report.counts import count_lines
from chaoslab.report.terminal import reasons
from chaoslab.report.words import NO_CONTRACT

Row = Mapping[str, Any]

# How the words of rows are told, and in which order; `equivalent` rows were not executed.
_TOLD: Final = {
    "held": "held",
    "broken": "broken",
    "unproven": "unproven",
    "never-struck": "never struck",
    "broke": "could not run",
}
_ALWAYS: Final = ("held", "broken")
_FIRST_WIDTH: Final = 16
_CHANGES: Final = {
    "NEW": "new",
    "ONGOING": "ongoing",
    "RESOLVED": "resolved",
    "NOT LOOKED AT AGAIN": "not_looked_at",
}
_OPEN: Final = (
    ("could not run", "broke", "executions that hung, flooded, broke the lab or the interpreter"),
    ("never struck", "never-struck", "executions in which a planned strike did not happen"),
    ("proves nothing", "unproven", "executions in which no check had anything to look at"),
)


def exploration_in(results: Row, /) -> Row | None:
    """What the results say of a sweep or stress; None for any other campaign."""
    found = results.get("exploration")
    return found if isinstance(found, Mapping) else None


def counts_of(exploration: Row, /) -> dict[str, int]:
    """Executions by how they ended, in words for people; those that are 0 are left out."""
    words = exploration.get("words") or {}
    return {
        told: int(words.get(word, 0))
        for word, told in _TOLD.items()
        if words.get(word) or word in _ALWAYS
    }


def executions_words(exploration: Row, /) -> str:
    """How many executions, and how they ended.

    >>> executions_words({"kind": "stress", "executions": 1, "words": {"broken": 1}})
    'a stress campaign of 1 execution, 0 held, 1 broken'
    """
    how = "a sweep" if exploration["kind"] == "sweep" else "a stress campaign"
    ends = ", ".join(f"{count:,} {word}" for word, count in counts_of(exploration).items())
    text = f"{how} of {_many(exploration['executions'], 'execution')}, {ends}"
    same = _equivalent(exploration)
    if same:
        verb = "was" if same == 1 else "were"
        text += f"; {_many(same, 'further strike')} {verb} not executed, being equivalent to others"
    return text


def _equivalent(exploration: Row) -> int:
    """How many strikes were not executed, being equivalent. A pair whose first strike is has no
    row of its own, so a sweep's own count is taken where there is one."""
    worlds = (exploration.get("coverage") or {}).get("worlds") or ()
    depths = [one.get(depth) or {} for one in worlds for depth in ("first", "pairs")]
    counted = [one.get("equivalent", 0) for one in depths]
    return sum(counted) or (exploration.get("words") or {}).get("equivalent", 0)


def headline_of(results: Row, /) -> str:
    """The answer in two sentences, for an exploration."""
    exploration = results["exploration"]
    runs = [run for run in results["runs"] if run["role"] == "subject"]
    who = exploration.get("agent") or ", ".join(sorted({run["agent"] for run in runs}))
    contract = exploration.get("contract") or ", ".join(sorted({run["contract"] for run in runs}))
    text = f"{who}, contract {contract}: {executions_words(exploration)}. {runs_words(results)}"
    return text + (NO_CONTRACT if contract.startswith("none") else "")


def runs_words(results: Row, /) -> str:
    """How many of the executions there are histories of."""
    runs = len(results["runs"])
    if not runs:
        return "No execution was done again in full, as a run."
    verb = "was" if runs == 1 else "were"
    kind = "a run" if runs == 1 else "runs"
    return f"{_many(runs, 'execution')} {verb} done again in full, as {kind}."


def unfinished(results: Row, /) -> bool:
    """Whether something of what was asked for was left out."""
    exploration = exploration_in(results) or {}
    coverage = exploration.get("coverage")
    cut = isinstance(coverage, Mapping) and coverage.get("complete") is False
    return cut or not exploration.get("complete", True)


def open_ends(results: Row, /) -> list[tuple[str, str, int]]:
    """What an exploration leaves open: the kind, why, and how many executions."""
    exploration = exploration_in(results)
    if exploration is None:
        return []
    words, out = exploration.get("words") or {}, []
    for one in exploration.get("problems") or ():
        out.append(("could not run", str(one), 0))
    for one in exploration.get("differs") or ():
        out.append(("not repeatable", str(one), 0))
    for kind, word, why in _OPEN:
        if words.get(word):
            out.append((kind, why, int(words[word])))
    if unfinished(results):
        told = "the time was up, or it was interrupted; the table of what was explored says where"
        out.append(("not executed", told, 0))
    return out


def failures_in(results: Row, /) -> list[Row]:
    """The findings that count: no mere warnings, nothing that somebody has accepted, nothing that
    the very same choices did not show again."""
    return [
        one
        for one in findings_in(results)
        if not one.get("warning")
        and one.get("state") != "known"
        and one.get("shown_again") is not False
    ]


def findings_in(results: Row, /) -> list[Row]:
    """The failures, one for each fingerprint."""
    return list((exploration_in(results) or {}).get("findings") or ())


def finding_state(finding: Row, /) -> str:
    """One word for a finding, as pages and tables show states.

    >>> finding_state({"state": "known"}), finding_state({"shown_again": False})
    ('known', 'not repeatable')
    """
    if finding.get("shown_again") is False:
        return "not repeatable"
    if finding.get("warning"):
        return "warning only"
    return visible(str(finding.get("state") or "new"))


def finding_lines(finding: Row, /) -> list[str]:
    """Where a failure was seen, what it shrinks to, and the files that keep it."""
    out = [f"seen in {_many(int(finding.get('executions', 0)), 'execution')}"]
    faults = list(finding.get("faults") or ())
    tried = int(finding.get("tried") or 0)
    small = f", made so in {_many(tried, 'trial')}" if tried else ""
    if finding.get("run"):
        out.append(f"the smallest that shows it{small}: {'; '.join(faults) or 'no fault at all'}")
    if finding.get("differs"):
        out.append(f"not repeatable: {finding['differs']}")
    out += [f"written: {path}" for path in finding.get("files") or ()]
    return [visible(line) for line in out]


def note_lines(results: Row, /) -> list[str]:
    """What the lab itself has to say: where it could not do its work, and what was left out."""
    exploration = exploration_in(results) or {}
    out = [f"COULD NOT RUN  {one}" for one in exploration.get("problems") or ()]
    for one in exploration.get("broke") or ():
        count = _many(int(one["executions"]), "execution")
        out.append(f"COULD NOT RUN  {count}, such as {one['first']}: {one['why']}")
    out += [f"NOT REPEATABLE  {one}" for one in exploration.get("differs") or ()]
    out += [f"NOTE  {one}" for one in exploration.get("notes") or ()]
    return [visible(line) for line in out]


def claim_in(results: Row, /) -> list[str]:
    """The sentences of the claim, as they are: each is exactly true."""
    return [visible(str(line)) for line in (exploration_in(results) or {}).get("claim") or ()]


def statistics_in(results: Row, /) -> list[tuple[str, str]]:
    """Name and value of each statistic."""
    found = (exploration_in(results) or {}).get("statistics") or {}
    return [(visible(str(name)), visible(str(value))) for name, value in found.items()]


def change_lines(results: Row, /) -> list[str]:
    """What is new, ongoing, resolved or not looked at since an older exploration."""
    compared = (exploration_in(results) or {}).get("compared")
    if not compared:
        return []
    out = [f"NOTE  {note}" for note in compared.get("notes") or ()]
    if not compared.get("comparable"):
        return [visible(line) for line in ["NOT COMPARABLE with the older exploration", *out]]
    for word, name in _CHANGES.items():
        for one in compared.get(name) or ():
            why = f" ({one['why']})" if one.get("why") else ""
            out.append(f"{word}  {one['check']} ({one['code']}): {one['title']}{why}")
    told = [f"{len(compared.get(name) or ())} {word.lower()}" for word, name in _CHANGES.items()]
    return [visible(line) for line in [*out, f"Since the older exploration: {', '.join(told)}."]]


def columns_of(coverage: Row, /) -> tuple[list[str], list[list[str]]]:
    """The names of the columns and the cells of the rows; a file of results does not keep the order
    of a row's names, so the coverage may say it."""
    rows = [row for row in coverage["rows"] if isinstance(row, Mapping)]
    there = dict.fromkeys(str(name) for row in rows for name in row)
    wanted = [name for name in coverage.get("columns") or () if name in there]
    columns = list(dict.fromkeys([*wanted, *there]))
    cells = [[str(row.get(name, "")) for name in columns] for row in rows]
    return [_TOLD.get(name, name) for name in columns], cells


def world_table(coverage: Row, /) -> Table:
    """The coverage as the page shows it, without the ways to end in which nothing ended. Only the
    first column may be folded: half a number reads as another one."""
    columns, rows = columns_of(coverage)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = [n for n, name in enumerate(columns) if _says_something(name, rows, n)]
    for number in shown:
        name = columns[number]
        wide = max(len(name), *(len(visible(row[number])) for row in rows), 1)
        justify: JustifyMethod = "left" if number < 2 else "right"
        if number:
            table.add_column(Text(name), no_wrap=True, justify=justify, min_width=wide)
        else:
            table.add_column(Text(name), overflow="fold", justify=justify, min_width=_FIRST_WIDTH)
    for row in rows:
        table.add_row(*(Text(visible(row[number])) for number in shown))
    return table


def _says_something(name: str, rows: Sequence[Sequence[str]], number: int) -> bool:
    ends = name in _TOLD.values() and name not in _ALWAYS
    return not ends or any(row[number] != "0" for row in rows)


def show_worlds(console: Console, coverage: Row, /) -> None:
    """The table; where the terminal is too narrow for it, which would cut off the columns on the
    right, the same row by row."""
    table = world_table(coverage)
    unbounded = console.options.update(max_width=10_000)
    if Measurement.get(console, unbounded, table).minimum <= console.width:
        console.print(table)
        return
    columns, rows = columns_of(coverage)
    for row in rows:
        named = [f"{name} {cell}" for name, cell in zip(columns[1:], row[1:], strict=True)]
        console.print(Text(visible(f"{row[0]}: {'; '.join(named)}")), soft_wrap=True)


def show_exploration(
    console: Console, results: Row, folder: str, /, *, written: bool = True
) -> None:
    """The table, the findings, the statistics, the claim, and the answer. `written`: whether the
    results are in the folder, which a full disk may have refused."""

    def say(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    coverage = results.get("coverage")
    if coverage and coverage.get("rows"):
        show_worlds(console, coverage)
    for text in found_paragraphs(results, folder):
        say(text)
        console.print()
    for line in [*change_lines(results), *note_lines(results)]:
        say(line)
    for line in count_lines(results):
        say(line)
    for name, value in statistics_in(results):
        say(f"{name}: {value}")
    for line in claim_in(results):
        say(line)
    say(visible(headline_of(results)))
    if results.get("stopped"):
        say(f"STOPPED  {results['stopped']}")
    elif not results["complete"] or unfinished(results):
        say(f"Not everything that was asked for was executed; {_next(results)}.")
    file = f"{folder}/results.json"
    kept = f"Written: {file}" if written else f"Not written: {file}"
    say(f"{kept}; exit code {results['exit_code']}.")


def _next(results: Row) -> str:
    """What to do about an exploration that is not whole. Nothing is struck in a world that does
    not hold by itself, however often one goes on."""
    coverage = (exploration_in(results) or {}).get("coverage")
    worlds = coverage.get("worlds") if isinstance(coverage, Mapping) else None
    if any(isinstance(one, Mapping) and one.get("why") for one in worlds or ()):
        return "mend what is broken without any fault, and begin anew"
    return "go on with --resume"


def found_paragraphs(results: Row, folder: str, /) -> list[str]:
    """A paragraph for each finding, then one for each other thing that a full run showed."""
    runs = {run["id"]: run for run in results["runs"]}
    bugs = results.get("bugs") or []
    out: list[str] = []
    told: set[str] = set()
    for finding in findings_in(results):
        run = runs.get(finding.get("run") or "")
        mark = finding["fingerprint"]
        told.add(mark)
        out.append("\n".join([*_head(finding, run, mark, folder, bugs), *_indented(finding)]))
    rest = [_without(run, told) for run in runs.values()]
    return out + reasons(rest, folder, bugs=bugs)


def _head(finding: Row, run: Row | None, mark: str, folder: str, bugs: Sequence[Row]) -> list[str]:
    """The story of a finding, from its full run; its name alone where that does not show it."""
    if run is not None:
        kept = [v for v in run["violations"] if v["fingerprint"] == mark][:1]
        if kept:
            only = {**run, "violations": kept, "differs": None, "vacuous": None, "checks": {}}
            found = reasons([{**only, "key_advice": []}], folder, bugs=bugs)
            return [found[0]] if found else []
    what = finding.get("title") or f"{finding['check']} ({finding['code']})"
    if run is None:
        return [visible(f"FOUND  {what}"), "  it was not run in full; its rows are in rows.ndjson"]
    if run["broke"]:
        return [visible(f"FOUND  {what}"), "  executions showed it; its run in full could not run"]
    return [
        visible(f"NOT REPEATABLE  {finding['check']} ({finding['code']}): {what}"),
        "  executions showed it, and the full run of the very same choices did not",
    ]


def _indented(finding: Row) -> list[str]:
    return [f"  {line}" for line in finding_lines(finding)]


def _without(run: Row, told: set[str]) -> Row:
    """A run without the breaches that a finding has told already."""
    return {**run, "violations": [v for v in run["violations"] if v["fingerprint"] not in told]}


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
