"""`invariant.NAME`: the rules of the team's own, from `[[invariants]]` of its contract.

A query over the ledger must return nothing; each row that it does return is a breach, told by its
columns, and the columns called `op` or `..._op` are its witness. A function of the team's gets the
evidence and gives violations, or a whole finding. Both come out like any other check: with a
because-chain, a fingerprint, and their place in the results.

>>> from chaoslab.contract import Contract, Limits
>>> from chaoslab.history import Op, View
>>> rule = Invariant(name="cheap-refunds", says="a refund of more than 50 euros",
...     sql="select op, json_extract(args, '$.cents') as cents from effects where cents > 5000")
>>> ops = [Op(index=0, time_ns=0, type="commit", f="tools.refund", marker="o-1",
...           value={"ref": "refund:o-1#1", "args": {"cents": 9900}})]
>>> evidence = Evidence(history=View(ops), contract=Contract(), limits=Limits())
>>> [(v.check, v.explanation, v.witness) for v in by_query(rule)(evidence).violations]
[('invariant.cheap-refunds', 'a refund of more than 50 euros: cents 9900', (0,))]
"""

from __future__ import annotations

import re
import sqlite3
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, cast

from chaoslab.check.facts import Facts, claims_of
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes
from chaoslab.contract import Invariant
from chaoslab.contract.ledger import TABLES, closed, empty
from chaoslab.core.jsons import canonical
from chaoslab.history import Op, tool_of

PREFIX: Final = "invariant."
OwnFunction = Callable[[Evidence], "Finding | Iterable[Violation]"]

_MS: Final = 1_000_000
_ROWS_MAX: Final = 20
_SHOWN_MAX: Final = 60
_LINE_MAX: Final = 300
_CODE: Final = re.compile(r"[a-z][a-z0-9-]*")
_Row = tuple[Any, ...]


def by_query(invariant: Invariant, /) -> Check:
    """The check of an invariant with `sql`."""
    name = PREFIX + invariant.name
    return Check(id=name, run=lambda evidence: _queried(name, invariant, evidence))


def by_function(invariant: Invariant, function: OwnFunction, /) -> Check:
    """The check of an invariant with `check`, whose function was loaded already. What the function
    raises, or gives that is no breach, leaves the rule unproven and says so."""
    name = PREFIX + invariant.name

    def run(evidence: Evidence) -> Finding:
        try:
            said = function(evidence)
            whole = said if isinstance(said, Finding) else None
            breaches = whole.violations if whole is not None else list(cast(Any, said))
            found = [_own(name, one, len(evidence.history)) for one in breaches]
        except (Exception, SystemExit) as error:
            why = f"{invariant.check} raised {type(error).__name__}: {error} ({_place(error)})"
            return conclude(name, [], looked_at=0, missing=why)
        if whole is not None and not found:
            return replace(whole, check=name, violations=())
        return conclude(name, found, looked_at=_looked_at(evidence.facts), things="requests")

    return Check(id=name, run=run)


def _own(name: str, one: object, size: int) -> Violation:
    """A breach of the team's, under its own name; TypeError or ValueError where it is none."""
    if not isinstance(one, Violation):
        raise TypeError(f"got {type(one).__name__}; allowed: chaoslab.check.Violation")
    if not isinstance(one.code, str) or not _CODE.fullmatch(one.code):
        raise ValueError(f"code is {one.code!r}; allowed: small letters, digits and -")
    if not isinstance(one.explanation, str) or not one.explanation.strip():
        raise ValueError("explanation is empty; allowed: what went wrong, in words")
    wrong = [i for i in one.witness if type(i) is not int or not 0 <= i < size]
    if wrong:
        raise ValueError(f"witness has {wrong[0]!r}; allowed: numbers of entries below {size}")
    return replace(
        one,
        check=name,
        subject=_line(str(one.subject)),
        explanation=_line(one.explanation),
        witness=indexes(one.witness),
    )


