"""Finds the two kinds of marked strings that a workload plants, in one walk per entry.

- a canary, `cnry-SESSION-0123abcd`, belongs to one session and must not turn up in another;
- a revision mark, `[GROUP:REVISION:PART]`, tells which write a piece of a value came from.

Both are plain text so that they survive prompts, templates and models. A value that an agent
encodes or encrypts hides them: such a crossing is not seen, and the report says so.

>>> canaries_in("mail to Ada cnry-s1-0123abcd now")
[('cnry-s1-0123abcd', 's1')]
>>> marks_in("Elm Street 5 [address:r2:street]")
[('address', 'r2', 'street')]
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from chaoslab.history import Op, View

Mark = tuple[str, str, str]  # (group, revision, part)

# Not greedy: two canaries with nothing but a dash between them are still two.
_CANARY: Final = re.compile(r"cnry-([\w.-]+?)-[0-9a-f]{8}")
_MARK: Final = re.compile(r"\[([\w.-]+):([\w.-]+):([\w.-]+)\]")

# Answers of these ports are the world's words, not the agent's; nothing is judged by them.
_ANSWERS: Final = frozenset(("ok", "fail", "info"))
# Final readings and the lab's own entries repeat what stood in the history before.
_LAB: Final = ("final.", "lab.", "nemesis.", "process.", "region.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """An entry with the marked strings in it. `marks` may repeat; the order has no meaning."""

    op: Op
    canaries: tuple[tuple[str, str], ...]  # (the token, the session that owns it)
    marks: tuple[Mark, ...]


def canaries_in(text: str, /) -> list[tuple[str, str]]:
    """Each canary in a text with its session."""
    return [(m[0], m[1]) for m in _CANARY.finditer(text)]


def marks_in(text: str, /) -> list[Mark]:
    """Each revision mark in a text."""
    return [(m[1], m[2], m[3]) for m in _MARK.finditer(text)]


def texts_of(value: Any, /) -> list[str]:
    """The strings inside a JSON value that could carry a token, names of fields included."""
    found: list[str] = []
    stack = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is str:
            if "cnry-" in item or "[" in item:
                found.append(item)
        elif kind is dict:
            stack.extend(item.values())
            for name in item:
                if "cnry-" in name or "[" in name:
                    found.append(name)
        elif kind is list or kind is tuple:
            stack.extend(item)
        elif isinstance(item, str):
            stack.append(str(item))
    return found


def marks_of(value: Any, /) -> list[Mark]:
    """Each revision mark anywhere in a JSON value."""
    return [mark for text in texts_of(value) for mark in marks_in(text)]


def scan(view: View, /) -> tuple[Sighting, ...]:
    """Every entry that says something on the agent's side and carries a token."""
    found = []
    for op in view.ops:
        if op.type in _ANSWERS:
            # A Wasm guest belongs to the agent, so what it puts out is the agent's word.
            if op.type != "ok" or not op.f.startswith("wasm."):
                continue
        elif op.type == "event" and op.f.startswith(_LAB):
            continue
        texts = texts_of(op.value)
        if op.key is not None and "cnry-" in op.key:
            texts.append(op.key)
        if not texts:
            continue
        canaries: list[tuple[str, str]] = []
        marks: list[Mark] = []
        for text in texts:
            if "cnry-" in text:
                canaries += canaries_in(text)
            if "[" in text:
                marks += marks_in(text)
        if canaries or marks:
            found.append(Sighting(op=op, canaries=tuple(canaries), marks=tuple(marks)))
    return tuple(found)
