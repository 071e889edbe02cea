"""The server that tests lend: it ends with whoever took it, however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.live.postgres import VARIABLE
from tests.require import need

ROOT = Path(__file__).parents[2]
LEND = [sys.executable, "-m", "tests.live.postgres"]
# Says where its server is, and waits until its own input ends.
TELLS = f"""
import os, sys
print(os.environ[{VARIABLE!r}], flush=True)
sys.exit(len(sys.stdin.read()))
"""
SECONDS = 60.0


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + SECONDS
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def lent(folder: Path) -> subprocess.Popen[str]:
    need("postgres")
    return subprocess.Popen(
        [*LEND, sys.executable, "-c", TELLS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'harness'}:{ROOT}", "TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def folder() -> Path:
    """One into which the server's own user may go."""
    made = Path(tempfile.gettempdir()) / f"chaoslab-lent-{os.getpid()}-{time.monotonic_ns()}"
    made.mkdir(mode=0o755)
    return made


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_a_signal(folder: Path, number: signal.Signals) -> None:
    with lent(folder) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert answers(url)
        process.send_signal(number)
    assert until(lambda: not answers(url))
    assert until(lambda: not any(folder.iterdir()))
    folder.rmdir()


def test_the_exit_code_is_that_of_the_command(folder: Path) -> None:
    with lent(folder) as process:
        said, _ = process.communicate("123", SECONDS)
    assert said.startswith("postgresql://lab:")
    assert process.returncode == 3
    assert until(lambda: not any(folder.iterdir()))
    folder.rmdir()
