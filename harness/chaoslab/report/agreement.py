"""What `chaoslab agree` prints: one table of subjects against ways, reasons, and the answer.

>>> row = {"short": "double_charge", "scenario": "matrix/x", "planned": "effects.delivery",
...        "cells": {"process": {"verdict": "differs", "why": "it is not there", "run": "r"}}}
>>> reasons_of([row], "reports/latest")
['DIFFERS  process: double_charge in matrix/x\\n  it is not there\\n  reports/latest/process/r']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chaoslab.core.visible import visible
from chaoslab.run.agreement import VERDICTS, WORDS

_STYLES: Final = {
    "agrees": "green",
    "not-applicable": "dim",
    "left-out": "dim",
    "idle": "yellow",
    "not-run": "yellow",
    "differs": "bold red",
    "could-not-run": "bold red",
}


def table_of(results: Mapping[str, Any], /) -> Table:
    """One line a subject, one column a way."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("agent", "scenario", "must show"):
        table.add_column(name, overflow="fold")
    names = [way["name"] for way in results["ways"]]
    for name in names:
        table.add_column(name)
    for row in results["rows"]:
        cells = [row["cells"][name]["verdict"] for name in names]
        table.add_row(
            Text(row["short"]),
            Text(row["scenario"]),
            Text(row["planned"] or "nothing"),
            *(Text(word_of(cell), style=_STYLES[cell]) for cell in cells),
        )
    return table


def word_of(verdict: str, /) -> str:
    """A verdict as a person reads it.

    >>> word_of("agrees"), word_of("could-not-run")
    ('agrees', 'could not run')
    """
    return WORDS.get(verdict, verdict)


def reasons_of(rows: Sequence[Mapping[str, Any]], folder: str, /) -> list[str]:
    """A paragraph for every reason why a cell does not agree, the worst first; those with the same
    reason together. Where a run was done, also where it lies."""
    found: dict[tuple[int, str, str, str], list[tuple[str, str]]] = {}
    for row in rows:
        for way, cell in row["cells"].items():
            if cell["verdict"] == "agrees":
                continue
            rank = VERDICTS.index(cell["verdict"])
            name = f"{row['short']} in {row['scenario']}"
            place = f"{folder}/{way}/{cell['run']}" if cell["run"] and rank < 3 else ""
            key = (rank, cell["verdict"], way, cell["why"])
            found.setdefault(key, []).append((name, place))
    out = []
    for (_, verdict, way, why), places in sorted(found.items(), key=lambda one: one[0][0]):
        names = "; ".join(name for name, _ in places)
        lines = [f"{word_of(verdict).upper()}  {way}: {names}", f"  {visible(why)}"]
        out.append("\n".join([*lines, *(f"  {place}" for _, place in places if place)]))
    return out


def answer(results: Mapping[str, Any], /) -> list[str]:
    """The result in one sentence for each way, and what is absent."""
    out = []
    for way in results["ways"]:
        counts = way["counts"]
        many = sum(counts.values())
        told = ", ".join(f"{counts[v]} {word_of(v)}" for v in VERDICTS[::-1] if counts[v])
        out.append(f"{way['name']}: {many} subject{'s' * (many != 1)}, {told}.")
    out += [f"{name}: absent, {visible(why)}" for name, why in results["absent"].items()]
    return out


def show_agreement(console: Console, results: Mapping[str, Any], folder: str, /) -> None:
    """The table, the reasons, the answer."""
    console.print(table_of(results))
    for text in reasons_of(results["rows"], folder):
        console.print(Text(text), soft_wrap=True)
        console.print()
    for text in answer(results):
        console.print(Text(text), soft_wrap=True)
    console.print(
        Text(
            f"Written: {folder}/agreement.json, {folder}/agreement.html; "
            f"exit code {results['exit_code']}."
        ),
        soft_wrap=True,
    )
