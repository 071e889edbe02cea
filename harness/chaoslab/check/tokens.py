"""Finds the three kinds of marked strings that a workload plants, in one walk per entry.

- a canary, `cnry-SESSION-0123abcd`, belongs to one session and must not turn up in another;
- an attribute, `attr-NAME:` and a canary, stands beside a sensitive value and says what it is;
- a revision mark, `[GROUP:REVISION:PART]`, tells which write a piece of a value came from.

All are plain text so that they survive prompts, templates and models. A value that an agent
encodes or encrypts hides them: such a crossing is not seen, and the report says so.

>>> canaries_in("mail to Ada cnry-s1-0123abcd now")
[('cnry-s1-0123abcd', 's1')]
>>> marks_in("Elm Street 5 [address:r2:street]")
[('address', 'r2', 'street')]
>>> attributes_in("DE02 1203 attr-iban:cnry-s1-0123abcd")
[('attr-iban:cnry-s1-0123abcd', 'iban', 's1')]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from chaoslab.history import Op, View

Mark = tuple[str, str, str]  # (group, revision, part)
AttributeToken = tuple[str, str, str]  # (the token, the attribute's name, whose it is)

# Not greedy: two canaries with nothing but a dash between them are still two.
_CANARY: Final = re.compile(r"(cnry-([\w.-]+?)-[0-9a-f]{8})")
_ATTRIBUTE: Final = re.compile(r"(attr-([a-z][a-z0-9_]*):cnry-([\w.-]+?)-[0-9a-f]{8})")
_MARK: Final = re.compile(r"\[([\w.-]+):([\w.-]+):([\w.-]+)\]")

# Answers of these ports are the world's words, not the agent's; nothing is judged by them.
_ANSWERS: Final = frozenset(("ok", "fail", "info"))
# Final readings and the lab's own entries repeat what stood in the history before.
_LAB: Final = ("final.", "lab.", "nemesis.", "process.", "region.")


class Sighting(NamedTuple):
    """An entry with the marked strings in it. `marks` may repeat; the order has no meaning.

    `messages` is only there for a prompt: per message, whether the model itself said it, and
    its marks.
    """

    op: Op
    canaries: Sequence[tuple[str, str]]  # (the token, the session that owns it)
    marks: Sequence[Mark]
    messages: Sequence[tuple[bool, Sequence[Mark]]] = ()
    attributes: Sequence[AttributeToken] = ()


def canaries_in(text: str, /) -> list[tuple[str, str]]:
    """Each canary in a text with its session."""
    return _CANARY.findall(text)


def marks_in(text: str, /) -> list[Mark]:
    """Each revision mark in a text."""
    return _MARK.findall(text)


def attributes_in(text: str, /) -> list[AttributeToken]:
    """Each attribute token in a text. The canary in it is a canary like any other."""
    return _ATTRIBUTE.findall(text)


def masked(text: str, /) -> str:
    """A text for people to read: one that holds an attribute is left out as a whole, since
    nobody can tell where the value ends that stands beside the token.

    >>> masked("pay to DE02 1203 attr-iban:cnry-s1-0123abcd")
    '(text with the iban of s1)'
    """
    found = _ATTRIBUTE.findall(text) if "attr-" in text else ()
    if not found:
        return text
    held = dict.fromkeys(f"the {name} of {session}" for _, name, session in found)
    return f"(text with {' and '.join(held)})"


def texts_of(value: Any, /) -> list[str]:
    """The strings inside a JSON value that could carry a token, names of fields included."""
    found: list[str] = []
    _collect((value,), found)
    return found


def _collect(values: Iterable[Any], found: list[str]) -> None:
    # This walk is most of what a judgement costs, so it tests types the quick way; the plain
    # JSON of a history holds no subclasses.
    for item in values:
        kind = type(item)
        if kind is str:
            if "cnry-" in item or "[" in item:
                found.append(item)
        elif kind is dict:
            for name in item:
                if "cnry-" in name or "[" in name:
                    found.append(name)
            _collect(item.values(), found)
        elif kind is list or kind is tuple:
            _collect(item, found)


def scan(view: View, /) -> tuple[Sighting, ...]:
    """Every entry that says something on the agent's side and carries a token."""
    found = []
    for op in view.ops:
        value = op.value
        kind = op.type
        if value is None or kind in _ANSWERS:
            # A Wasm guest belongs to the agent, so what it puts out is the agent's word.
            if kind != "ok" or op.f[:5] != "wasm.":
                continue
        elif kind == "event" and op.f.startswith(_LAB):
            continue
        if op.f == "model.complete" and kind == "invoke":
            sighting = _prompt(op)
        else:
            texts: list[str] = []
            _collect((value,), texts)
            if op.key is not None and "cnry-" in op.key:
                texts.append(op.key)
            if not texts:
                continue
            canaries, marks, attributes = _tokens(texts)
            sighting = Sighting(op, canaries, marks, (), attributes)
        if sighting.canaries or sighting.marks:
            found.append(sighting)
    return tuple(found)


def _prompt(op: Op) -> Sighting:
    """A prompt message by message, since one message is one use of what stands in it."""
    canaries: list[tuple[str, str]] = []
    marks: list[Mark] = []
    attributes: list[AttributeToken] = []
    messages: list[tuple[bool, Sequence[Mark]]] = []
    listed = op.get("messages")
    for message in listed if isinstance(listed, (list, tuple)) else (op.value,):
        texts = texts_of(message)
        own: Sequence[Mark] = ()
        if texts:
            more, own, held = _tokens(texts)
            canaries += more
            marks += own
            attributes += held
        by_model = isinstance(message, dict) and message.get("role") == "assistant"
        messages.append((by_model, own))
    return Sighting(op, canaries, marks, messages, attributes)


def _tokens(
    texts: Iterable[str],
) -> tuple[list[tuple[str, str]], list[Mark], list[AttributeToken]]:
    canaries: list[tuple[str, str]] = []
    marks: list[Mark] = []
    attributes: list[AttributeToken] = []
    for text in texts:
        if "cnry-" in text:
            canaries += _CANARY.findall(text)
            if "attr-" in text:
                attributes += _ATTRIBUTE.findall(text)
        if "[" in text:
            marks += _MARK.findall(text)
    return canaries, marks, attributes
