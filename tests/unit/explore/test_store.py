"""Rows on disk: whatever ends the command costs at most one batch, and nothing is counted twice."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaoslab.core.errors import FormatError, LabError, UsageError
from chaoslab.explore.rows import Row
from chaoslab.explore.store import ROWS, Head, Rows, head_of, open_rows
from chaoslab.run.select import REFERENCE, scenario_files, specs_for

HEAD = Head(kind="sweep", fingerprint="f0", plan={"depth": 1, "kinds": ["silence"]})
DOUBLE = ("effects.delivery", "duplicate-effect", "00112233aabbccdd", "2 x refund")
EVIL = "\x1b[2J\n::error::x\ud800 \u202e"


def row(number: int, word: Any = "held", **more: Any) -> Row:
    plain: dict[str, Any] = {"name": f"w1/{number:03}", "world": "w1", "seed": 0, "ops": 100}
    if word == "broken":
        plain["breaches"] = (DOUBLE,)
    plain |= {"word": word, "spent_us": {"agent": 3}, **more}
    if word in ("held", "broken"):
        plain.setdefault("shown", ("outcome.honest",))
    return Row(**plain)


def filled(folder: Path, batches: int = 3) -> Rows:
    folder.mkdir(exist_ok=True)
    rows = Rows.create(folder, HEAD)
    for n in range(batches):
        assert rows.add(f"b{n}", [row(2 * n), row(2 * n + 1, "broken")])
    return rows


def strings(value: Any) -> Iterator[str]:
    """Every text in JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield name
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def test_what_is_written_comes_back_and_is_for_nobody_else(tmp_path: Path) -> None:
    with filled(tmp_path) as rows:
        assert not rows.add("b1", [row(99)])  # it is there already
        before, tally = list(rows.rows()), rows.tally
    assert stat.S_IMODE((tmp_path / ROWS).stat().st_mode) == 0o600
    with Rows.resume(tmp_path, HEAD) as again:
        assert again.done == {"b0", "b1", "b2"}
        assert list(again.rows()) == before and len(before) == 6
        assert again.tally == tally
        assert not again.add("b2", [row(4)])
        assert {name: len(found) for name, found in again.batches()} == {"b0": 2, "b1": 2, "b2": 2}
    assert tally.words == {"held": 3, "broken": 3}
    assert tally.findings == {DOUBLE[2]: 3}
    assert tally.checks == {"outcome.honest": 6, "effects.delivery": 3}
    assert tally.spent_us == {"agent": 18} and tally.worlds == {"w1": {"held": 3, "broken": 3}}


def test_a_row_that_was_not_executed_shows_nothing_by_itself(tmp_path: Path) -> None:
    with Rows.create(tmp_path, HEAD) as rows:
        rows.add("b", [row(0, "broken"), row(1, "equivalent", breaches=(DOUBLE,), same_as="w1/0")])
        assert rows.tally.findings == {DOUBLE[2]: 1}
        assert rows.tally.executions == 1


def test_what_held_without_any_fault_judges_nothing(tmp_path: Path) -> None:
    lost = {"at": "tools.refund", "phase": "after-commit", "kind": "silence"}
    with Rows.create(tmp_path, HEAD, bytes_max=400) as rows:
        rows.add("0", [row(0)])
        assert rows.tally.judged == 0
        rows.add("1", [row(1, faults=(lost,)), row(2, "never-struck", faults=(lost,))])
        rows.add("2", [row(n, faults=(lost,)) for n in range(3, 9)])
        rows.add("3", [row(10, "equivalent", faults=(lost,)), row(11, "broken")])
        assert rows.tally.judged == 9 and rows.left_out
    with Rows.resume(tmp_path, HEAD) as again:
        assert again.tally == rows.tally


