"""The image of a region: a bare Python and the package `chaoslab.regions`, nothing else.

An image is named by what is in it, so it is built once and never again until that changes. The
base is given, or found, in this order: `base` or `CHAOSLAB_BASE`; `python:3.11-slim` if the daemon
has it already; what `chaoslab docker-base` made of this machine's own Python, for places without a
registry. Nothing is fetched from anywhere unless `CHAOSLAB_BASE` names it.

>>> files = context()
>>> "chaoslab/regions/__init__.py" in files and "chaoslab/cli/entry.py" not in files
True
>>> tag_of(files, "sha256:0") == tag_of(files, "sha256:0") != tag_of(files, "sha256:1")
True
"""

from __future__ import annotations

import io
import os
import tarfile
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from chaoslab.backends.docker.daemon import told
from chaoslab.core.errors import LabError, UsageError

BASE_VARIABLE: Final = "CHAOSLAB_BASE"
SLIM: Final = "python:3.11-slim"
LOCAL_BASE: Final = "chaoslab-base"
REPOSITORY: Final = "chaoslab-region"
PORT, PEER_PORT = 7400, 7401
USER: Final = 65534  # `nobody`: it owns nothing on the host
DATA: Final = "/data"

# For people who look at `docker ps`; the lab itself waits for an answer to a request of its own,
# since the daemon's proxy takes connections before the region listens. There need not be a shell.
_HEALTH: Final = "import socket; socket.create_connection(('127.0.0.1', {port}), timeout=2).close()"
DOCKERFILE: Final = f"""\
# Made by chaoslab. Without a registry: `chaoslab docker-base` makes a base of the local Python.
ARG BASE={SLIM}
FROM ${{BASE}}
ENV PYTHONPATH=/opt/chaoslab PYTHONUNBUFFERED=1 PYTHONHASHSEED=0
COPY chaoslab /opt/chaoslab/chaoslab
# Compiled now: its root is read-only later, and a start would be slower each time.
RUN ["python3", "-m", "compileall", "-q", "/opt/chaoslab"]
USER {USER}:{USER}
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 \\
  CMD ["python3", "-S", "-c", "{_HEALTH.format(port=PORT)}"]
ENTRYPOINT ["python3", "-m", "chaoslab.regions"]
"""


def context() -> dict[str, bytes]:
    """The files that go into an image, by their path in it."""
    package = Path(__file__).resolve().parents[2]
    paths = [package / "__init__.py", *sorted((package / "regions").glob("**/*.py"))]
    return {f"chaoslab/{path.relative_to(package)}": path.read_bytes() for path in paths}


def tag_of(files: dict[str, bytes], base_id: str, /) -> str:
    """The name of an image: a digest of what is in it."""
    hashed = blake2b(digest_size=8)
    for part in (base_id, DOCKERFILE, *files):
        hashed.update(part.encode() + b"\0")
    for content in files.values():
        hashed.update(blake2b(content).digest())
    return f"{REPOSITORY}:{hashed.hexdigest()}"


def region_image(client: Any, /, *, base: str = "") -> str:
    """The name of the image, which is built where it is not there yet."""
    import docker.errors  # noqa: PLC0415

    base = base_of(client, base=base)
    files = context()
    with told(f"look for the image {base}"):
        tag = tag_of(files, _image_id(client, base) or base)
    if _image_id(client, tag):
        return tag
    try:
        client.images.build(
            fileobj=io.BytesIO(packed({"Dockerfile": DOCKERFILE.encode(), **files})),
            custom_context=True,
            buildargs={"BASE": base},
            tag=tag,
            rm=True,
            forcerm=True,
            labels={"chaoslab.image": "region"},
        )
    except (docker.errors.BuildError, docker.errors.APIError) as error:
        raise LabError(
            f"the image of the regions cannot be built on {base}: {error}",
            hint="another base, with Python 3.11 or newer as python3, goes into CHAOSLAB_BASE",
        ) from None
    return tag


def base_of(client: Any, /, *, base: str = "") -> str:
    """Which base is used. UsageError where there is none."""
    asked = base or os.environ.get(BASE_VARIABLE, "")
    if asked:
        return asked
    for name in (SLIM, f"{LOCAL_BASE}:latest"):
        if _image_id(client, name):
            return name
    raise UsageError(
        f"there is no image to build regions on: the daemon has neither {SLIM} nor {LOCAL_BASE}",
        hint=f"`chaoslab docker-base` makes one of this machine's Python; or `docker pull {SLIM}`; "
        f"or name another one with Python in {BASE_VARIABLE}",
    )


def _image_id(client: Any, name: str) -> str:
    """The identity of an image; empty where the daemon does not have it."""
    import docker.errors  # noqa: PLC0415

    try:
        return str(client.images.get(name).id)
    except docker.errors.ImageNotFound:
        return ""


def packed(files: dict[str, bytes]) -> bytes:
    """A tar of some files, the same for the same files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()
