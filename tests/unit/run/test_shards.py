"""Dividing a plan: each run once, evenly, and the same on every machine."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaoslab.contract.loader import contract_from
from chaoslab.core.errors import FormatError, UsageError
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.shards import (
    DURATIONS_FILE,
    Shard,
    divided,
    load_durations,
    parse_shard,
    part,
    plan_of,
    shard_json,
    write_durations,
)

ROOT = Path(__file__).resolve().parents[3]
SPECS = specs_for(scenario_files(["matrix"]), REFERENCE, seeds=[0, 1])


def shards(specs: list[RunSpec], durations: dict[str, int], of: int) -> list[list[str]]:
    return [
        [spec.id for spec in part(specs, Shard(index=n, of=of), durations)]
        for n in range(1, of + 1)
    ]


# -- the option


@pytest.mark.parametrize("text", ["1/1", "2/4", "1000/1000"])
def test_a_shard_is_read(text: str) -> None:
    shard = parse_shard(text)
    assert f"{shard.index}/{shard.of}" == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "0/4", "5/4", "a/b", "1/0", "1/", "/4", "4", "-1/4", "1/4/2", " 1/4", "1/4\n"),
        *("٢/٤", "1.5/4", "1/1001", "01/4", "1/99999999999999999999"),
    ],
)
def test_what_is_no_shard_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="no shard of a plan") as caught:
        parse_shard(text)
    assert caught.value.exit_code == 2


# -- the division


@pytest.mark.parametrize("of", [1, 2, 3, 7, len(SPECS), len(SPECS) + 5])
def test_all_shards_together_are_the_plan_each_run_once(of: int) -> None:
    durations = {spec.id: 50 * n for n, spec in enumerate(SPECS) if n % 3}
    found = shards(SPECS, durations, of)
    assert sorted(run for one in found for run in one) == sorted(spec.id for spec in SPECS)
    order = {spec.id: n for n, spec in enumerate(SPECS)}
    assert all(one == sorted(one, key=order.__getitem__) for one in found)
    assert len([one for one in found if one]) == min(of, len(SPECS))


def test_runs_that_were_never_timed_are_divided_by_number() -> None:
    assert {len(one) for one in shards(SPECS, {}, 4)} == {len(SPECS) // 4}
    assert {len(one) for one in shards(SPECS, {spec.id: 0 for spec in SPECS}, 4)} == {10}


def test_the_longest_run_is_alone_where_it_outweighs_the_rest() -> None:
    durations = {spec.id: 10 for spec in SPECS} | {SPECS[5].id: 60_000}
    first, *others = shards(SPECS, durations, 3)
    assert first == [SPECS[5].id]
    assert abs(len(others[0]) - len(others[1])) <= 1


def test_the_load_is_even_to_within_the_longest_run() -> None:
    draw = random.Random(7)
    for _ in range(200):
        durations = {f"r{n}": draw.randrange(1, 5_000) for n in range(draw.randrange(1, 60))}
        of = draw.randrange(1, 9)
        loads = [0] * of
        for run, shard in divided(durations, of).items():
            loads[shard - 1] += durations[run]
        assert max(loads) - min(loads) <= max(durations.values())


def test_a_run_that_was_never_timed_counts_as_the_middle_one() -> None:
    a, b, c, d = SPECS[:4]
    known = {a.id: 100, b.id: 200, c.id: 9_000}
    timed = {**known, d.id: 200}
    for of in (2, 3):
        assert shards([a, b, c, d], known, of) == shards([a, b, c, d], timed, of)
    strange = {"gone--x--s0": 10**9}  # runs of another plan say nothing about this one
    assert shards([a, b, c, d], known | strange, 2) == shards([a, b, c, d], known, 2)


def test_the_order_of_the_file_does_not_matter() -> None:
    durations = {spec.id: 10 * (n % 7) for n, spec in enumerate(SPECS)}
    mixed = list(durations.items())
    random.Random(3).shuffle(mixed)
    assert shards(SPECS, durations, 4) == shards(SPECS, dict(mixed), 4)
    assert plan_of(SPECS, durations, of=4) == plan_of(SPECS, dict(mixed), of=4)


PLAN = """
import json
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.shards import Shard, part, plan_of
specs = specs_for(scenario_files(["matrix"]), REFERENCE)
durations = {spec.id: 10 * (n % 5) for n, spec in enumerate(specs)}
one = [spec.id for spec in part(specs, Shard(index=2, of=3), durations)]
print(json.dumps([one, plan_of(specs, durations, of=3).digest]))
"""


def test_another_interpreter_in_another_folder_divides_alike(tmp_path: Path) -> None:
    said = set()
    for seed, folder in (("1", tmp_path), ("77", ROOT)):
        environment = {"PYTHONPATH": str(ROOT / "harness"), "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", PLAN],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        said.add(done.stdout)
    assert len(said) == 1


# -- the plan


def test_the_plan_is_the_same_for_all_shards_and_no_other() -> None:
    specs = SPECS[:6]
    plan = plan_of(specs, {}, of=2)
    assert plan.runs == tuple(spec.id for spec in specs)
    assert shard_json(Shard(index=2, of=2), plan)["plan"] == plan.digest
    long = {specs[5].id: 9_000, specs[0].id: 10}
    others = [
        plan_of(specs[:5], {}, of=2),
        plan_of([*specs[1:], specs[0]], {}, of=2),
        plan_of(specs, {}, of=3),
        plan_of([*specs[:5], replace(specs[5], sources=("another version",))], {}, of=2),
        plan_of(specs, long, of=2),
    ]
    assert len({plan.digest, *(other.digest for other in others)}) == 6


def test_durations_that_divide_alike_are_as_good() -> None:
    specs = SPECS[:4]
    durations = {spec.id: 100 * (n + 1) for n, spec in enumerate(specs)}
    more = {run: ms * 2 for run, ms in durations.items()} | {"gone--x--s0": 5}
    assert plan_of(specs, durations, of=2) == plan_of(specs, more, of=2)


def test_a_team_s_rules_do_not_tie_a_plan_to_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        (folder / "rules.py").write_text("def never(evidence):\n    return []\n")
        rule = {"name": "never", "says": "never", "check": "rules.py:never"}
        contract = contract_from({"format": 1, "invariants": [rule]}, "chaoslab.toml")
        raw = {"format": 1, "invariants": [{**rule, "check": contract.invariants[0].check}]}
        specs = [replace(spec, contract=contract, contract_raw=raw) for spec in SPECS[:2]]
        digests.append(plan_of(specs, {}, of=2).digest)
    assert digests[0] == digests[1]


# -- the file of durations


def entry(run: str, ms: int, **more: Any) -> dict[str, Any]:
    return {"id": run, "wall_ms": ms, "broke": None, **more}


def test_durations_are_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    write_durations({"runs": [entry("b", 1_239), entry("a", 3)]}, path)
    assert load_durations(path) == {"a": 10, "b": 1_230}
    assert path.read_text() == '{\n "format": 1,\n "runs": {\n  "a": 10,\n  "b": 1230\n }\n}\n'


def test_a_time_that_is_about_the_same_changes_no_line(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    write_durations({"runs": [entry("a", 1_000), entry("b", 40), entry("c", 8_000)]}, path)
    before = path.read_bytes()
    write_durations({"runs": [entry("a", 1_240), entry("b", 190), entry("c", 6_100)]}, path)
    assert path.read_bytes() == before
    write_durations({"runs": [entry("a", 1_300), entry("b", 260), entry("c", 5_900)]}, path)
    assert load_durations(path) == {"a": 1_300, "b": 260, "c": 5_900}


def test_runs_of_others_stay_and_broken_ones_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    write_durations({"runs": [entry("a", 1_000)]}, path)
    broken = entry("a", 20_000, broke="it did not end")
    write_durations({"runs": [broken, entry("b", 500)]}, path)
    assert load_durations(path) == {"a": 1_000, "b": 500}


def test_without_a_name_the_file_of_the_folder_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_durations(None) == {}
    Path(DURATIONS_FILE).write_text('{"format": 1, "runs": {"a": 70}}')
    assert load_durations(None) == {"a": 70}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"format": 1}', '{"format": 1, "runs": []}', "[" * 100_000]
    + [json.dumps({"format": 1, "runs": {"a": bad}}) for bad in (-1, 1.5, "7", None, True, 2**60)]
    + ['{"format": 1, "runs": {"a": NaN}}', '{"format": 2, "runs": {}}', '{"runs": {}}'],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "d.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"d\.json") as caught:
        load_durations(path)
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_durations(tmp_path / "none.json")
    (tmp_path / "d.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="damaged"):
        load_durations(tmp_path / "d.json")
