"""What must not be read by whoever reads a report: sensitive attributes, and credentials.

A history is evidence and stays whole, since a run is repeated bit for bit from it. Whatever is
made from it for people passes through a mask. The contract names the attributes; their values are
learned from the histories: beside the tokens that a workload plants, and in fields of a task's data
and of a service's answers that are named like the attribute. They are then found wherever they turn
up: inside longer text, in other case, without their blanks and dashes (see `folding`).

>>> from chaoslab.contract import Attribute, Contract
>>> from chaoslab.history import Op, View
>>> iban = Contract(attributes={"iban": Attribute(name="iban")})
>>> asked = Op(index=0, time_ns=0, type="event", f="task.submit", session="s1",
...            value={"data": {"iban": "DE02 1203 0000 4711"}})
>>> mask = mask_of(iban, [View([asked])])
>>> mask.text("key pay-de02120300004711-1, order o-7")
'key pay-‹iban of s1›-1, order o-7'
>>> mask.json({"to": ["DE02-1203-0000-4711"], "amount_cents": 500})
{'to': ['‹iban of s1›'], 'amount_cents': 500}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from chaoslab.check.credentials import SECRET, names_a_secret, without_credentials
from chaoslab.check.folding import folded, folded_as_is, has_escapes, spelled
from chaoslab.check.tokens import attributes_in
from chaoslab.contract import Contract
from chaoslab.core.jsons import Json
from chaoslab.history import Op, View

# Letters and digits that a value must have: fewer stand in any text by chance, and can be guessed.
_LEAST: Final = 4
# From here on a value is found anywhere; a shorter one only where no word or number goes on.
_LONG: Final = 8
_CUT: Final = 6  # so much of a long value, before or behind a "…", is told to be a part of it
_CUT_MAX: Final = 200
_CUT_SPELLED: Final = 2_400  # as long as that may be with escapes
_CUT_TEXT: Final = 1_000
_HEAD: Final = _LEAST  # all values are looked up by so many of their first characters

# Names of fields, processes and tools are seen thousands of times; each is looked through once.
_SEEN_MAX: Final = 20_000
_SEEN_CHARS_MAX: Final = 40

_FEW: Final = 40

# What may stand between the characters of a short value.
_THIN: Final = frozenset((*" -_,'\u00a0\u00ad\u200b\u200c\u200d\u2060\ufeff", ""))
_LABEL: Final = re.compile(r"‹[^‹›\n]{1,200}›")
_OWNER: Final = re.compile(r"[\w.:@-]{1,60}")
_TOKEN: Final = re.compile(r"\s*attr-[a-z][a-z0-9_]*:cnry-[\w.-]+?-[0-9a-f]{8}")
_BEFORE: Final = re.compile(r"(?:\S*\d\S*[ \t]+)+$|\S+[ \t]*$")
# What stands in a field that has no value.
_EMPTY: Final = frozenset(
    (
        *("unknown", "none", "null", "true", "false", "redacted", "masked", "hidden", "missing"),
        *("empty", "undefined", "required", "optional", "unused", "dummy", "test", "placeholder"),
        *("changeme", "secret"),
    )
)


class Mask:
    """Replaces what must not be read: `‹iban of s1›` for an attribute, `‹secret›` for a
    credential. Masking what is masked changes nothing."""

    __slots__ = (
        "_all",
        "_edges",
        "_heads",
        "_labels",
        "_literals",
        "_off",
        "_scan",
        "_seen",
        "_values",
    )

    def __init__(self, values: Mapping[str, str] | None = None, /, *, off: bool = False) -> None:
        """`values`: each text that must not be seen, with what stands in its place."""
        self._off = off
        self._values: dict[str, str] = {}
        self._literals: dict[str, str] = {}
        self._heads: dict[str, tuple[int, ...]] = {}  # first characters -> lengths, longest first
        for text, label in (values or {}).items():
            forms = {form for form in (folded(text), folded_as_is(text)) if len(form) >= _LEAST}
            if not forms:
                self._literals[text] = label
            for form in sorted(forms):
                known = self._values.setdefault(form, label)
                if known != label:  # of several people: nobody's
                    self._values[form] = _ownerless(known)
        for form in self._values:
            there = self._heads.get(form[:_HEAD], ())
            if len(form) not in there:
                self._heads[form[:_HEAD]] = tuple(sorted((*there, len(form)), reverse=True))
        self._seen: dict[str, str] = {}
        self._edges: tuple[dict[str, str], dict[str, str]] | None = None  # made when first needed
        # A few are looked for by one expression; many of them more quickly one position at a time.
        few = 0 < len(self._heads) <= _FEW
        self._scan = re.compile("|".join(map(re.escape, self._heads))) if few else None
        self._all = "\n".join(self._values)
        labels = {*self._values.values(), *self._literals.values()}
        self._labels = {SECRET, *labels, *map(_ownerless, labels)}

    def text(self, text: str, /) -> str:
        """The text without what must not be read; one that holds nothing of it as it is."""
        if self._off:
            return text
        known = self._seen.get(text)
        if known is not None:
            return known
        masked, new = text, self._once(text)
        while new != masked:
            masked, new = new, self._once(new)
        if len(text) >= _CUT_TEXT and self._heads:  # it may have been cut without a sign of it
            behind = self._cut_edge(masked, behind=True, before=False)
            masked = self._cut_edge(behind, behind=False, before=True)
        if len(text) <= _SEEN_CHARS_MAX and len(self._seen) < _SEEN_MAX:
            self._seen[text] = masked
        return masked

    def json(self, value: Json, /) -> Json:
        """A JSON value of the same structure; names of fields are masked too."""
        if self._off:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bool) or value is None or isinstance(value, float):
            return value
        if isinstance(value, int):
            return self._values.get(str(abs(value)), value)
        if isinstance(value, Mapping):
            out: dict[str, Json] = {}
            for name, item in value.items():
                hidden = isinstance(item, str) and item and names_a_secret(name)
                out[self._field(name, out)] = SECRET if hidden else self.json(item)
            return out
        return [self.json(item) for item in value]

    def _field(self, name: str, there: Mapping[str, Json]) -> str:
        """The name of a field; two that became the same are told apart by a number."""
        shown = new = self.text(name)
        number = 1
        while new in there:
            number += 1
            new = f"{shown} ({number})"
        return new

    def _once(self, text: str) -> str:
        """One step, around the labels that stand there already."""
        if "‹" not in text:
            return self._piece(text)
        out: list[str] = []
        last = 0
        for found in _LABEL.finditer(text):
            if found.group() in self._labels:
                out += (self._piece(text[last : found.start()]), found.group())
                last = found.end()
        out.append(self._piece(text[last:]))
        return "".join(out)

    def _piece(self, text: str) -> str:
        new = without_credentials(text)
        if new != text:
            return new  # the next step sees what is left of it
        for literal, label in self._literals.items():
            if literal in text:
                return text.replace(literal, label)
        if not self._heads:
            return text
        new = self._replaced(text, escapes=False) if self._in(folded_as_is(text)) else text
        if new == text and has_escapes(text) and self._in(folded(text)):
            new = self._replaced(text, escapes=True)
        return self._cut(text) if new == text and "…" in text else new

    def _in(self, chars: str) -> bool:
        if self._scan is not None and self._scan.search(chars) is None:
            return False
        heads, values = self._heads, self._values
        for at in range(len(chars) - _HEAD + 1):
            head = chars[at : at + _HEAD]
            if head in heads and any(chars[at : at + size] in values for size in heads[head]):
                return True
        return False

    def _replaced(self, text: str, *, escapes: bool) -> str:
        chars, starts, ends = spelled(text, escapes=escapes)
        out: list[str] = []
        at = last = 0
        while at <= len(chars) - _HEAD:
            for size in self._heads.get(chars[at : at + _HEAD], ()):
                label = self._values.get(chars[at : at + size])
                end = at + size - 1
                if label is None or len(chars) <= end:
                    continue
                if size < _LONG and not _stands_alone(text, starts, ends, at, end):
                    continue
                out += (text[last : starts[at]], label)
                last, at = ends[end], end
                break
            at += 1
        out.append(text[last:])
        return "".join(out)

    def _cut(self, text: str) -> str:
        """The text without what is left of a long value that was cut to fit on a line."""
        parts = text.split("…")
        for n, part in enumerate(parts):
            parts[n] = self._cut_edge(part, behind=n + 1 < len(parts), before=n > 0)
            if parts[n] == part and 0 < n < len(parts) - 1 and len(part) <= _CUT_SPELLED:
                chars = folded(part)
                if len(chars) >= _CUT and chars in self._all:
                    parts[n] = next((lb for v, lb in self._values.items() if chars in v), part)
        return "…".join(parts)

    def _cut_edge(self, part: str, /, *, behind: bool, before: bool) -> str:
        """A part of a text, cut off before or behind, without half a value there."""
        if self._edges is None:
            self._edges = {}, {}
            for value, label in self._values.items():
                for size in range(_CUT, min(len(value), _CUT_MAX) if len(value) >= _LONG else 0):
                    for edges, edge in zip(self._edges, (value[:size], value[-size:]), strict=True):
                        known = edges.setdefault(edge, label)
                        edges[edge] = label if known == label else _ownerless(label)
        heads, tails = self._edges
        if behind:
            rest, end = part[:-_CUT_SPELLED], part[-_CUT_SPELLED:]
            chars, starts, ends = spelled(end)
            for size in range(min(len(chars), _CUT_MAX), _CUT - 1, -1):
                edge = chars[-size:]
                if edge in heads:
                    return rest + end[: starts[-size]] + heads[edge] + end[ends[-1] :]
        if before:
            end, rest = part[:_CUT_SPELLED], part[_CUT_SPELLED:]
            chars, starts, ends = spelled(end)
            for size in range(min(len(chars), _CUT_MAX), _CUT - 1, -1):
                edge = chars[:size]
                if edge in tails:
                    return end[: starts[0]] + tails[edge] + end[ends[size - 1] :] + rest
        return part


def _ownerless(label: str) -> str:
    """`‹iban of s1›` as `‹iban›`: where it may be another's."""
    return f"{label.partition(' of ')[0].rstrip('›')}›"


