"""The rows of a table that shows a bug, and which of them to show.

A ledger may have thousands of rows, of which one is too many. Rows that differ, and rows that prove
something, are kept; of the others a few that stand near them, so that a reader sees what an
ordinary row looks like, and the number of those that were left out.

>>> rows = [LedgerRow(cells=(str(n),), state="extra" if n == 5 else "same") for n in range(9)]
>>> kept, more, more_differing = fold(rows, 3)
>>> [row.cells[0] for row in kept], more, more_differing
(['4', '5', '6'], 6, 0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from chaoslab.report.page.scene import Scene
from chaoslab.report.page.shown import shown

# The last two stand only in a table that is compared with nothing: part of the proof, or not.
State = Literal["same", "extra", "missing", "changed", "proof", "listed"]

ROWS_MAX: Final = 12
DIFFERING_MAX: Final = 40
CELL_MAX: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One row. `op` is the entry that made it, in the history of the bug; None for a row that only
    the other history has. `proof`: the row is part of what proves the bug."""

    cells: tuple[str, ...]
    state: State
    op: int | None = None
    proof: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTable:
    """A ledger. `title` says of what, `words` what the comparison shows. `compared` is False where
    there is nothing to compare with; such a table says in its words what it leaves out. `more`: how
    many further rows are left out, which are the same as in the other history; `more_differing`:
    which are not."""

    tool: str
    title: str
    words: str
    compared: bool = True
    columns: tuple[str, ...]
    rows: tuple[LedgerRow, ...]
    more: int = 0
    more_differing: int = 0


def fold(rows: Sequence[LedgerRow], most: int = ROWS_MAX, /) -> tuple[list[LedgerRow], int, int]:
    """The rows to show, and how many are left out: equal ones, and differing ones. Differing rows
    and those that prove something come first, then the equal ones that stand nearest to them."""
    telling = [n for n, row in enumerate(rows) if row.state != "same" or row.proof]
    plain = [n for n, row in enumerate(rows) if row.state == "same" and not row.proof]
    told = telling[:DIFFERING_MAX]
    plain.sort(key=lambda n: (min((abs(n - t) for t in told), default=n), n))
    near = plain[: max(0, most - len(told))]
    kept = [rows[n] for n in sorted([*told, *near])]
    return kept, len(plain) - len(near), len(telling) - len(told)


def listing(table: LedgerTable, /) -> LedgerTable:
    """A table as it is shown where it is compared with nothing: "the same" would be a lie there."""
    if table.compared:
        return table
    rows = [replace(row, state="proof" if row.proof else "listed") for row in table.rows]
    left = table.more + table.more_differing
    said = f" {left:,} further rows are left out." if left else ""
    return replace(table, rows=tuple(rows), words=table.words + said, more=0, more_differing=0)


def against(scene: Scene, /) -> str:
    """What a table is compared with, as the end of its title."""
    return f", against {scene.other_name}" if scene.other is not None else ""


def cell(scene: Scene, value: Any, /) -> str:
    """A value as a cell shows it; nothing for None."""
    return "" if value is None else shown(scene.mask, value, most=CELL_MAX)
