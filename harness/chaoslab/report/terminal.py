"""The table and the reasons on a terminal, by rich; the same words without colour when piped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chaoslab.core.visible import visible
from chaoslab.report.counts import count_lines
from chaoslab.report.words import headline, short_agent, time_words, verdict_word

_STYLES = {
    "held": "green",
    "bug found": "green",
    "not applicable": "dim",
    "broken": "bold red",
    "BUG MISSED": "bold red",
    "unproven": "yellow",
    "not repeatable": "bold yellow",
    "could not run": "bold red",
}
_SHOWN_MAX = 5


def table_of(runs: Sequence[Mapping[str, Any]], /) -> Table:
    """One line per scenario and agent, seeds together."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("scenario", overflow="fold")
    table.add_column("verdict")
    table.add_column("faults\nplanned/struck", justify="right")
    table.add_column("tries\nat most", justify="right")
    table.add_column(f"recovery\n({_clock(runs)})", justify="right")
    table.add_column("entries", justify="right")
    table.add_column("wall time", justify="right")
    for group in _groups(runs):
        first = group[0]
        name = first["scenario"]
        if first["role"] == "negative-control":
            name = f"planted: {short_agent(first['agent'])} in {name.rpartition('/')[2]}"
        word, told = _worst(group), _told(group)
        recoveries = [r["recovery_ms"] for r in group if r["recovery_ms"] is not None]
        table.add_row(
            Text(name),
            Text(told, style=_STYLES.get(word, "")),
            f"{_sum(group, 'planned')}/{_sum(group, 'fired')}",
            str(max(r["attempts_max"] for r in group)),
            time_words(max(recoveries) if recoveries else None),
            str(sum(r["ops"] for r in group)),
            f"{sum(r['wall_ms'] for r in group)} ms",
        )
    return table


def _clock(runs: Sequence[Mapping[str, Any]]) -> str:
    return "/".join(sorted({run["recovery_clock"] for run in runs}))


def _groups(runs: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["scenario"], run["agent"]), []).append(run)
    return list(groups.values())


def _worst(group: Sequence[Mapping[str, Any]]) -> str:
    order = list(_STYLES)[::-1]
    words = {verdict_word(r) for r in group}
    if words <= {"bug found", "BUG MISSED"} and "bug found" in words:
        return "bug found"  # one of its seeds shows it
    return min(words, key=order.index)


def _told(group: Sequence[Mapping[str, Any]]) -> str:
    """The verdicts of a group: `held ×2`, or `broken ×1, held ×3`."""
    words = [verdict_word(r) for r in group]
    kinds = sorted(set(words), key=list(_STYLES)[::-1].index)
    if len(words) == 1:
        return words[0]
    return ", ".join(f"{kind} ×{words.count(kind)}" for kind in kinds)


def _sum(group: Sequence[Mapping[str, Any]], key: str) -> int:
    total: int = sum(r["faults"][key] for r in group)
    return total


def show_results(console: Console, results: Mapping[str, Any], folder: str, /) -> None:
    """The table, the reasons for whatever did not hold, and the answer."""
    runs = results["runs"]
    if runs:
        console.print(table_of(runs))
    for text in reasons(runs, folder, bugs=results["bugs"]):
        console.print(Text(text), soft_wrap=True)
        console.print()
    for text in count_lines(results):
        console.print(Text(text), soft_wrap=True)
    console.print(Text(headline(runs) or "No runs."), soft_wrap=True)
    if results.get("stopped"):
        console.print(Text(f"STOPPED  {results['stopped']}"), soft_wrap=True)
    elif not results["complete"]:
        further = "" if results.get("merged") is not None else "; go on with --resume"
        console.print(Text(f"Not all runs were finished{further}."))
    console.print(Text(f"Written: {folder}/results.json; exit code {results['exit_code']}."))


