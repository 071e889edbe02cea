"""What `chaoslab selftest` prints: bugs against checks, then right agents against all of them.

>>> rows = [{"agent": "a/x.py:make_agent", "planned": "keys.lineage", "caught": True,
...          "found": {"keys.lineage": 1, "effects.delivery": 1}, "broke": None}]
>>> print(matrix(rows, ["effects.delivery", "keys.lineage"])[-1])
x   + X   found
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from chaoslab.core.visible import visible
from chaoslab.report.words import short_agent

_SAID_MAX: Final = 3


def matrix(rows: Sequence[Mapping[str, Any]], checks: Sequence[str], /) -> list[str]:
    """The bugs as lines, the checks as numbered columns. `X`: the planned check found it; `+`:
    another one did too; `!`: the planned check missed it."""
    width = max((len(short_agent(row["agent"])) for row in rows), default=0)
    lines = [f"{n:>3} {check}" for n, check in enumerate(checks, 1)]
    tens = " ".join(str(n // 10) if n >= 10 else " " for n in range(1, len(checks) + 1))
    ones = " ".join(str(n % 10) for n in range(1, len(checks) + 1))
    lines += ["", *((f"{'':<{width}}   {tens}".rstrip(),) if len(checks) > 9 else ())]
    lines.append(f"{'planted bug':<{width}}   {ones}"[: width + 3 + len(ones)])
    for row in rows:
        cells = " ".join(_cell(row, check) for check in checks)
        lines.append(f"{short_agent(row['agent']):<{width}}   {cells}   {_said(row)}")
    return lines


def _cell(row: Mapping[str, Any], check: str) -> str:
    if check == row["planned"]:
        return "X" if row["caught"] else "!"
    return "+" if check in row["found"] else "·"


def _said(row: Mapping[str, Any]) -> str:
    if row["broke"]:
        return "COULD NOT RUN"
    if row["caught"]:
        return "found"
    others = [check for check in row["found"] if check != row["planned"]]
    return f"MISSED by {row['planned']}" + (f", found by {', '.join(others)}" if others else "")


def show_selftest(console: Console, results: Mapping[str, Any], folder: str, /) -> None:
    """The matrix, the false alarms, and the answer."""
    from_checks = results["checks"]
    for line in matrix(results["bugs"], from_checks):
        console.print(Text(line), soft_wrap=True)
    console.print()
    for row in results["right"]:
        for line in _right(row, folder):
            console.print(Text(line), soft_wrap=True)
    console.print()
    for line in answer(results):
        console.print(Text(line), soft_wrap=True)
    console.print(
        Text(f"Written: {folder}/selftest.json; exit code {results['exit_code']}."), soft_wrap=True
    )


def _right(row: Mapping[str, Any], folder: str) -> list[str]:
    name = f"{short_agent(row['agent']) or row['agent'].partition(':')[0]:<24}"
    word = "held" if row["passed"] else "ACCUSED" if row["accused"] else "UNPROVEN"
    lines = [f"{word:<9} {name} {row['judged']:>6} judged, {row['idle']} idle  ({row['design']})"]
    if row["broke"]:
        lines.append(f"          COULD NOT RUN {visible(row['broke'])}")
    elif row["judged"] < row["wanted"]:
        lines.append(
            f"          only {row['judged']} of {row['wanted']} executions proved anything; "
            "name scenarios whose faults the agent can meet"
        )
    for alarm in row["alarms"][:_SAID_MAX]:
        lines += [
            f"          {alarm['check']} ({alarm['code']}) in {alarm['scenario']}, seed "
            f"{alarm['seed']}: {visible(alarm['explanation'])}",
            f"          chaoslab replay {folder}/{alarm['run']}",
        ]
    return lines


def answer(results: Mapping[str, Any], /) -> list[str]:
    """The result in two sentences."""
    bugs, right = results["bugs"], results["right"]
    missed = [short_agent(row["agent"]) for row in bugs if not row["caught"]]
    found = f"{len(bugs) - len(missed)} of {len(bugs)} planted bugs found, each by its check"
    if missed:
        found += f"; MISSED: {', '.join(missed)}"
    judged = sum(row["judged"] for row in right)
    accused = sum(row["accused"] for row in right)
    return [
        f"{found}.",
        f"{len(right)} right agents, {judged} executions judged: {accused} false alarms.",
    ]