def test_a_writer_killed_at_any_byte_loses_at_most_its_batch(tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = tmp_path / ROWS
    whole = path.read_bytes()
    ends = [n + 1 for n in range(len(whole)) if whole[n : n + 1] == b"\n"]
    batch_ends = [ends[0], ends[3], ends[6], ends[9]]
    assert batch_ends[-1] == len(whole)
    for cut in range(ends[5], len(whole) + 1):
        path.write_bytes(whole[:cut])
        left = sum(cut >= end for end in batch_ends[1:])
        with Rows.resume(tmp_path, HEAD) as rows:
            assert rows.done == {f"b{n}" for n in range(left)}, cut
            assert len(list(rows.rows())) == 2 * left == rows.tally.executions
            for n in range(left, 3):
                assert rows.add(f"b{n}", [row(2 * n), row(2 * n + 1, "broken")])
        assert path.read_bytes() == whole, cut
    for cut in range(ends[0]):
        path.write_bytes(whole[:cut])
        with pytest.raises(UsageError, match=r"before anything was done.*without --resume"):
            Rows.resume(tmp_path, HEAD)


def test_a_killed_process_leaves_whole_batches(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from tests.unit.explore.test_store import HEAD, Rows, row\n"
        "rows = Rows.create(pathlib.Path(sys.argv[1]), HEAD)\n"
        "for n in range(10**9):\n"
        "    rows.add(f'b{n}', [row(2 * n), row(2 * n + 1)])\n"
        "    if n == 50: print('go', flush=True)\n"
    )
    root = Path(__file__).resolve().parents[3]
    env = {**os.environ, "PYTHONPATH": f"{root / 'harness'}{os.pathsep}{root}"}
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=env, text=True
    )
    with writer:
        assert writer.stdout is not None and writer.stdout.readline() == "go\n"
        writer.send_signal(signal.SIGKILL)
    with Rows.resume(tmp_path, HEAD) as rows:
        count = len(rows.done)
        assert count > 50 and rows.done == {f"b{n}" for n in range(count)}
        assert len({one.name for one in rows.rows()}) == 2 * count == rows.tally.executions


def test_damage_before_the_end_is_refused(tmp_path: Path) -> None:
    filled(tmp_path).close()
    path = tmp_path / ROWS
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in ((1, b'{"name"\n'), (2, b""), (3, b'{"batch":"b0","rows":7}\n')):
        path.write_bytes(b"".join([*lines[:number], line, *lines[number + 1 :]]))
        with pytest.raises(FormatError, match=r"rows\.ndjson is damaged.*without --resume"):
            Rows.resume(tmp_path, HEAD)
    path.write_bytes(lines[0].replace(b'"format":1', b'"format":2'))
    with pytest.raises(FormatError, match="another major version"):
        Rows.resume(tmp_path, HEAD)
    word = lines[1].replace(b'"held"', b'"well"')
    path.write_bytes(b"".join([lines[0], word, *lines[2:]]))
    with pytest.raises(FormatError, match=r"damaged: a row .* ends in 'well'"):
        Rows.resume(tmp_path, HEAD)


def test_another_campaign_is_not_gone_on_with(tmp_path: Path) -> None:
    filled(tmp_path).close()
    deeper = replace(HEAD, fingerprint="f1", plan={**HEAD.plan, "depth": 2})
    with pytest.raises(UsageError, match="its depth was 1 and is 2"):
        Rows.resume(tmp_path, deeper)
    with pytest.raises(UsageError, match="the agent, its contract, or the code have changed"):
        Rows.resume(tmp_path, replace(HEAD, fingerprint="f1"))
    with pytest.raises(UsageError, match="a sweep, and this is a stress"):
        Rows.resume(tmp_path, replace(HEAD, kind="stress"))
    (tmp_path / "run").mkdir()
    with pytest.raises(UsageError, match="no exploration"):
        Rows.resume(tmp_path / "run", HEAD)


def test_the_head_is_of_everything_that_rows_depend_on() -> None:
    def head(agent: str = REFERENCE, seed: int = 0, **plan: Any) -> str:
        files = scenario_files(["matrix/timeout-after-commit"])
        return head_of(
            "sweep", specs_for(files, agent, seeds=[seed]), {"depth": 1, **plan}
        ).fingerprint

    planted = str(Path(__file__).resolve().parents[3] / "fixtures/agents/double_charge.py")
    one = head()
    assert one == head()
    others = {head(seed=1), head(depth=2), head(agent=f"{planted}:make_agent")}
    assert one not in others and len(others) == 3


def test_two_commands_do_not_write_into_one_file(tmp_path: Path) -> None:
    with filled(tmp_path), pytest.raises(UsageError, match="another command is at work"):
        Rows.resume(tmp_path, HEAD)
    Rows.resume(tmp_path, HEAD).close()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / ROWS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LabError):
        Rows.create(tmp_path, HEAD)
    with pytest.raises(LabError):
        Rows.resume(tmp_path, HEAD)
    assert (tmp_path / "elsewhere").read_text() == "mine"


# -- the bound


