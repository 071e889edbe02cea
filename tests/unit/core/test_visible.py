"""What would act or hide is spelled out; plain text is left alone."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaoslab.core.visible import visible

ODD = (
    "\x00\x07\x08\t\n\r\x1b\x7f\x85\x9b\u200b\u200e\u202a\u202e\u2028\u2066\ufeff\ud800"
    "\U000e0041:# ["
)
TEXT = st.text(st.one_of(st.characters(), st.sampled_from(ODD + "a‹…")), max_size=40)


@given(TEXT, st.booleans())
def test_what_comes_out_is_the_same_when_it_goes_in_again(text: str, lines: bool) -> None:
    shown = visible(text, lines=lines)
    assert visible(shown, lines=lines) == shown


@given(TEXT)
def test_nothing_that_acts_is_left(text: str) -> None:
    shown = visible(text)
    shown.encode()  # what cannot be written is spelled out
    for char in shown:
        assert unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp")
        assert (
            char not in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u200b\ufeff"
        )
    assert len(shown.splitlines()) <= 1
    assert not shown.lstrip().startswith("::a")


@given(TEXT)
def test_with_lines_only_the_line_breaks_stay(text: str) -> None:
    shown = visible(text, lines=True)
    assert shown.count("\n") == text.count("\n")
    assert visible(shown.replace("\n", "")) == visible(shown.replace("\n", ""), lines=True)


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters=":#")))
def test_letters_of_all_languages_stay(text: str) -> None:
    if not set(text) & set("\u115f\u1160\u2800\u3164\uffa0"):  # letters that nobody can see
        assert visible(text) is text or visible(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "o-s1-t1: 12 × refund, 4 €, “so”…",
        "हिन्दी क्\u200dष, می\u200cخواهم, ไทย, 한국어, עברית",
        "👩\u200d👧 ❤\ufe0f 1\ufe0f\u20e3 👍🏽",
        "::1 and fe80::1, a::b, # heading, ## two",
    ],
)
def test_plain_text_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b]0;x\x07", r"a\x1b]0;x\x07"),
        ("a\r\n\tb\x00", r"a\r\n\tb\x00"),
        ("user\u202egpj", r"user\u202egpj"),
        ("ref\u200bund", r"ref\u200bund"),
        ("a\u200db", r"a\u200db"),
        ("\ud83d", r"\ud83d"),
        ("🏴\U000e0067", r"🏴\U000e0067"),
        ("x\ufe0f\ufe01\ufe02", "x\ufe0f" + r"\ufe01\ufe02"),
        ("  ::error::x", r"  \x3a:error::x"),
        ("see ##vso[task.x]", r"see \x23#vso[task.x]"),
        ("##[group]x", r"\x23#[group]x"),
    ],
)
def test_each_is_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_long_hostile_text_takes_no_long_time() -> None:
    began = time.process_time()
    for text in ("\n" * 200_000 + "::x", " " * 200_000 + ":", "#" * 200_000, "\u200d" * 200_000):
        visible(text, lines=True)
    assert time.process_time() - began < 10
