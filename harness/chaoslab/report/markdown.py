"""Markdown in which words of others stay words: spans, blocks and cells that nothing leaves.

A comment on a pull request is written with the pipeline's name under it. So whatever an agent can
have put into a history stands in code, behind a fence that is longer than any in it: there no
mention calls anybody, no image is fetched, no link and no HTML acts.

>>> span("@team ``` <b>")
'```` @team ``` <b> ````'
>>> plain("refund: one action stands more than once"), plain("look at www.x.y")
('refund: one action stands more than once', '`look at www.x.y`')
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from chaoslab.core.visible import visible

# Words and gentle punctuation: nothing here is a sign of Markdown, a link, a number of an issue or
# a hash of a commit.
_PLAIN: Final = re.compile(r"[A-Za-z]+(?:[ ,;]+[A-Za-z]+|: [A-Za-z]+|'[a-z]+|-[a-z]+|×)*")
_HEX: Final = re.compile(r"\b[A-Fa-f]{7,}\b")
_WWW: Final = re.compile(r"www|http|ftp|mailto|xmpp", re.I)


def cut(text: str, most: int, /) -> str:
    """The text, cut with a mark where it is longer.

    >>> cut("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def span(text: str, /, *, most: int = 200) -> str:
    """Code within a line or a cell of a table; a bar, which would end the cell, as `¦`."""
    # Cut before anything is spelled out, too: what is not shown need not be looked at.
    words = " ".join(visible(cut(text, 2 * most)).split())
    words = cut(words.replace("|", "¦"), most)
    if not words:
        return "-"
    fence = "`" * (_longest(words) + 1)
    return f"{fence}{words}{fence}" if len(fence) == 1 else f"{fence} {words} {fence}"


def plain(text: str, /, *, most: int = 200) -> str:
    """Words as they are where there is nothing in them but words; else as code."""
    if len(text) <= most and _PLAIN.fullmatch(text):
        if not _HEX.search(text) and not _WWW.search(text):
            return text
    return span(text, most=most)


def block(lines: Iterable[str], /, *, most: int = 4_000) -> str:
    """Code as lines of their own."""
    shown, used = [], 0
    for line in lines:
        if used > most:
            break
        shown.append(visible(cut(line, most)))
        used += len(shown[-1]) + 1
    text = cut("\n".join(shown), most)
    fence = "`" * max(3, _longest(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def row(cells: Sequence[str], /) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], body: Iterable[str], /) -> list[str]:
    """A table; `body` are rows."""
    return [row(head), row(["---"] * len(head)), *body]


def size(text: str, /) -> int:
    """How many bytes a text has as UTF-8."""
    return len(text.encode("utf-8", "surrogatepass"))


def _longest(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