def _line(text: str) -> str:
    """One line of readable text, whatever a stranger's code put together."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= _LINE_MAX else flat[: _LINE_MAX - 1] + "…"


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"


def _looked_at(facts: Facts) -> int:
    return len(facts.requests) + len(facts.tool_commits)


def _queried(name: str, invariant: Invariant, evidence: Evidence) -> Finding:
    base = _filled(evidence.facts, invariant.sql)
    try:
        cursor = base.execute(invariant.sql)
        columns = [column[0] for column in cursor.description]
        rows = cursor.fetchmany(_ROWS_MAX)
    except sqlite3.Error as error:
        why = "takes too long" if "interrupted" in str(error) else f"cannot be asked: {error}"
        return conclude(name, [], looked_at=0, missing=f"the query {why}")
    finally:
        base.close()
    found = [_breach(name, invariant, columns, row, len(evidence.history)) for row in rows]
    return conclude(
        name,
        found,
        looked_at=_looked_at(evidence.facts),
        things="requests and effects",
        nothing="no tool was asked for anything",
    )


def _breach(name: str, invariant: Invariant, columns: list[str], row: _Row, size: int) -> Violation:
    cells = list(zip(columns, row, strict=True))
    witness = [
        value
        for column, value in cells
        if _is_op(column) and isinstance(value, int) and 0 <= value < size
    ]
    told = [(column, value) for column, value in cells if not _is_op(column)]
    words = ", ".join(f"{column} {_short(value)}" for column, value in told)
    says = invariant.says or f"the query of {invariant.name} found a row"
    subject = " ".join(str(value) for column, value in told if column in ("tool", "marker"))
    return Violation(
        check=name,
        code="invariant-broken",
        subject=subject or invariant.name,
        explanation=f"{says}: {words}" if words else says,
        witness=indexes(witness),
        tool=next((str(value) for column, value in told if column == "tool"), ""),
    )


def _is_op(column: str) -> bool:
    return column == "op" or column.endswith("_op")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


def _filled(facts: Facts, sql: str) -> sqlite3.Connection:
    """The tables that a query names, filled; the others stay empty."""
    base, asked = empty(), sql.lower()
    for name, rows in (
        ("effects", _effects(facts)),
        ("requests", _requests(facts)),
        ("outcomes", _outcomes(facts)),
        ("claims", _claims(facts)),
        ("tasks", _tasks(facts)),
        ("memory", _memory(facts)),
        ("entries", _entries(facts)),
    ):
        if name not in asked:
            continue
        places = ", ".join("?" * len(TABLES[name].split(",")))
        base.executemany(f"insert into {name} values ({places})", rows)  # noqa: S608 - own names
    return closed(base)


def _effects(facts: Facts) -> Iterator[_Row]:
    for effects in facts.effects.values():
        for e in effects:
            op = e.commits[0]
            undone = e.undone_by.index if e.undone_by is not None else None
            args = canonical(op.get("args"))
            yield (
                *(op.index, op.time_ns // _MS, e.tool, e.marker, e.ref, op.key, args, e.task),
                *(op.session, op.get("tenant"), op.process, int(e.stands), undone),
            )


def _requests(facts: Facts) -> Iterator[_Row]:
    for op in facts.requests:
        answer = facts.view.completion(op.index)
        yield (
            *(op.index, op.time_ns // _MS, tool_of(op), op.marker, op.key, op.attempt),
            *(canonical(op.get("args")), op.task, op.session, op.process),
            "open" if answer is None else answer.type,
            None if answer is None else answer.get("error"),
        )


def _outcomes(facts: Facts) -> Iterator[_Row]:
    for task in facts.tasks.values():
        for op in (*((task.outcome,) if task.outcome else ()), *task.others):
            yield (
                *(op.index, op.time_ns // _MS, task.id, task.session, op.process),
                *(op.get("status"), op.get("reason"), canonical(op.get("answer"))),
                int(op is task.outcome),
            )


def _claims(facts: Facts) -> Iterator[_Row]:
    for task in facts.tasks.values():
        if task.outcome is not None:
            for claim in claims_of(task.outcome):
                yield (
                    *(task.outcome.index, task.id, task.session),
                    *(claim.tool, claim.marker, claim.ref),
                )


def _tasks(facts: Facts) -> Iterator[_Row]:
    for task in facts.tasks.values():
        tenant = next((op.get("tenant") for op in task.submits), None)
        yield task.id, task.session, tenant, len(task.submits), task.status or None


def _memory(facts: Facts) -> Iterator[_Row]:
    for op in facts.memory_commits:
        version = canonical(op.get("version"))
        yield (
            *(op.index, op.time_ns // _MS, op.get("id"), canonical(op.get("value")), version),
            *(op.task, op.session, op.process, int(bool(op.get("erased")))),
        )


def _entries(facts: Facts) -> Iterator[_Row]:
    for op in facts.view:
        yield _entry(op)


def _entry(op: Op) -> _Row:
    return (
        *(op.index, op.time_ns // _MS, op.type, op.f, op.process, op.session, op.task, op.call),
        *(op.marker, op.key, canonical(op.value)),
    )
