"""The image of a region: named by its content, built once, on a base that needs no registry."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from chaoslab.backends.docker import images
from chaoslab.backends.docker.base import make_base
from chaoslab.backends.docker.daemon import connect, version
from chaoslab.cli import main
from chaoslab.cli.probes import probes
from chaoslab.core.errors import LabError, UsageError

MODULES = "import asyncio, ctypes, hashlib, json, socket, sqlite3, ssl, zlib"
COMPILED = (
    "import asyncio, importlib.util as u, os; print(os.path.exists(u.cache_from_source("
    "asyncio.__file__)))"
)


def said(client: Any, image: str, code: str) -> str:
    """What Python says in a container of an image."""
    out = client.containers.run(
        image, ["-c", code], entrypoint="python3", remove=True, network_mode="none", read_only=True
    )
    return str(out.decode().strip())


def test_the_command_makes_a_base(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docker-base"]) == 0
    name = capsys.readouterr().out.split()[0]
    assert re.fullmatch(r"chaoslab-base:3\.\d+\.\d+", name)
    assert said(client, name, f"{MODULES}; print('all there')") == "all there"
    assert said(client, name, COMPILED) == "True"  # else every start takes half a second more
    assert client.images.get("chaoslab-base:latest")


def test_a_base_of_another_interpreter(client: Any) -> None:
    latest = client.images.get("chaoslab-base:latest")
    try:
        name = make_base(client, python=sys.executable)
        assert said(client, name, f"{MODULES}; import sys; print(sys.version)") == sys.version
    finally:
        latest.tag("chaoslab-base", tag="latest")
    with pytest.raises(UsageError, match="cannot be started"):
        make_base(client, python="/no/such/python")


def test_an_image_is_built_once_for_what_is_in_it(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = images.region_image(client)
    made = client.images.get(name)
    assert images.region_image(client) == name and client.images.get(name).id == made.id
    assert made.attrs["Config"]["User"] == "65534:65534"
    assert made.attrs["Config"]["Healthcheck"]["Test"][0] == "CMD"
    listed = "import os; print(sorted(os.listdir('/opt/chaoslab/chaoslab')))"
    assert said(client, name, listed) == "['__init__.py', '__pycache__', 'regions']"
    files = images.context()
    other = {**files, "chaoslab/regions/more.py": b""}
    monkeypatch.setattr(images, "context", lambda: other)
    changed = images.region_image(client)
    assert changed != name
    client.images.remove(changed)


def test_which_base_is_taken(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(images.BASE_VARIABLE, raising=False)
    monkeypatch.setattr(images, "SLIM", "chaoslab-no-such:slim")
    assert images.base_of(client) == "chaoslab-base:latest"
    monkeypatch.setattr(images, "SLIM", "chaoslab-base:latest")
    assert images.base_of(client) == "chaoslab-base:latest"
    monkeypatch.setenv(images.BASE_VARIABLE, "mine:1")
    assert images.base_of(client) == "mine:1" and images.base_of(client, base="b:2") == "b:2"
    monkeypatch.delenv(images.BASE_VARIABLE)
    monkeypatch.setattr(images, "SLIM", "chaoslab-no-such:slim")
    monkeypatch.setattr(images, "LOCAL_BASE", "chaoslab-no-such")
    with pytest.raises(UsageError, match="`chaoslab docker-base` makes one"):
        images.base_of(client)


def test_a_base_that_is_none_is_one_clear_error(client: Any) -> None:
    with pytest.raises(LabError, match="cannot be built on"):
        images.region_image(client, base="localhost:9/chaoslab-no-such:1")


def test_the_doctor_knows_the_daemon(client: Any) -> None:
    [found] = [one for one in probes() if one.name == "docker"]
    assert found.works and not found.needed
    assert client.version()["Version"] in found.words == version()


def test_no_daemon_is_one_line_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    reports = tmp_path / "reports"
    asked = ["run", "timeout-after-commit", "--backend", "docker", "--reports", str(reports)]
    assert main(asked) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "none.sock cannot be used: nothing runs there" in line and "next: " in line
    assert not reports.exists()
    monkeypatch.setenv("DOCKER_HOST", "rubbish")
    with pytest.raises(UsageError, match="rubbish"):
        connect()