def reasons(
    runs: Sequence[Mapping[str, Any]],
    folder: str,
    /,
    *,
    bugs: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """A paragraph for each different thing that did not hold: one bug, one paragraph, in the order
    of `bugs` of the results, where they are given: the dearest first. What an agent may have worded
    is on a line that begins with our own words or is indented, and cannot begin another."""
    runs = [r for r in runs if r["role"] == "subject" or not r["caught"]]
    out = _could_not_run(runs)
    for run in runs:
        if run["caught"] is False and not run["broke"]:
            out.append(
                f"MISSED  {_name(run)}\n  {run['expected_check']} should have found it and did not."
            )
        if run["differs"]:
            out.append(
                f"NOT REPEATABLE  {_name(run)}\n  The same choices gave another history: "
                f"{visible(run['differs'])}\n  Something in the agent follows the hash seed, "
                "memory addresses or state from an earlier execution."
            )
    told, repeated = _breaches(runs, folder, bugs)
    out += told
    for why, names in _not_applicable(runs).items():
        out.append(f"NOT APPLICABLE  {', '.join(names)}\n  {why}")
    for why, names in _idle(runs).items():
        out.append(f"UNPROVEN  {', '.join(names)}\n  {why}")
    out += [f"KEYS  {words}" for words in _advice(runs)]
    if repeated:
        out.append(f"The same bugs were seen {repeated} more time(s); results.json has them all.")
    return out


def _name(run: Mapping[str, Any]) -> str:
    return f"{run['scenario']}, seed {run['seed']}, {short_agent(run['agent'])}"


def _could_not_run(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    broken: dict[str, list[str]] = {}
    for run in runs:
        if run["broke"]:
            broken.setdefault(visible(run["broke"]), []).append(_name(run))
    return [f"COULD NOT RUN  {'; '.join(names)}\n  {why}" for why, names in broken.items()]


def _breaches(
    runs: Sequence[Mapping[str, Any]], folder: str, bugs: Sequence[Mapping[str, Any]]
) -> tuple[list[str], int]:
    """Each breach once, and how often one was seen again."""
    known = {(b["agent"], b["fingerprint"]): (n, b["state"]) for n, b in enumerate(bugs)}
    seen: dict[str, int] = {}
    told: list[tuple[int, str]] = []
    for run in runs:
        replay = f"chaoslab replay {folder}/{run['id']}"
        for violation in run["violations"]:
            mark = violation["fingerprint"]
            seen[mark] = seen.get(mark, 0) + 1
            if seen[mark] == 1 and len(seen) <= _SHOWN_MAX * 4:
                turn, state = known.get((run["agent"], mark), (len(known), ""))
                told.append((turn, _violation(violation, _name(run), replay, state)))
    told.sort(key=lambda one: one[0])
    return [text for _, text in told], sum(n - 1 for n in seen.values())


def _idle(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The runs that prove nothing, by the reason."""
    idle: dict[str, list[str]] = {}
    for run in runs:
        name = f"{run['scenario']} seed {run['seed']}"
        if run["vacuous"]:
            idle.setdefault(visible(run["vacuous"]), []).append(name)
        if run["verdict"] == "unknown" and not run["broke"]:
            for check, found in run["checks"].items():
                if found["verdict"] == "unknown":
                    idle.setdefault(visible(f"{check}: {found['reason']}"), []).append(name)
    return idle


def _advice(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each tool that was called without a key, the advice that rests on the most tries."""
    best: dict[str, tuple[int, str]] = {}
    for run in runs:
        for one in run["key_advice"]:
            tested = sum(c["verdict"] != "untested" for c in one["candidates"])
            if tested > best.get(one["tool"], (0, ""))[0]:
                best[one["tool"]] = (tested, visible(one["words"], lines=True))
    return [words for _, words in best.values()]


def _not_applicable(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for run in runs:
        if run["not_applicable"]:
            out.setdefault(run["not_applicable"], []).append(run["scenario"])
    return out


def _violation(violation: Mapping[str, Any], name: str, replay: str, state: str) -> str:
    where = ", already without any fault" if violation["where"] == "control" else ""
    if violation["where"].startswith("repeat"):
        where = f", in {violation['where']}"
    word = "BROKEN, and known" if state == "known" else "BROKEN"
    lines = [f"{word}  {violation['check']} ({violation['code']}) in {name}{where}"]
    told = violation.get("because") or [f"  {violation['explanation']}"]
    lines += [visible(line) for line in told]
    lines.append(f"  replay: {replay}")
    return "\n".join(lines)
