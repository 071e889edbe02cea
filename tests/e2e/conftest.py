"""The command line as a person uses it: a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .forked import Forks

ROOT = Path(__file__).resolve().parents[2]
AGENTS = Path(__file__).parent / "agents"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty folder."""
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    """This process's environment with the package on the path."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "harness"), **more}


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Where commands come from."""
    found = Forks(environment())
    yield found
    found.close()


@pytest.fixture
def chaoslab(here: Path, forks: Forks) -> Run:
    """Runs the command in the folder and returns what it printed."""

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return forks.run(arguments, here, environment(**more), timeout=120)

    return run


@pytest.fixture
def bad_agent(here: Path) -> Callable[[str], str]:
    """Writes an agent made from the plain one and returns how to name it."""

    def write(body: str) -> str:
        (here / "plain.py").write_text((AGENTS / "plain.py").read_text())
        text = (
            "import asyncio\nfrom chaoslab.world import Outcome\nfrom plain import Plain\n" + body
        )
        (here / "mine.py").write_text(text)
        return "mine.py:make_agent"

    return write