def _stands_alone(
    text: str, starts: Sequence[int], ends: Sequence[int], first: int, last: int
) -> bool:
    """Whether the characters from first to last are next to each other, and no number goes on
    before or behind them, nor a word."""
    for n in range(first, last):
        if text[ends[n] : starts[n + 1]] not in _THIN:
            return False
    before = text[max(0, starts[first] - 1) : starts[first]]
    behind = text[ends[last] : ends[last] + 1]
    return not (_goes_on(before, text[starts[first]]) or _goes_on(behind, text[ends[last] - 1]))


def _goes_on(outer: str, inner: str) -> bool:
    return (outer.isdigit() and inner.isdigit()) or (outer.isalpha() and inner.isalpha())


NO_MASK: Final = Mask(off=True)


def mask_of(contract: Contract, views: Iterable[View], /, *, more: Iterable[str] = ()) -> Mask:
    """The mask for everything that is made from some histories. `more` are texts that the caller
    knows to be secret. Without attributes in the contract the histories are not even read."""
    values: dict[str, str] = {}
    for text in (*_secrets_of(contract), *more):
        if len(text) >= _LEAST:
            values[text] = SECRET
    if contract.attributes:
        known = _Known(contract)
        for view in views:
            for op in view.ops:
                known.learn(op)
        values = {**known.values(), **values}
    return Mask(values)


