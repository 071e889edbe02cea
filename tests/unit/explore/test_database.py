"""The database of examples: read at the beginning, written at the end, never worth a campaign."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from chaoslab.core.errors import UsageError
from chaoslab.explore.database import Examples, Overlay, check_database

KEY = b"chaoslab/test"


def test_what_is_written_is_read_by_the_next_campaign(tmp_path: Path) -> None:
    where = str(tmp_path / "deep" / "examples")
    first = Examples(where, KEY)
    assert first.read() == {}
    first.write([b"one", b"two"])
    assert Examples(where, KEY).read() == {KEY: (b"one", b"two")}
    assert Examples(where, b"another test").read() == {}
    assert first.problems == []


def test_what_fails_no_more_is_taken_out_unless_it_was_found_again(tmp_path: Path) -> None:
    examples = Examples(str(tmp_path), KEY)
    examples.write([b"one", b"two", b"three"])
    examples.write([b"two", b"four"], [b"one", b"two", b"never there"])
    assert examples.read() == {KEY: (b"four", b"three", b"two")}
    assert examples.problems == []


def test_nothing_to_write_makes_no_folder(tmp_path: Path) -> None:
    Examples(str(tmp_path / "none"), KEY).write([], [])
    assert not (tmp_path / "none").exists()


def test_a_place_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("a file", encoding="utf-8")
    examples = Examples(str(file / "below"), KEY)
    assert examples.read() == {}
    examples.write([b"one"])
    [problem] = examples.problems
    assert str(file) in problem and "cannot be written" in problem and "next:" in problem
    assert file.read_text(encoding="utf-8") == "a file"


def test_an_example_that_does_not_stay_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory's database keeps silent about what it cannot write, as on a full disk."""
    from hypothesis.database import DirectoryBasedExampleDatabase

    monkeypatch.setattr(DirectoryBasedExampleDatabase, "save", lambda *_: None)
    examples = Examples(str(tmp_path), KEY)
    examples.write([b"one", b"two"])
    [problem] = examples.problems
    assert "did not keep 2 of 2 examples" in problem


@pytest.mark.parametrize("where", ["", "mongodb://localhost", "http://localhost/x"])
def test_another_kind_of_database_is_refused(where: str) -> None:
    with pytest.raises(UsageError, match="there is no such database"):
        check_database(where)


def test_redis_without_its_package_is_refused_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(UsageError, match="pip install redis"):
        check_database("redis://localhost")


def test_a_redis_that_nobody_serves_costs_nothing_but_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Nobody(ConnectionError):
        pass

    class Redis:
        @classmethod
        def from_url(cls, url: str, **_: Any) -> Redis:
            return cls()

        def pipeline(self) -> Any:
            raise Nobody("Error 111 connecting to localhost:6379")

        def publish(self, *_: Any) -> None:
            raise AssertionError("nothing was saved")

    package = ModuleType("redis")
    package.Redis = Redis  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "redis", package)
    monkeypatch.delitem(sys.modules, "hypothesis.extra.redis", raising=False)
    examples = Examples("redis://localhost", KEY)
    try:
        assert examples.read() == {}
        examples.write([b"one"])
    finally:
        sys.modules.pop("hypothesis.extra.redis", None)
    assert [("read" in p, "written" in p) for p in examples.problems] == [
        (True, False),
        (False, True),
    ]
    assert all("redis://localhost" in p and "connecting" in p for p in examples.problems)


def test_an_overlay_reads_one_key_and_buffers() -> None:
    entries = {KEY: (b"b", b"a"), b"other": (b"c",)}
    overlay = Overlay(entries, KEY)
    assert list(overlay.fetch(b"digest of a test")) == [b"a", b"b"]
    assert list(overlay.fetch(b"digest of a test.secondary")) == []
    assert list(overlay.fetch(b"digest of a test.pareto")) == []
    overlay.save(b"t", b"new")
    overlay.save(b"t.secondary", b"not wanted")
    overlay.delete(b"t", b"a")
    overlay.delete(b"t.pareto", b"b")
    assert list(overlay.fetch(b"t")) == [b"b"]
    assert (list(overlay.saved), list(overlay.dropped)) == ([b"new"], [b"a"])
    overlay.close()
    overlay.save(b"t", b"late")
    overlay.delete(b"t", b"b")
    assert (list(overlay.saved), list(overlay.dropped)) == ([b"new"], [b"a"])
    assert entries == {KEY: (b"b", b"a"), b"other": (b"c",)}
