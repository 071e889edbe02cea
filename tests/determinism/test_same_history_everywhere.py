"""An execution is a function of scenario, agent and choices: not of the interpreter, the order
of hashes, the memory of the machine or the version of Python."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import chaoslab

from .combinations import AGENTS, SEEDS, digests

HERE = Path(__file__).parent
HARNESS = Path(chaoslab.__file__).parent.parent
PYTHONS = [p for p in os.environ.get("CHAOSLAB_PYTHONS", "").split(":") if p]

Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def first() -> Found:
    return digests(HERE / "agents")


def elsewhere(python: str, **env: str) -> Found:
    """The same combinations in a fresh interpreter."""
    done = subprocess.run(
        [python, str(HERE / "combinations.py"), str(HARNESS), str(HERE / "agents")],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    found: Found = json.loads(done.stdout)
    return found


def differing(one: Found, other: Found) -> list[str]:
    """The combinations whose histories or decisions are not the same."""
    assert set(one) == set(other)
    return [k for k in one if one[k] != other[k]]


def test_the_combinations_are_worth_comparing(first: Found) -> None:
    assert {k: v["broke"] for k, v in first.items() if v["broke"]} == {}
    assert sum(v["ops"] for v in first.values()) > 4_000
    for agent in AGENTS:
        assert sum(first[f"{agent}/storm/{seed}"]["fired"] for seed in SEEDS) >= 6


def test_the_same_again_in_the_same_interpreter(first: Found) -> None:
    ballast = [bytearray(64 + n % 512) for n in range(20_000)]
    old = gc.get_threshold()
    gc.set_threshold(50, 3, 3)
    try:
        assert differing(first, digests(HERE / "agents")) == []
    finally:
        gc.set_threshold(*old)
    assert len(ballast) == 20_000


def test_other_seeds_are_other_schedules(first: Found) -> None:
    for agent in AGENTS:
        for plan in ("calm", "crash", "storm"):
            found = {first[f"{agent}/{plan}/{seed}"]["digest"] for seed in SEEDS}
            assert len(found) == len(SEEDS)


def test_the_recorded_choices_alone_replay_it(first: Found) -> None:
    recorded = {k: v["choices"] for k, v in first.items()}
    assert differing(first, digests(HERE / "agents", choices=recorded)) == []


@pytest.mark.parametrize("hash_seed", ["1", "4294967295"])
def test_another_interpreter_with_other_hashes(first: Found, hash_seed: str) -> None:
    assert differing(first, elsewhere(sys.executable, PYTHONHASHSEED=hash_seed)) == []


@pytest.mark.skipif(not PYTHONS, reason="CHAOSLAB_PYTHONS names no other Python")
@pytest.mark.parametrize("python", PYTHONS)
def test_another_version_of_python(first: Found, python: str) -> None:
    probe = subprocess.run(
        [python, "-c", "import faker, wasmtime"], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        pytest.skip(f"{python}: {probe.stderr.strip().splitlines()[-1]}")
    assert differing(first, elsewhere(python, PYTHONHASHSEED="3")) == []
