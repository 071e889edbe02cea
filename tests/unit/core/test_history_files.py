"""A history on disk says what was recorded, or says clearly that it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.core.errors import FormatError
from chaoslab.history import Op, Recorder, View, Writer, read, tool_of
from chaoslab.history.op import OP_TYPES

texts = st.text(st.characters(codec="utf-8"), max_size=6)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
entries = st.fixed_dictionaries(
    {
        "type": st.sampled_from(sorted(OP_TYPES)),
        "f": st.sampled_from(["tools.pay", "memory.write", "x"]),
        "process": texts,
        "session": texts,
        "task": texts,
        "call": st.integers(-1, 50),
        "marker": texts,
        "attempt": st.integers(0, 9),
        "key": st.none() | texts,
        "value": jsons,
        "time_ns": st.integers(0, 2**62),
    }
)


def write(path: Path, lines: list[dict[str, Any]]) -> str:
    writer = Writer(path, {"who": "é"})
    for number, line in enumerate(lines):
        writer.append(Op(index=number, **line))
    writer.close()
    return writer.digest()


def small(path: Path) -> bytes:
    line = {"time_ns": 5, "type": "event", "f": "x", "value": {"a": "é"}}
    write(path, [line, line, line])
    return path.read_bytes()


@given(st.lists(entries, max_size=6))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "roundtrip.jsonl"
    digest = write(path, lines)
    stored = read(path)
    assert stored.ops == tuple(Op(index=i, **line) for i, line in enumerate(lines))
    assert stored.digest == digest
    assert stored.header["who"] == "é" and not stored.torn


def test_a_tail_torn_at_any_byte_loses_that_line_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    whole = small(path)
    head = whole.index(b"\n") + 1
    for cut in range(head, len(whole)):
        path.write_bytes(whole[:cut])
        stored = read(path)
        assert len(stored.ops) == whole[head:cut].count(b"\n")
        assert stored.torn == (not whole[:cut].endswith(b"\n"))


def test_a_header_torn_at_any_byte_is_an_error_in_words(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    whole = small(path)
    for cut in range(whole.index(b"\n")):
        path.write_bytes(whole[:cut])
        with pytest.raises(FormatError, match=r"h\.jsonl"):
            read(path)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"i":1,"t":0,"type":"event"}',
        b'{"i":1,"t":0,"type":"maybe","f":"x"}',
        b'{"i":2,"t":0,"type":"event","f":"x"}',
        b'{"i":"one","t":0,"type":"event","f":"x"}',
        b'{"i":1,"t":0,"type":["event"],"f":"x"}',
        b'{"i":1,"t":0,"type":"event","f":"x","call":"3"}',
        b'{"i":1,"t":0,"type":"event","f":"x","marker":7}',
        b'{"i":1.0,"t":0.5,"type":"event","f":"x"}',
    ],
)
def test_damage_in_the_middle_is_an_error_that_names_the_line(
    tmp_path: Path, damage: bytes
) -> None:
    path = tmp_path / "h.jsonl"
    lines = small(path).split(b"\n")
    lines[2] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(FormatError, match=r"h\.jsonl, line 3"):
        read(path)


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_line_that_is_gone_is_noticed(tmp_path: Path, line: int) -> None:
    path = tmp_path / "h.jsonl"
    lines = small(path).split(b"\n")
    del lines[line]
    path.write_bytes(b"\n".join(lines))
    if line == 3:  # the last entry: nobody can tell from the file alone
        assert len(read(path).ops) == 2
    else:
        with pytest.raises(FormatError, match="not in order"):
            read(path)


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_another_major_version_is_refused(tmp_path: Path, version: object) -> None:
    path = tmp_path / "h.jsonl"
    lines = small(path).split(b"\n")
    lines[0] = json.dumps({"format": version, "kind": "history"}).encode()
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(FormatError, match="another major version"):
        read(path)


@pytest.mark.parametrize("text", ["", "\n", "{}\n", "[1]\n", '{"format":1,"kind":"run"}\n', "x"])
def test_what_is_no_history_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "h.jsonl"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"h\.jsonl"):
        read(path)


def test_the_digest_covers_the_entries_and_not_the_header(tmp_path: Path) -> None:
    one, other = Writer(tmp_path / "a", {"seed": 1}), Writer(None, {"seed": 2})
    op = Op(index=0, time_ns=0, type="event", f="x")
    for writer in (one, other):
        writer.append(op)
        writer.close()
        writer.close()
    assert one.digest() == other.digest() == read(tmp_path / "a").digest
    third = Writer(None, {})
    third.append(Op(index=0, time_ns=1, type="event", f="x"))
    assert third.digest() != one.digest()


def test_the_recorder_numbers_and_stamps() -> None:
    times = iter((3, 9))
    recorder = Recorder(Writer(None, {}), lambda: next(times))
    assert recorder.add("invoke", "tools.pay", marker="m") == 0
    assert recorder.add("ok", "tools.pay", {"ref": "r"}, call=0) == 1
    assert [(op.index, op.time_ns) for op in recorder.ops] == [(0, 3), (1, 9)]


# -- the view


def ops(*lines: tuple[str, str, dict[str, Any]]) -> View:
    return View(
        Op(index=i, time_ns=i, type=t, f=f, **more)  # type: ignore[arg-type]
        for i, (t, f, more) in enumerate(lines)
    )


def test_the_view_joins_invoke_completion_and_commits() -> None:
    view = ops(
        ("invoke", "tools.pay", {"marker": "o"}),
        ("commit", "tools.pay", {"marker": "o", "call": 0}),
        ("commit", "tools.pay", {"marker": "o", "call": 0}),
        ("info", "tools.pay", {"marker": "o", "call": 0}),
        ("invoke", "tools.pay", {"marker": "o"}),
    )
    first = view.completion(0)
    assert first is not None and first.index == 3
    assert [c.index for c in view.commits(0)] == [1, 2]
    assert view.completion(4) is None and view.commits(4) == ()
    assert [op.index for op in view.named("tools.pay")] == [0, 1, 2, 3, 4]
    assert view.named("nothing") == ()


def test_operations_group_by_tool_and_marker_and_leave_lookups_out() -> None:
    view = ops(
        ("event", "report.intent", {"marker": "o", "value": {"tool": "pay"}}),
        ("invoke", "tools.pay", {"marker": "o"}),
        ("invoke", "tools.pay.lookup", {"marker": "o", "value": {"lookup": True}}),
        ("invoke", "tools.mail", {"marker": "o"}),
        ("event", "tools.pay", {"marker": "o", "value": {"absorbed": "pay:o#1"}}),
        ("invoke", "wasm.instantiate", {"marker": "ticket"}),
        ("commit", "tools.ticket", {"marker": "o", "call": 7}),
        ("invoke", "wasm.ticket", {"marker": "o"}),
    )
    found = view.operations()
    assert set(found) == {("pay", "o"), ("mail", "o"), ("ticket", "o")}
    pay = found[("pay", "o")]
    assert [o.index for o in pay.attempts] == [1]
    assert [o.index for o in pay.intents] == [0]
    assert [o.index for o in pay.absorbed] == [4]
    ticket = found[("ticket", "o")]
    assert [o.index for o in ticket.commits] == [6] and [o.index for o in ticket.attempts] == [7]


@pytest.mark.parametrize(
    ("f", "name"),
    [
        ("tools.pay", "pay"),
        ("wasm.ticket", "ticket"),
        ("wasm.poisoned", ""),
        ("wasm.retired", ""),
        ("memory.write", ""),
    ],
)
def test_the_tool_of_an_entry(f: str, name: str) -> None:
    assert tool_of(Op(index=0, time_ns=0, type="event", f=f)) == name
