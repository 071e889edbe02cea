"""What `chaoslab explain` prints: a check, or one code of a check, in plain words.

>>> print(explain("limits.recovery").splitlines()[0])
limits.recovery: recovery is quick enough
>>> print(explain("too-slow").splitlines()[0])
too-slow, a breach of limits.recovery: recovery is quick enough
"""

from __future__ import annotations

import difflib
import textwrap

from chaoslab.check.texts import TEXTS, CheckText
from chaoslab.core.errors import UsageError

_WIDTH = 88


def explain(name: str, /) -> str:
    """A check or a code explained; UsageError where there is none of that name."""
    text = TEXTS.get(name)
    if text is not None:
        lines = [f"{name}: {text.title}", ""]
        lines += _part("What breaks", text.breaks)
        lines += _part("What is looked at", text.looks)
        for code in text.means:
            lines += [code, *_code(text, code), ""]
        return "\n".join(lines).rstrip() + "\n"
    lines = []
    for check, text in TEXTS.items():
        if name in text.means:
            lines += [f"{name}, a breach of {check}: {text.title}", *_code(text, name), ""]
            lines += _part("What breaks", text.breaks)
    if not lines:
        raise UsageError(
            "there is no such check, and no such code",
            value=name,
            allowed=", ".join(TEXTS),
            hint=_near(name),
        )
    return "\n".join(lines).rstrip() + "\n"


def _near(name: str) -> str:
    """The names that are most like a wrong one."""
    names = [*TEXTS, *(code for text in TEXTS.values() for code in text.means)]
    inside = [known for known in names if name and name in known]
    near = [*inside, *difflib.get_close_matches(name, names, n=3)]
    return f"did you mean {' or '.join(dict.fromkeys(near[:3]))}?" if near else "chaoslab list"


def _code(text: CheckText, code: str) -> list[str]:
    lines = _wrapped(text.means[code])
    for name, todo in text.todo.items():
        head, _, anomaly = name.partition("/")
        if head == code:
            lines += _wrapped(f"→ {f'({anomaly}) ' if anomaly else ''}{todo}")
    return lines


def _part(head: str, body: str) -> list[str]:
    return [head, *_wrapped(body), ""]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
