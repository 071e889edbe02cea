r"""Writes a scenario as the TOML that reads back to the same scenario.

A case that was shrunk is only of use as a file that a person can read and run, so this is a form
for people: only what differs from the defaults is said, in the order in which the packaged files
say it. Whatever stands in names and titles is data, and comes back unchanged; characters that
nobody could see are spelled out.

>>> from chaoslab.faults import Fault
>>> lost = Fault(at="tools:keyed", phase="after-commit", kind="silence", task="s1-t1")
>>> case = Scenario(name="lost", title='The "reply" is lost', family="mine", faults=(lost,))
>>> print(scenario_toml(case, comments=["Found by a sweep."]), end="")
# Found by a sweep.
<BLANKLINE>
format = 1
name   = "lost"
title  = "The \"reply\" is lost"
family = "mine"
<BLANKLINE>
[[faults]]
at    = "tools:keyed"
phase = "after-commit"
kind  = "silence"
task  = "s1-t1"
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, Final

from chaoslab.core.errors import ScenarioError
from chaoslab.core.visible import visible
from chaoslab.scenario.loader import FORMAT
from chaoslab.scenario.model import Scenario

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHORT: Final = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\t": r"\t", "\r": r"\r"}


def scenario_toml(scenario: Scenario, /, *, comments: Sequence[str] = ()) -> str:
    """The scenario as a file; `comments` stand above it, a line of text each.

    ScenarioError where a text cannot stand in any file (half of a surrogate pair).
    """
    schedule = {
        **_said(scenario.schedule, but=("choices",)),
        **_said(scenario, only=("heal_after_ms", "linger_ms")),
    }
    choices = scenario.schedule.choices
    releases = [{"release": one.session, "at_ms": one.at_ms} for one in scenario.operator]
    blocks = [
        *_comments(comments),
        _block("", {"format": FORMAT} | _said(scenario, only=_TOP)),
        *_table("workload", _said(scenario.workload)),
        *_table("regions", _said(scenario.regions)),
        *_table("schedule", schedule),
        # An empty table says something: that every decision is the plainest one.
        *([] if choices is None else [_block("[schedule.choices]", choices)]),
        *(_block("[[faults]]", _said(one)) for one in scenario.faults),
        *(_block("[[operator]]", one) for one in releases),
        *_table("limits", _said(scenario.limits)),
    ]
    return "\n\n".join(blocks) + "\n"


_TOP: Final = ("name", "title", "family", "needs", "expect")


def fault_table(fault: Any, /) -> dict[str, Any]:
    """A fault as the keys that a file says of it.

    >>> from chaoslab.faults import Fault
    >>> fault_table(Fault(at="memory.read", phase="before-send", kind="delay", for_ms=5))
    {'at': 'memory.read', 'phase': 'before-send', 'kind': 'delay', 'for_ms': 5}
    """
    return _said(fault)


def _said(value: Any, *, only: Sequence[str] = (), but: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a value that differ from their defaults, by name."""
    out = {}
    for one in fields(value):
        if one.name in but or (only and one.name not in only):
            continue
        default = one.default if one.default_factory is MISSING else one.default_factory()
        found = getattr(value, one.name)
        if found != default:
            out[one.name] = found
    return out


def _comments(lines: Sequence[str]) -> Iterator[str]:
    parts = [part for line in lines for part in line.splitlines() or [""]]
    if parts:
        yield "\n".join(f"# {visible(part)}".rstrip() for part in parts)


def _table(name: str, entries: Mapping[str, Any]) -> Iterator[str]:
    if entries:
        yield _block(f"[{name}]", entries)


def _block(head: str, entries: Mapping[str, Any]) -> str:
    """A table with its signs of equality below each other."""
    keys = {name: _key(name) for name in entries}
    width = max(map(len, keys.values()), default=0)
    lines = [f"{keys[name].ljust(width)} = {_value(value)}" for name, value in entries.items()]
    return "\n".join([head, *lines] if head else lines)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items())
        return f"{{ {inner} }}"
    return f"[{', '.join(_value(one) for one in value)}]"


def _text(text: str) -> str:
    return '"' + "".join(_escaped(char, text) for char in text) + '"'


def _escaped(char: str, text: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:
        raise ScenarioError(
            "this text cannot be written to a file", value=text, allowed="whole characters"
        )
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
