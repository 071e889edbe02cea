"""Named streams, the form of errors, and tables that tell every problem at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.core import errors
from chaoslab.core.errors import ChaosError, ScenarioError, UsageError, shown
from chaoslab.core.rng import number, stream
from chaoslab.core.tables import Problems, Table, load_toml

seeds = st.integers(0, 2**63 - 1)


@given(seeds, st.text(max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_stream_is_a_function_of_seed_and_name(seed: int, name: str) -> None:
    assert stream(seed, name).getrandbits(64) == stream(seed, name).getrandbits(64)
    assert number(seed, name, below=10) in range(10)
    assert number(seed, name, below=2**32) == number(seed, name, below=2**32)


def test_another_name_or_seed_is_another_stream() -> None:
    firsts = {stream(s, n).getrandbits(64) for s in range(20) for n in ("a", "b", "a/1", "")}
    assert len(firsts) == 80


def test_drawing_from_one_stream_shifts_no_other() -> None:
    before = stream(1, "b").random()
    greedy = stream(1, "a")
    for _ in range(1_000):
        greedy.random()
    assert stream(1, "b").random() == before


def test_numbers_reach_their_whole_range() -> None:
    assert {number(3, f"n/{i}", below=8) for i in range(200)} == set(range(8))


def test_streams_are_these_for_ever() -> None:
    """A recorded seed must mean the same next year; these values are part of the format."""
    assert number(7, "choice/home-1/s1-t1/1/out", below=256) == 235
    assert stream(7, "agent/home-1").getrandbits(32) == 3506617155


# -- errors


def test_a_message_says_what_value_type_allowed_and_next() -> None:
    text = str(UsageError("a is wrong", value="b", allowed="c", hint="d"))
    assert text == "a is wrong: got 'b' (str); allowed: c; next: d"


def test_none_is_a_value_one_can_complain_about() -> None:
    assert "got None (NoneType)" in str(UsageError("x", value=None))
    assert "got" not in str(UsageError("x"))


def test_a_long_value_is_cut_and_a_nasty_repr_is_survived() -> None:
    class Nasty:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert len(shown("x" * 10_000)) < 250
    assert shown(Nasty()) == "<a value whose repr fails> (Nasty)"


def test_every_error_of_ours_has_a_documented_exit_code() -> None:
    found = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, ChaosError)]
    assert len(found) >= 8
    for kind in found:
        assert kind.exit_code == (2 if issubclass(kind, UsageError) else 4)
        assert errors.__doc__ is not None and kind.__name__ in errors.__doc__


# -- tables


def reader(raw: dict[str, Any]) -> tuple[Table, Problems]:
    problems = Problems("x.toml")
    return Table(raw, problems), problems


def test_all_problems_of_a_file_come_in_one_error() -> None:
    table, problems = reader({"a": True, "b": "1", "c": 1, "d": [1], "e": 3, "sed": 1})
    assert table.integer("a", 5) == 5
    assert table.integer("b", 6) == 6
    assert table.boolean("c") is False
    assert table.strings("d", ("z",)) == ("z",)
    assert table.text("e", "q") == "q"
    table.integer("seed", 0)
    table.text("must", must=True)
    table.close()
    with pytest.raises(ScenarioError) as caught:
        problems.raise_if_any(ScenarioError)
    text = str(caught.value)
    assert "x.toml has 7 problems" in text
    for part in ("a: got True (bool)", "b: got '1' (str)", "c: got 1 (int)", "d: got [1] (list)"):
        assert part in text
    assert "e: got 3 (int); allowed: a string" in text
    assert "must: is missing" in text
    assert "sed: unknown key; did you mean seed?" in text


@pytest.mark.parametrize("value", [True, False, 1.0, "1", [1], -1, 11])
def test_an_integer_is_an_integer_within_its_bounds(value: object) -> None:
    table, problems = reader({"n": value})
    assert table.maybe_integer("n", most=10) is None
    assert "n: got" in problems.lines[0] and "at most 10" in problems.lines[0]


@pytest.mark.parametrize("value", [0, 1, "true", None, []])
def test_a_boolean_is_true_or_false(value: object) -> None:
    table, problems = reader({"b": value})
    assert table.boolean("b", default=False) is False
    assert len(problems.lines) == (0 if value is None else 1)


def test_a_place_inside_tables_is_named_with_dots_and_numbers() -> None:
    table, problems = reader({"t": {"u": [{"n": -1}, {"n": True}]}})
    for inner in table.table("t").tables("u"):
        inner.integer("n", 0)
    assert [line.split(":")[0] for line in problems.lines] == ["t.u[0].n", "t.u[1].n"]


@pytest.mark.parametrize("raw", [{"t": 3}, {"t": [1]}, {"t": "x"}])
def test_what_is_no_table_is_told_and_read_as_empty(raw: dict[str, Any]) -> None:
    table, problems = reader(raw)
    assert dict(table.table("t").raw) == {}
    assert table.tables("t") == []
    assert len(problems.lines) == 2


@pytest.mark.parametrize("value", [None, 2, 0, True, "1", 1.0])
def test_any_other_major_format_is_refused(value: object) -> None:
    table, problems = reader({} if value is None else {"format": value})
    table.format_is(1)
    assert problems.lines[0].startswith("format: ") and problems.lines[0].endswith("allowed: 1")


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("a = \n")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'a = "\xe9"\n')
    cases = {
        tmp_path / "none.toml": "does not exist",
        tmp_path: "is a folder",
        latin: "is not UTF-8",
        bad: "is not TOML",
        bad / "below.toml": "bad.toml",
    }
    for path, words in cases.items():
        with pytest.raises(ScenarioError, match=words) as caught:
            load_toml(path, ScenarioError)
        assert path.name in str(caught.value)
