"""The golden histories: small records written by hand, with what every check must say of them.

The first line of a file names the check that it is for (`check`), the contract as a contract file
has it, the limits, and, for a broken one, `breaks`: every code of every check that must be found,
and so also that nothing else is. A team keeps its own beside its checks in the same form.

>>> one = goldens("valid")[0]
>>> one.breaks, one.evidence.contract.given
({}, True)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from chaoslab.check import Evidence
from chaoslab.contract import Limits
from chaoslab.contract.loader import contract_from
from chaoslab.core.errors import FormatError
from chaoslab.core.resources import resource_path
from chaoslab.history import View, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """One golden history. `breaks` is empty for a valid one: {check: [code, …]}."""

    name: str
    title: str
    check: str
    breaks: Mapping[str, list[str]]
    evidence: Evidence


def golden(path: Path, /) -> Golden:
    """The golden history in a file. FormatError where it is torn or its first line is damaged."""
    stored = read(path)
    if stored.torn:
        raise FormatError(f"{path} ends in the middle of a line", hint="mend the file")
    head: dict[str, Any] = dict(stored.header)
    root = path.parent.parent
    try:
        return Golden(
            name=path.stem,
            title=head["title"],
            check=head["check"],
            breaks=head.get("breaks", {}),
            evidence=Evidence(
                history=View(stored.ops),
                contract=contract_from({"format": 1, **head["contract"]}, str(path)),
                limits=Limits(**head["limits"]),
                control=View(read(root / head["control"]).ops) if "control" in head else None,
                repeats=tuple(View(read(root / name).ops) for name in head.get("repeats", ())),
            ),
        )
    except (KeyError, TypeError) as error:
        raise FormatError(f"the first line of {path} is damaged: {error!r}") from error


def goldens(kind: Literal["valid", "invalid"], /) -> list[Golden]:
    """The golden histories that ship with the package, by name."""
    return [golden(p) for p in sorted(resource_path(f"fixtures/histories/{kind}").glob("*.jsonl"))]
