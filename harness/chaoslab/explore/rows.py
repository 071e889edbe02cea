"""What is kept of one execution of a campaign: a row.

A row says which strikes were planned, how it ended and what was broken; histories are made again
where somebody wants to look, since an execution is a function of its scenario and its choices.
`judgement` is all that must be the same wherever a row was executed, so campaigns on one process,
on several and on a cluster can be compared.

>>> row = Row(name="w1/0", world="w1", seed=0, word="held", ops=120)
>>> Row.from_json(row.to_json()) == row
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, get_args

from chaoslab.core.errors import FormatError, shown

Word = Literal["held", "broken", "unproven", "never-struck", "equivalent", "broke"]
WORDS: Final[tuple[str, ...]] = get_args(Word)
Breach = tuple[str, str, str, str]  # check, code, fingerprint, explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One execution.

    `faults` are as scenario files say them, exact. `why`: why nothing was proven, why it broke, or
    why it is equivalent to the row `same_as`, whose judgement it shares. `shown` are the checks
    that looked at something and held. `scenario` is the whole text, kept where a row did not hold
    and its faults alone do not say it. `spent_us` is wall time by what used it.
    """

    name: str
    world: str
    seed: int
    word: Word
    faults: tuple[Mapping[str, Any], ...] = ()
    breaches: tuple[Breach, ...] = ()
    why: str = ""
    ops: int = 0
    same_as: str = ""
    digest: str = ""
    recovery_ms: int | None = None
    shown: tuple[str, ...] = ()
    scenario: str = ""
    spent_us: Mapping[str, int] = field(default_factory=dict)

    @property
    def judgement(self) -> tuple[Any, ...]:
        """Everything that depends on the execution alone, and not on where it was done."""
        names = (f.name for f in fields(self) if f.name not in ("spent_us", "faults"))
        planned = tuple(tuple(sorted(fault.items())) for fault in self.faults)
        return (planned, *(getattr(self, name) for name in names))

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object; what is empty is left out."""
        out: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value not in ("", (), {}, None):
                out[one.name] = value
        return out

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], /) -> Row:
        """The row that `to_json` gave. FormatError where it is none."""
        try:
            row = cls(
                **{
                    **raw,
                    "faults": tuple(raw.get("faults", ())),
                    "breaches": tuple(_breach(one) for one in raw.get("breaches", ())),
                    "shown": tuple(raw.get("shown", ())),
                }
            )
        except (TypeError, ValueError) as error:
            raise FormatError(f"a row of the campaign is malformed: {error}") from error
        if row.word not in WORDS:
            raise FormatError(
                f"a row of the campaign ends in {shown(row.word)}", allowed=", ".join(WORDS)
            )
        return row


def _breach(raw: Any) -> Breach:
    check, code, fingerprint, explanation = raw
    return str(check), str(code), str(fingerprint), str(explanation)
