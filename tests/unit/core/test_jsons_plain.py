"""JSON as evidence: one text per value, and a copy that nothing can change afterwards."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.core.errors import UsageError
from chaoslab.core.jsons import canonical, digest, plain

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


class Shout(str):
    """A string that is not quite one."""


class Level(int):
    """An integer that is not quite one."""


def shuffled(value: Any) -> Any:
    """The same value with every object's keys inserted the other way round."""
    if isinstance(value, dict):
        return {k: shuffled(value[k]) for k in reversed(list(value))}
    return [shuffled(v) for v in value] if isinstance(value, list) else value


@given(values)
@settings(max_examples=80, deadline=None)
def test_canonical_text_means_the_value_and_ignores_the_order_of_keys(value: Any) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(shuffled(value)) == text
    assert digest(shuffled(value)) == digest(value)


@given(values)
@settings(max_examples=60, deadline=None)
def test_plain_gives_an_equal_value_that_shares_no_container(value: Any) -> None:
    copy = plain(value, where="args")
    assert copy == value
    assert _containers(copy).isdisjoint(_containers(value))


def _containers(value: Any) -> set[int]:
    if isinstance(value, dict):
        return {id(value)}.union(*(_containers(v) for v in value.values()))
    if isinstance(value, list):
        return {id(value)}.union(*(_containers(v) for v in value))
    return set()


def test_no_space_and_no_escape_beyond_what_json_demands() -> None:
    assert canonical({"é": ["a b", 1]}) == '{"é":["a b",1]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_refuses_what_is_not_json(value: float) -> None:
    with pytest.raises(ValueError):
        canonical({"x": value})


def test_digest_has_the_size_asked_for() -> None:
    assert len(digest([1], size=16)) == 32
    assert digest([1]) != digest([2])


@pytest.mark.parametrize("value", [1.5, float("nan"), b"x", {1}, object(), 1j])
def test_plain_names_the_place_of_what_is_not_json(value: object) -> None:
    with pytest.raises(UsageError) as caught:
        plain({"a": [0, {"b": value}]}, where="args")
    assert "args.a[1].b" in str(caught.value)
    assert type(value).__name__ in str(caught.value)
    assert "allowed:" in str(caught.value)


@pytest.mark.parametrize("key", [1, None, True, ("a",), b"a"])
def test_plain_refuses_keys_that_are_no_strings(key: object) -> None:
    with pytest.raises(UsageError, match="string keys"):
        plain({"a": {key: 1}}, where="args")


def test_plain_refuses_a_value_that_contains_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UsageError, match="40 levels"):
        plain(loop, where="args")


def test_plain_takes_forty_levels_and_no_more() -> None:
    def nested(levels: int) -> Any:
        return 0 if levels == 0 else [nested(levels - 1)]

    assert plain(nested(40), where="args") == nested(40)
    with pytest.raises(UsageError):
        plain(nested(43), where="args")


def test_plain_turns_subclasses_into_the_plain_types() -> None:
    copy = plain(OrderedDict(a=Shout("b"), c=Level(3), d=(True, None)), where="args")
    assert copy == {"a": "b", "c": 3, "d": [True, None]}
    assert isinstance(copy, dict) and type(copy) is dict
    assert type(copy["a"]) is str and type(copy["c"]) is int and copy["d"][0] is True


@pytest.mark.parametrize(
    "value",
    ["\ud800", {"\udfff": 1}, 10**5000, -(10**5000)],
    ids=["surrogate", "surrogate-key", "huge", "huge-negative"],
)
def test_what_plain_lets_through_can_be_written_down(value: object) -> None:
    """Whatever an agent hands over is refused where it is handed over, or it can be recorded."""
    try:
        copy = plain(value, where="args")
    except UsageError as error:
        assert "args" in str(error)
    else:
        canonical(copy).encode()