def test_beyond_the_bound_what_held_is_counted_and_failures_are_kept(tmp_path: Path) -> None:
    with Rows.create(tmp_path, HEAD, bytes_max=2_000) as rows:
        for n in range(100):
            rows.add(f"b{n}", [row(n), row(n + 1000, "broken")])
        tally, left = rows.tally, rows.left_out
        kept = [one.word for one in rows.rows()]
        assert tally.words == {"held": 100, "broken": 100}
        assert tally.findings == {DOUBLE[2]: 100}
        assert left == 200 - len(kept) and kept.count("held") < 20
        assert kept.count("broken") == 20
        assert "bound of 0 MB" in rows.note and str(left) in rows.note
        rows.add(
            "other", [row(1, "broken", breaches=((*DOUBLE[:2], "ff", "3 x"),)), row(2, "broke")]
        )
        assert [one.word for one in rows.rows()][-2:] == ["broken", "broke"]
    with Rows.resume(tmp_path, HEAD, bytes_max=2_000) as again:
        assert again.tally == rows.tally and again.left_out == left
        assert len(again.done) == 101
        size = (tmp_path / ROWS).stat().st_size
        again.add("more", [row(n, "broken") for n in range(2_000, 4_000)])
        # Counts alone, whatever the number of executions.
        assert (tmp_path / ROWS).stat().st_size - size < 500
        assert again.tally.findings[DOUBLE[2]] == 2_100


def test_texts_without_end_and_texts_that_act(tmp_path: Path) -> None:
    long = row(1, "broken", breaches=((*DOUBLE[:3], "x" * 10_000),), why="y" * 10_000)
    with Rows.create(tmp_path, HEAD) as rows:
        rows.add("b", [row(0, "broke", why=EVIL), long])
    assert b"\x1b" not in (tmp_path / ROWS).read_bytes()
    with Rows.resume(tmp_path, HEAD) as again:
        evil, cut = again.rows()
        assert evil.why == EVIL
        assert cut.breaches[0][3] == "x" * 2_000 + "…" and cut.why == "y" * 2_000 + "…"


# -- a disk that refuses


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file of this process, nor of one that it starts, may be longer: the system itself refuses,
    after a part of it. Nobody may leave half a compiled module behind meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        patch.setattr(sys, "dont_write_bytecode", True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    with filled(tmp_path) as rows:
        path = tmp_path / ROWS
        size = path.stat().st_size
        with disk_of(size + 100), pytest.raises(LabError) as caught:
            rows.add("b3", [row(6), row(7, "broken")])
        assert "cannot be written" in str(caught.value) and "free some space" in str(caught.value)
        assert "--resume" in str(caught.value)
        assert path.stat().st_size == size
        assert "b3" not in rows.done
        assert [one.name for one in rows.rows()][-2:] == ["w1/006", "w1/007"]
        assert rows.tally.findings == {DOUBLE[2]: 4}
    with Rows.resume(tmp_path, HEAD) as again:
        assert again.done == {"b0", "b1", "b2"} and again.tally.findings == {DOUBLE[2]: 3}


def test_an_interrupt_in_the_middle_of_a_write_costs_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(tmp_path) as rows:
        size = (tmp_path / ROWS).stat().st_size
        real, calls = os.pwrite, []

        def pwrite(descriptor: int, data: bytes, at: int) -> int:
            calls.append(at)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return real(descriptor, data[:50], at)

        monkeypatch.setattr(os, "pwrite", pwrite)
        with pytest.raises(KeyboardInterrupt):
            rows.add("b3", [row(6)])
        monkeypatch.undo()
        assert (tmp_path / ROWS).stat().st_size == size and rows.tally.executions == 6
        assert rows.add("b3", [row(6)])
        assert len(list(rows.rows())) == 7


def test_going_on_takes_away_what_was_said_of_fewer_rows(tmp_path: Path) -> None:
    campaign, rows = open_rows(tmp_path, HEAD, resume=False)
    rows.add("b0", [row(0)])
    rows.close()
    (campaign.folder / "results.json").write_text(json.dumps({}))
    same, again = open_rows(tmp_path, HEAD, resume=True)
    with again:
        assert same.folder.resolve() == campaign.folder.resolve() and again.done == {"b0"}
        assert not (campaign.folder / "results.json").exists()
    with pytest.raises(UsageError, match="no campaign to go on with"):
        open_rows(tmp_path / "nothing", HEAD, resume=True)


def test_who_is_another_one_is_said(tmp_path: Path) -> None:
    mine = replace(HEAD, of={"agent": "a.py:make", "contract": "desk"})
    Rows.create(tmp_path, mine).close()
    other = replace(mine, fingerprint="ff", of={**mine.of, "agent": "b.py:make"})
    with pytest.raises(UsageError, match=r"its agent was 'a\.py:make' and is 'b\.py:make'"):
        Rows.resume(tmp_path, other)
