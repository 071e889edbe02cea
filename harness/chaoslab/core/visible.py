r"""Text of others, fit for a terminal, a log and a page: what would act or hide is spelled out.

Whatever an agent puts into a history is data. Printed as it is, an escape sequence would repaint
the terminal, a line break would forge a line of the report, an override of the writing direction
would make a name read as another, and `::set-output` would be a command to the pipeline that
prints it. So each such character becomes an escape that people know from source code. Words in
any language, and emoji, stay as they are.

>>> visible("Żółć, 東京, שלום, 👩‍👧")
'Żółć, 東京, שלום, 👩‍👧'
>>> print(visible("ok\x1b[2J\nHELD  all is fine\u202e"))
ok\x1b[2J\nHELD  all is fine\u202e
>>> print(visible("first\n::error::second", lines=True))
first
\x3a:error::second
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_JOINERS: Final = "\u200c\u200d"
# Format characters, those of Arabic and Kaithi left out that can be seen; a list instead of a look
# at each character of Unicode, since this is imported by every command.
_FORMAT: Final = (
    "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
# The others that nobody can see, and those that cannot be written to a file.
_HIDDEN: Final = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2028\u2029\u2800\u3164\uffa0"
    "\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(1, 17))
)
_SELECTORS: Final = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
_ODD: Final = re.compile(
    rf"[\x00-\x1f\x7f-\x9f{_FORMAT}{_HIDDEN}]"
    # One selector chooses how the sign before it looks; a row of them hides a message.
    rf"|(?<=[{_SELECTORS}])[{_SELECTORS}]"
)
# What pipelines take for a command: `::name …` and `##teamcity[` where a line begins,
# `##[name]` and `##vso[` anywhere.
_COMMAND: Final = re.compile(r"(?m)^([^\S\n]*):(?=:[A-Za-z])|()#(?=#\w*\[)")
_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_LETTERS: Final = frozenset(("Lo", "Mn", "Mc", "So", "Sk"))


def visible(text: str, /, *, lines: bool = False) -> str:
    """The text with everything spelled out that would act or that nobody can see; plain text is
    returned as it is. With `lines` line breaks stay, where a place shows several lines.

    What comes out is the same when it goes in again.
    """
    if not (text.isascii() and text.isprintable()):
        text = _ODD.sub(lambda found: _escape(found, lines), text)
    if "::" in text or "##" in text:
        text = _COMMAND.sub(_defused, text)
    return text


def _escape(found: re.Match[str], lines: bool) -> str:
    char = found.group()
    if lines and char == "\n":
        return char
    if char in _JOINERS and _joins(found.string, found.start()):
        return char
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _joins(text: str, at: int) -> bool:
    """Whether a joiner stands where scripts and emoji need one: between two of their signs."""
    if at == 0 or at + 1 == len(text):
        return False
    around = text[at - 1], text[at + 1]
    return all(unicodedata.category(c) in _LETTERS and not _ODD.match(c) for c in around)


def _defused(found: re.Match[str]) -> str:
    blank = found.group(1)
    return r"\x23" if blank is None else rf"{blank}\x3a"
