"""Small pieces of plain text that every sentence about a history is made of.

A value is shown only as far as it helps: in full where it is short, by its revision marks where
it has some, else by its size and its fields. One that holds a sensitive attribute is never quoted.

>>> summary({"state": "active", "opening": "x" * 900})
'(a record of 931 characters: opening, state)'
>>> summary("Lake Town [home:r2:city] " + "x" * 60)
'(85 characters, with city of r2)'
>>> difference({"note": "soon", "to": "Ada"}, {"note": "now", "to": "Ada"})
'note was "soon" and is "now"'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from chaoslab.check.tokens import marks_in, masked
from chaoslab.core.jsons import canonical

SHOWN_MAX: Final = 60
_PART_MAX: Final = 40
_LISTED_MAX: Final = 3
_RECEIVERS: Final = {
    "model.complete": "the model",
    "network.request": "the outside",
    "report.log": "the log",
    "report.outcome": "the outcome",
    "task.outcome": "the outcome",
}
_UNITS: Final = ((86_400_000, "days", 2), (3_600_000, "h", 3), (1_000, "s", 10))


def ordinal(number: int, /) -> str:
    """1st, 2nd, 3rd, 4th …

    >>> [ordinal(n) for n in (1, 2, 3, 11, 22)]
    ['1st', '2nd', '3rd', '11th', '22nd']
    """
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def duration(ms: int, /) -> str:
    """A time as people say it, exact where it is short.

    >>> duration(4_105), duration(182_857), duration(86_400_055), duration(2_592_000_000)
    ('4105 ms', '182.8 s', '24.0 h', '30 days')
    """
    for unit, name, least in _UNITS:
        if ms >= least * unit:
            tenths = f".{ms % unit * 10 // unit}" if ms % unit else ""
            return f"{ms // unit}{tenths} {name}"
    return f"{ms} ms"


def short(value: Any, /, *, most: int = SHOWN_MAX) -> str:
    """A value, cut to what fits on a line."""
    text = masked(_text(value))
    return text if len(text) <= most else text[: most - 1] + "…"


def listed(names: Iterable[str], /) -> str:
    """Names in a row, the first few of them.

    >>> listed("abcde")
    'a, b, c and 2 more'
    """
    found = list(names)
    more = f" and {len(found) - _LISTED_MAX} more" if len(found) > _LISTED_MAX else ""
    return ", ".join(found[:_LISTED_MAX]) + more


def summary(value: Any, /) -> str:
    """A value that may be long: what it says where it is short, else what it is."""
    text = _text(value)
    if masked(text) != text or len(text) <= SHOWN_MAX:
        return masked(text)
    parts: dict[str, dict[str, None]] = {}
    for _, revision, part in marks_in(text):
        parts.setdefault(revision, {})[part] = None
    if parts:
        held = "; ".join(f"{'+'.join(p)} of {revision}" for revision, p in parts.items())
        return f"({len(text)} characters, with {short(held)})"
    if isinstance(value, Mapping):
        return f"(a record of {len(text)} characters: {short(listed(sorted(map(str, value))))})"
    return f"({len(text)} characters: {short(text, most=_PART_MAX)})"


def difference(old: Any, new: Any, /) -> str:
    """What is another in the second of two values: the first field, and how many more."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return f"it {_from_to(old, new)}"
    names = sorted(
        k
        for k in {**old, **new}
        if k not in old or k not in new or canonical(old[k]) != canonical(new[k])
    )
    if not names:
        return "nothing differs"
    first, more = names[0], len(names) - 1
    if first not in old:
        said = f"is new: {short(new[first], most=_PART_MAX)}"
    elif first not in new:
        said = f"is gone: {short(old[first], most=_PART_MAX)}"
    else:
        said = _from_to(old[first], new[first])
    also = f"; {more} more {'field differs' if more == 1 else 'fields differ'}" if more else ""
    return f"{short(str(first), most=_PART_MAX)} {said}{also}"


def _from_to(old: Any, new: Any) -> str:
    before, after = masked(canonical(old)), masked(canonical(new))
    # Two long texts differ where they part, which may be far behind what fits.
    parted = (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    at = next(parted, min(len(before), len(after)))
    start = at - _PART_MAX // 4 if max(len(before), len(after)) > _PART_MAX else 0
    return f"was {_cut(before, start)} and is {_cut(after, start)}"


def _cut(text: str, start: int) -> str:
    shown = text[max(0, start) :]
    head = "…" if start > 0 else ""
    return head + (shown if len(shown) <= _PART_MAX else shown[: _PART_MAX - 1] + "…")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)


def receiver(f: str, /) -> str:
    """Who got what an entry of this kind sends.

    >>> receiver("model.complete"), receiver("tools.refund"), receiver("report.intent")
    ('the model', 'refund', 'a report')
    """
    head, _, tail = f.partition(".")
    if head in ("tools", "wasm"):
        return tail
    return _RECEIVERS.get(f, "a report" if head == "report" else f)
