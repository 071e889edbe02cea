"""What `chaoslab explain CHECK` prints: a check in plain words.

>>> print(explain("limits.recovery").splitlines()[0])
limits.recovery: recovery is quick enough
"""

from __future__ import annotations

import textwrap

from chaoslab.check.texts import TEXTS
from chaoslab.core.errors import UsageError

_WIDTH = 88


def explain(check_id: str, /) -> str:
    """A check explained; UsageError where there is none of that name."""
    text = TEXTS.get(check_id)
    if text is None:
        raise UsageError("there is no such check", value=check_id, allowed=", ".join(TEXTS))
    lines = [f"{check_id}: {text.title}", ""]
    lines += _part("What breaks", text.breaks)
    lines += _part("What is looked at", text.looks)
    for code, meaning in text.means.items():
        lines += [code, *_wrapped(meaning)]
        for name, todo in text.todo.items():
            head, _, anomaly = name.partition("/")
            if head == code:
                lines += _wrapped(f"→ {f'({anomaly}) ' if anomaly else ''}{todo}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _part(head: str, body: str) -> list[str]:
    return [head, *_wrapped(body), ""]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
