r"""The letters and digits of a text, however it spells them: how a value is known again.

Whoever leaks a value seldom writes it as he got it. A logger escapes it, a URL encodes it, a mail
sets it in HTML, a terminal colours a part of it, a file system takes its accents apart. What stays
are its letters and digits, so they are what is compared: in one case, without accents.

>>> folded("Jos\u00e9 %C3%81lvarez, DE02&nbsp;1203")
'josealvarezde021203'
>>> folded("Jose\u0301") == folded("JOS\u00c9") == folded(r"Jos\u00e9") == "jose"
True
"""

from __future__ import annotations

import html
import re
import sys
import unicodedata
from typing import Final

_HEX: Final = "[0-9a-fA-F]"
_BYTE: Final = r"(?:%(?:25)*|\\+x)"  # a percent sign that was encoded itself is `%25`
# What stands for another character or for none; `_escaped` says for which. Else a letter or digit.
_SPELLED: Final = re.compile(
    r"(?:\x1b|\\+(?:x1b|u001b|033|e))\[[0-9;]*[A-Za-z]"
    r"|</?(?:b|i|u|s|p|br|em|li|td|tr|div|span|code|strong|wbr) ?/?>"
    r"|\\+[nrtbf]"
    rf"|(?P<pair>\\+u[dD][89abAB]{_HEX}{{2}}\\+u[dD][c-fC-F]{_HEX}{{2}})"
    rf"|\\+u(?P<u>{_HEX}{{4}})|\\+U(?P<long>{_HEX}{{8}})"
    rf"|(?P<bytes>{_BYTE}[c-fC-F]{_HEX}(?:{_BYTE}[89abAB]{_HEX}){{1,3}})"
    rf"|{_BYTE}(?P<x>{_HEX}{{2}})"
    rf"|(?P<name>&(?:#\d{{1,7}}|#[xX]{_HEX}{{1,6}}|[A-Za-z][A-Za-z0-9]{{1,9}});)"
    r"|[^\W_]"
)
_DIGITS: Final = re.compile(rf"(?:%(?:25)*|[xu])({_HEX}{{2,4}})")
_LETTER: Final = re.compile(r"[^\W_]")
_GAPS: Final = re.compile(r"[\W_]+")
_ESCAPES: Final = re.compile(r"[\\%&<\x1b]")
# Letters with a stroke, which no table of accents takes apart.
_STROKES: Final = {"ł": "l", "ø": "o", "đ": "d", "ı": "i"}


class _Plain(dict[int, str]):
    """Each character in one case and without its accents; it is worked out once."""

    def __missing__(self, code: int) -> str:
        apart = unicodedata.normalize("NFKD", chr(code).casefold()).casefold()
        kept = "".join(_STROKES.get(c, c) for c in apart if c.isalnum())
        found = self[code] = unicodedata.normalize("NFC", kept)
        return found


_PLAIN: Final = _Plain()

Spelled = tuple[str, list[int], list[int]]


def has_escapes(text: str, /) -> bool:
    """Whether something in a text may stand for another character."""
    return _ESCAPES.search(text) is not None


def folded(text: str, /) -> str:
    """The letters and digits of a text, escapes read as what they stand for."""
    return spelled(text)[0] if has_escapes(text) else folded_as_is(text)


def folded_as_is(text: str, /) -> str:
    """The letters and digits as they stand there: in `CORP\\frank` no line ends."""
    bare = _GAPS.sub("", text)
    return bare.lower() if bare.isascii() else bare.translate(_PLAIN)


def spelled(text: str, /, *, escapes: bool = True) -> Spelled:
    """The same with where in the text each character begins and ends."""
    chars: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for found in (_SPELLED if escapes else _LETTER).finditer(text):
        start, end = found.span()
        for char in found.group() if end - start == 1 else _meant(found):
            for plain in _PLAIN[ord(char)]:
                chars.append(plain)
                starts.append(start)
                ends.append(end)
    return "".join(chars), starts, ends


def _meant(found: re.Match[str]) -> str:
    """The characters that an escape stands for."""
    kind = found.lastgroup
    if kind is None:
        return ""
    text = found.group()
    if kind == "name":
        return html.unescape(text)
    if kind in ("bytes", "pair"):
        digits = "".join(_DIGITS.findall(text))
        whole = bytes.fromhex(digits)
        return whole.decode("utf-8" if kind == "bytes" else "utf-16-be", "ignore")
    code = int(found[kind], 16)
    return chr(code) if code <= sys.maxunicode else ""