def _secrets_of(contract: Contract) -> Iterator[str]:
    """Credentials that a contract itself hands to the agent and to services."""
    target = contract.target
    tables = [service.env for service in contract.services.values()]
    if target is not None:
        tables += [target.env, target.submit.headers]
    for table in tables:
        for name, text in table.items():
            if _keeps_a_secret(name) and "{" not in text and len(text) > _LEAST:
                bare = text.partition(" ")[2] if text[:6].lower() in ("bearer", "basic ") else text
                if bare.strip().lower() not in _EMPTY:
                    yield bare.strip()


def _keeps_a_secret(name: str) -> bool:
    parts = ("key", "token", "secret", "password", "passwd", "credential", "authorization")
    return any(part in name.lower() for part in parts)


class _Known:
    """The values of a contract's attributes, as they are met in histories."""

    def __init__(self, contract: Contract) -> None:
        self._fields = {folded(name): name for name in contract.attributes}
        self._homes = tuple(
            place.removeprefix("memory:")
            for rule in contract.attributes.values()
            for place in rule.allowed
            if place.startswith("memory:")
        )
        self._found: dict[str, set[tuple[str, str]]] = {}  # value -> (attribute, owner)

    def learn(self, op: Op) -> None:
        """Takes the values out of one entry: a task's, a service's answer, or a memory item's."""
        if op.f == "task.submit":
            self._planted(op.get("prompt"), op.session, alone=False, written=False)
            self._walk(op.get("data"), op.session, written=False)
        elif op.type == "ok" and op.f.startswith("tools."):
            # A customer whom the agent looked up; but a service may repeat what it was sent.
            self._walk(op.value, op.session, written=True)
        elif op.f.startswith("memory.") or op.f == "final.memory":
            for id, value in _items(op):
                if id.startswith(self._homes):
                    self._walk(value, op.session, written=True)

    def values(self) -> dict[str, str]:
        """Each value with what stands in its place."""
        plain = {
            text: min(f"‹{name} of {owner}›" if owner else f"‹{name}›" for name, owner in rows)
            for text, rows in self._found.items()
        }
        for text, rows in self._found.items():
            if len({owner for _, owner in rows}) > 1:
                plain[text] = f"‹{min(name for name, _ in rows)}›"
        # Where an owner's name is itself such a value, it must not stand in the label.
        core = Mask(plain)
        for text, label in plain.items():
            inner = label[1:-1]
            if core.text(inner) != inner:
                plain[text] = _ownerless(label)
        return plain

    def _walk(self, value: Any, owner: str, *, written: bool, name: str = "") -> None:
        if isinstance(value, Mapping):
            for field, item in value.items():
                inside = self._fields.get(folded(field), name)
                self._walk(item, owner, written=written, name=inside)
        elif isinstance(value, (list, tuple)):
            for item in value:
                self._walk(item, owner, written=written, name=name)
        elif isinstance(value, str):
            planted = self._planted(value, owner, alone=not written, written=written)
            if name and not planted:
                self._note(value, name, owner, written=written)
        elif name and type(value) is int:
            self._note(str(abs(value)), name, owner, written=written)

    def _planted(self, text: Any, owner: str, *, alone: bool, written: bool) -> bool:
        """Takes values that stand before a token; `alone`: the text is such a value and nothing
        else. In a sentence nobody can tell where it begins: it is what has digits in it."""
        if not isinstance(text, str) or "attr-" not in text:
            return False
        last = 0
        for found in _TOKEN.finditer(text):
            [(_, name, whose)] = attributes_in(found.group())
            before = text[last : found.start()].strip()
            last = found.end()
            if not alone and before:
                near = _BEFORE.search(before + " ")
                before = near.group().strip() if near else ""
            if name in self._fields.values() and before:
                for value in (before, before + found.group()):
                    self._note(value, name, whose or owner, written=written)
        return last > 0

    def _note(self, text: str, name: str, owner: str, *, written: bool) -> None:
        text = text.strip()
        form = folded(text)
        if len(text) < _LEAST or not form or form in _EMPTY:
            return
        # An agent wrote it: a plain word that it calls an iban must not blot out the report's.
        marked = any(c.isdigit() for c in form) or "@" in text
        if written and not (len(form) >= _LONG and marked):
            return
        owner = owner if _OWNER.fullmatch(owner) else ""
        self._found.setdefault(text, set()).add((name, owner))


def _items(op: Op) -> Iterator[tuple[str, Any]]:
    """The memory items in an entry, as (id, value)."""
    for rows in (op.get("items"), op.get("writes")):
        for row in rows if isinstance(rows, (list, tuple)) else ():
            if isinstance(row, Mapping):
                yield str(row.get("id", "")), row.get("value")
    if op.get("value") is not None:
        yield str(op.get("id") or op.marker), op.get("value")
