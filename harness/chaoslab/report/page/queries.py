"""Queries for a team's own database that find the same breach there.

The lab saw the breach in a simulated or a recorded ledger; production has one too. A query is made
from the contract: around the team's own statement where the contract has one, else around a table
with the tool's name, and then the query says that its names are guesses. Only reading statements
are made, with names and values quoted, since both come out of files and histories.

>>> print(duplicates(Ledger(table='"refund"', identity=("order",), key="idempotency_key")))
SELECT "order", count(*) AS times
FROM "refund"
GROUP BY "order"
HAVING count(*) > 1;
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from chaoslab.contract import ToolContract
from chaoslab.core.visible import visible

_KEYS: Final = ("idem_key", "idempotency_key", "key")
_HOLE: Final = re.compile(r"\{[a-z_.A-Z]+\}")
# Where an agent notes what it has done is known to nobody but its team.
RECORDS: Final = "agent_records"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a query reads: `table` is quoted already; `before` is a WITH clause or empty. `guessed`
    are the names that nobody gave."""

    table: str
    identity: tuple[str, ...]
    key: str
    before: str = ""
    guessed: tuple[str, ...] = ()


def name(text: str, /) -> str:
    """An identifier, quoted as standard SQL wants it.

    >>> print(name('or"der'), name("a\\nb"))
    "or""der" "a\\nb"
    """
    return '"' + visible(text).replace('"', '""') + '"'


def value(text: str, /) -> str:
    """A text, quoted as standard SQL wants it.

    >>> print(value("o'1"))
    'o''1'
    """
    return "'" + visible(text).replace("'", "''") + "'"


def ledger_for(tool: ToolContract, fields: Iterable[str] = (), /) -> Ledger:
    """What is known of the ledger of a tool. `fields`: the arguments that were seen, which stand in
    for identity fields where the contract names none."""
    paths = tool.identity_fields or tuple(fields)
    identity = tuple(dict.fromkeys(path.rpartition(".")[2] for path in paths))
    source = tool.effects
    if source is None or not source.sql:
        return Ledger(
            table=name(tool.name),
            identity=identity,
            key="idempotency_key",
            guessed=tuple(dict.fromkeys((tool.name, *identity, "idempotency_key"))),
        )
    words = set(re.findall(r"\w+", source.sql))
    key = source.key or next((k for k in _KEYS if k in words), "idempotency_key")
    guessed = tuple(n for n in (*identity, key) if n not in words)
    statement = "\n".join(visible(line) for line in source.sql.strip().rstrip(";").split("\n"))
    indented = "\n".join(f"  {line.strip()}" for line in statement.split("\n"))
    return Ledger(
        table="ledger",
        identity=identity,
        key=key,
        before=f"WITH ledger AS (\n{indented}\n)\n",
        guessed=guessed,
    )


def holes(tool: ToolContract, /) -> tuple[str, ...]:
    """The holes in a team's own statement, which only the lab fills.

    >>> holes(ToolContract(name="refund"))
    ()
    """
    sql = tool.effects.sql if tool.effects is not None else ""
    return tuple(dict.fromkeys(_HOLE.findall(sql)))


def _row(ledger: Ledger, alias: str = "") -> str:
    return ", ".join(f"{alias}{name(column)}" for column in ledger.identity)


def _joined(ledger: Ledger) -> str:
    pairs = [f"l.{name(column)} = r.{name(column)}" for column in ledger.identity]
    return "\n  AND ".join(pairs)


def duplicates(ledger: Ledger, /) -> str:
    """Actions that stand more than once."""
    row = _row(ledger)
    return (
        f"{ledger.before}SELECT {row}, count(*) AS times\nFROM {ledger.table}\n"
        f"GROUP BY {row}\nHAVING count(*) > 1;"
    )


def two_keys(ledger: Ledger, /) -> str:
    """Actions that came under more than one key."""
    row, key = _row(ledger), name(ledger.key)
    return (
        f"{ledger.before}SELECT {row}, count(DISTINCT {key}) AS keys\nFROM {ledger.table}\n"
        f"GROUP BY {row}\nHAVING count(DISTINCT {key}) > 1;"
    )


def two_actions(ledger: Ledger, /) -> str:
    """Keys that were used for more than one action."""
    key = name(ledger.key)
    pairs = f"(SELECT DISTINCT {key}, {_row(ledger)} FROM {ledger.table}) AS used"  # noqa: S608
    return (
        f"{ledger.before}SELECT {key}, count(*) AS actions\nFROM {pairs}\n"
        f"WHERE {key} IS NOT NULL\nGROUP BY {key}\nHAVING count(*) > 1;"
    )


def missing(ledger: Ledger, tool: str, /) -> str:
    """Actions that the agent's records call done, and the ledger does not have."""
    first = name(ledger.identity[0])
    return (
        f"{ledger.before}SELECT {_row(ledger, 'r.')}\nFROM {name(RECORDS)} AS r\n"
        f"LEFT JOIN {ledger.table} AS l\n  ON {_joined(ledger)}\n"
        f"WHERE r.tool = {value(tool)} AND r.status = 'completed' AND l.{first} IS NULL;"
    )


def denied(ledger: Ledger, tool: str, /) -> str:
    """Actions that stand, and that the agent's records call failed or do not have."""
    return (
        f"{ledger.before}SELECT {_row(ledger, 'l.')}, r.status\nFROM {ledger.table} AS l\n"
        f"LEFT JOIN {name(RECORDS)} AS r\n  ON {_joined(ledger)}\n  AND r.tool = {value(tool)}\n"
        "WHERE r.status IS NULL OR r.status <> 'completed';"
    )


def late(ledger: Ledger, tool: str, /) -> str:
    """Actions that were committed after the agent had reported how it ended."""
    return (
        f"{ledger.before}SELECT {_row(ledger, 'l.')}, l.created_at, r.ended_at, r.status\n"
        f"FROM {ledger.table} AS l\nJOIN {name(RECORDS)} AS r\n  ON {_joined(ledger)}\n"
        f"WHERE r.tool = {value(tool)} AND l.created_at > r.ended_at;"
    )
