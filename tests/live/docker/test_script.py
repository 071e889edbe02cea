"""`.ci/docker` never starts a second daemon, and removes nothing that is not its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chaoslab.backends.docker.daemon import address

SCRIPT = Path(__file__).resolve().parents[3] / ".ci" / "docker"
needs_command = pytest.mark.skipif(shutil.which("docker") is None, reason="there is no `docker`")


def script(*words: str) -> subprocess.CompletedProcess[str]:
    """The script, done."""
    return subprocess.run(["sh", str(SCRIPT), *words], capture_output=True, text=True, timeout=60)


@needs_command
def test_a_daemon_that_answers_is_used_as_it_is(client: Any, tmp_path: Path) -> None:
    before = client.info()["ID"]
    done = script("start", str(tmp_path / "own"))
    assert (done.returncode, done.stdout) == (0, f"DOCKER_HOST={address()}\n")
    assert not (tmp_path / "own").exists()
    assert script("stop", str(tmp_path / "own")).returncode == 0
    assert client.info()["ID"] == before


def test_a_folder_that_is_not_its_own_stays(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("kept")
    assert script("stop", str(tmp_path)).returncode == 0
    assert (tmp_path / "data" / "mine").read_text() == "kept"


@pytest.mark.parametrize("words", [(), ("start",), ("start", "relative"), ("restart", "/x")])
def test_anything_else_is_refused(words: tuple[str, ...]) -> None:
    done = script(*words)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
