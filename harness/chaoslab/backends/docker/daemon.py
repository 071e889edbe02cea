"""The door to the Docker daemon: found or refused in one line, before anything runs.

Nothing of the package `docker` is imported before a daemon is asked for, since only `--backend
docker` needs it.

>>> reason_of(PermissionError(13, "Permission denied")).partition(";")[0]
'this user may not use its socket'
>>> reason_of(FileNotFoundError(2, "No such file or directory"))
'nothing runs there: its socket does not exist'
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from chaoslab.core.errors import LabError, UsageError

_HINT: Final = "start one (`sudo systemctl start docker`), or set DOCKER_HOST to one that runs"
_DEFAULT: Final = "unix:///var/run/docker.sock"
# A daemon that is busy with other people's containers answers late; one that is gone, at once.
TIMEOUT_S: Final = 60


def connect() -> Any:
    """A client of the daemon that the environment names (DOCKER_HOST). UsageError where the
    package or the daemon is missing. The caller closes it."""
    docker = _package()
    client = None
    try:
        _knock()
        # `from_env` asks for the daemon's version, so that its absence is known here.
        client = docker.from_env(timeout=TIMEOUT_S)
        client.ping()
        return client
    except (docker.errors.DockerException, OSError, ValueError) as error:
        if client is not None:
            client.close()
        raise UsageError(
            f"the Docker daemon at {address()} cannot be used: {reason_of(error)}", hint=_HINT
        ) from None


def _knock() -> None:
    """OSError where nothing listens: a client that fails while it is made leaves a socket open."""
    scheme, _, path = address().partition("://")
    if scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(TIMEOUT_S)
            probe.connect(path)


def version() -> str:
    """The daemon's version in words; UsageError where there is none."""
    with connected() as client:
        told = client.version()
        driver = client.info().get("Driver", "?")
        return f"{told['Version']} (API {told['ApiVersion']}, {driver}) at {address()}"


@contextmanager
def connected() -> Iterator[Any]:
    """A client for a moment. What the daemon refuses meanwhile is a LabError in its words."""
    client = connect()
    try:
        with told():
            yield client
    finally:
        client.close()


@contextmanager
def told(what: str = "") -> Iterator[None]:
    """Turns what the daemon refuses into a LabError; `what` was to be done."""
    docker = _package()
    try:
        yield
    except (docker.errors.DockerException, OSError) as error:
        words = f"the Docker daemon refused{' to ' + what if what else ''}: {reason_of(error)}"
        raise LabError(words) from None


def address() -> str:
    """Where the daemon is looked for."""
    return os.environ.get("DOCKER_HOST") or _DEFAULT


def reason_of(error: BaseException) -> str:
    """Why it cannot be used, in few words: the package wraps the system's error several times."""
    seen: list[BaseException] = []
    last: BaseException | None = error
    while last is not None and last not in seen:
        seen.append(last)
        inner = [part for part in last.args if isinstance(part, BaseException)]
        last = last.__cause__ or last.__context__ or (inner[0] if inner else None)
    for one in seen:
        if isinstance(one, FileNotFoundError):
            return "nothing runs there: its socket does not exist"
        if isinstance(one, PermissionError):
            return "this user may not use its socket; add the user to the group `docker`"
        if isinstance(one, ConnectionRefusedError):
            return "nothing runs there: it refuses connections"
    words = getattr(error, "explanation", None) or str(error)
    return " ".join(str(words).split())[:400]


def _package() -> Any:
    try:
        import docker  # noqa: PLC0415
        import docker.errors  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            "regions in containers need the package docker, which is not installed",
            hint="pip install 'chaoslab[real]'",
        ) from None
    return docker
