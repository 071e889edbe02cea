"""A base image without any registry: this machine's own Python, the libraries that it is linked
with, and nothing else. It is made in seconds and has no shell.

Debian's Python is taken where there is one, since it is what a `python:3.11` is nearest to; else
the interpreter that runs. What only people at a keyboard or compilers need stays outside. The
compiled files come along: without them every start of a region takes half a second more.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from chaoslab.backends.docker.daemon import told
from chaoslab.backends.docker.images import LOCAL_BASE
from chaoslab.core.errors import LabError, UsageError

_DEBIAN: Final = "/usr/bin/python3.11"
_LEFT_OUT: Final = shutil.ignore_patterns(
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data"),
    *("site-packages", "dist-packages", "config-*", "_tkinter*.so", "_test*.so", "xx*.so"),
    *("_curses*.so", "readline*.so", "_dbm*.so", "_gdbm*.so", "*.a", "*.opt-?.pyc"),
)
_TOLD: Final = """
import json, sys, sysconfig
print(json.dumps([sys.version.split()[0], sys.executable, sysconfig.get_path("stdlib"),
    sysconfig.get_path("platstdlib"), sys.base_prefix, sys.base_exec_prefix]))
"""
_LIBRARY: Final = re.compile(r"(?:=> )?(/\S+) \(0x")


def make_base(client: Any, /, *, python: str = "") -> str:
    """Makes the base of an interpreter of this machine, and gives its name."""
    if sys.platform != "linux":
        raise UsageError(
            "a base can be made of a Linux machine's own Python only",
            value=sys.platform,
            hint="docker pull python:3.11-slim",
        )
    python = python or (_DEBIAN if os.access(_DEBIAN, os.X_OK) else _own())
    with tempfile.TemporaryDirectory(prefix="chaoslab-base-") as folder:
        version = _stage(python, Path(folder))
        data = _packed(Path(folder))
    tag = f"{LOCAL_BASE}:{version}"
    with told("import the base"):
        client.api.import_image_from_data(
            data,
            repository=LOCAL_BASE,
            tag=version,
            changes=["ENV PATH=/usr/local/bin:/usr/bin:/bin", "LABEL chaoslab.image=base"],
        )
        client.images.get(tag).tag(LOCAL_BASE, tag="latest")
    return tag


def _own() -> str:
    """The interpreter that runs; of a virtual environment, the one that it was made of."""
    return str(Path(sys.executable).resolve())


def _stage(python: str, root: Path) -> str:
    """Lays out a root file system below a folder; the version of its Python."""
    version, executable, *folders = json.loads(_said([python, "-I", "-S", "-c", _TOLD], python))
    if tuple(map(int, version.split(".")[:2])) < (3, 11):
        raise UsageError("regions need Python 3.11 or newer", value=version)
    for name in ("bin", "lib", "lib64", "sbin"):
        link = Path("/", name)
        if link.is_symlink():  # the libraries are looked for by the names that they have here
            (root / name).symlink_to(os.readlink(link))
    for stdlib in dict.fromkeys(folders[:2]):
        shutil.copytree(
            stdlib, _below(root, stdlib), ignore=_LEFT_OUT, symlinks=False, dirs_exist_ok=True
        )
    real = os.path.realpath(executable)
    for path in _needed(real, root, folders[1]):
        _copy(path, root)
    for name in ("python3", "python"):
        link = _below(root, f"/usr/local/bin/{name}")
        if not link.exists() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(real)
    for name, mode in (("tmp", 0o1777), ("data", 0o755), ("etc", 0o755), ("proc", 0o555)):
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(mode)
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    )
    _said([python, "-I", "-S", "-m", "compileall", "-q", str(_below(root, folders[0]))], python)
    return str(version)


def _needed(python: str, root: Path, platstdlib: str) -> Iterator[str]:
    """The interpreter, every library that it or its modules are linked with, and what tells the
    loader where they are."""
    yield python
    cache = "/etc/ld.so.cache"
    if Path(cache).is_file():
        yield cache
    staged = _below(root, platstdlib)
    modules = [str(path) for path in sorted(staged.glob("lib-dynload/*.so"))]
    done = subprocess.run(
        ["/usr/bin/ldd", python, *modules], capture_output=True, text=True, check=False
    )
    yield from sorted(set(_LIBRARY.findall(done.stdout)))


def _below(root: Path, path: str) -> Path:
    """Where a path of this machine stands below the root; its folder by its real name."""
    folder = os.path.realpath(os.path.dirname(path))
    return root / folder.lstrip("/") / os.path.basename(path)


def _copy(path: str, root: Path) -> None:
    target = _below(root, path)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)


def _said(argv: Iterable[str], python: str) -> str:
    """What a command prints. LabError where it fails."""
    try:
        done = subprocess.run(
            list(argv), capture_output=True, text=True, timeout=300, check=False, env={"PATH": "/"}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"this Python cannot be started: {error}", value=python) from None
    if done.returncode:
        words = " ".join(done.stderr.split()[-60:])
        raise LabError(f"the base cannot be made: {words}", value=python)
    return done.stdout


def _packed(root: Path) -> bytes:
    """The root file system as a tar whose files belong to root."""

    def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(root, arcname=".", filter=owned)
    return out.getvalue()
