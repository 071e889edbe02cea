"""A text is read as its letters, whatever spells them, and each is found where it stands."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaoslab.check.folding import folded, folded_as_is, has_escapes, spelled


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("\u00c9\u00e9 \u0141\u00f8 \u00df \ufb01 \uff21", "eelossfia"),
        (r"\ud842\udfb7 \u7530", "\U00020bb7\u7530"),
        ("%F0%A0%AE%B7", "\U00020bb7"),
        ("a%25250Ab", "ab"),
        (r"b'\xc3\xa9' \\x41", "bea"),
        ("&eacute;&#233;&#xE9;&#9999999;&nosuchname;", "eeenosuchname"),
        (r"\U0001d400 \U99999999", "a"),
        ("\x1b[1mA\x1b[0m\\x1b[0;31mB\\033[mC", "abc"),
        ("<b>A</b><br/>B<iban>", "abiban"),
        ("100% & more < less \\ end", "100moreless" + "end"),
        ("\ud55c\uae00", "\ud55c\uae00"),
    ],
)
def test_what_an_escape_stands_for(text: str, letters: str) -> None:
    assert folded(text) == letters


def test_a_backslash_is_also_read_as_what_it_is() -> None:
    text = r"CORP\frank"
    assert folded(text) == "corprank"
    assert folded_as_is(text) == "corpfrank"
    assert has_escapes(text) and not has_escapes("CORP/frank")


@given(st.text(max_size=60))
def test_each_letter_is_found_where_it_stands(text: str) -> None:
    for escapes in (True, False):
        chars, starts, ends = spelled(text, escapes=escapes)
        assert len(chars) == len(starts) == len(ends)
        assert all(0 <= a < b <= len(text) for a, b in zip(starts, ends, strict=True))
        assert starts == sorted(starts)
    assert spelled(text, escapes=False)[0] == folded_as_is(text)


@given(st.text(st.characters(categories=["Ll", "Lu", "Nd", "Lo"]), max_size=30))
def test_an_encoded_text_reads_like_the_plain_one(text: str) -> None:
    assert folded(quote(text)) == folded(quote(quote(text))) == folded(text)
    assert folded(json.dumps(json.dumps(text))) == folded(text)
