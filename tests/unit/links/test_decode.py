"""JSON as the original reads it. Its words are compared with the original in `tests/live`."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaoslab.links.decode import BodyError, Members, Number, number_text, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def plain(value: Any) -> object:
    if isinstance(value, Members):
        return {name: plain(one) for name, one in value}
    if isinstance(value, Number):
        return int(value)
    return [plain(one) for one in value] if isinstance(value, list) else value


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_what_is_json_is_read(value: object, indent: int | None, escaped: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    assert plain(parse(text + " and more")) == value


@given(st.text(alphabet='{}[]",:\\ntrufalse0123456789.eE+-u \n\x01é'))
def test_whatever_comes_is_read_or_refused_in_words(text: str) -> None:
    try:
        parse(text)
    except BodyError as error:
        assert str(error)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_depth_has_an_end(text: str) -> None:
    with pytest.raises(BodyError, match="depth"):
        parse(text)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_number_is_written_so_that_the_same_is_read(value: float) -> None:
    text = number_text(value)
    assert struct.pack("<f", float(text)) == struct.pack("<f", value)
    assert isinstance(parse(text), Number) and parse(text) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (2.0, "2"), (-0.5, "-0.5"), (1e20, "100000000000000000000"), (1e21, "1e+21")],
)
def test_numbers_are_spelled_as_the_original_spells_them(value: float, text: str) -> None:
    assert number_text(struct.unpack("<f", struct.pack("<f", value))[0]) == text


def test_half_a_character_is_replaced() -> None:
    assert parse(r'"\ud800x"') == "\ufffdx"
