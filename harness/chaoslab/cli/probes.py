"""What works on this machine: each part is tried, and its own words say why it does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from chaoslab.core.errors import ChaosError
from chaoslab.links.servers import ORIGINAL, missing_original
from chaoslab.run.select import known_scenarios
from chaoslab.run.workers import Worker
from chaoslab.wasm import load_module


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One part. `needed`: `make chaos` cannot do without it."""

    name: str
    works: bool
    words: str
    needed: bool = True


def probes() -> Iterator[Probe]:
    """Tries every part, cheap ones first."""
    yield Probe(
        name="python",
        works=sys.version_info >= (3, 11),
        words=f"{sys.version.split()[0]} (3.11 or newer is needed)",
    )
    for package in ("wasmtime", "faker", "rich", "hypothesis"):
        yield _package(package)
    yield _tried("scenarios", lambda: f"{len(known_scenarios())} found")
    for build in ("abort", "unwind"):
        yield _tried(f"ticket-{build}.wasm", lambda b=build: _module(b))  # type: ignore[misc]
    yield _tried("worker interpreter", _worker)
    yield _tried("reports", _reports)
    yield _package("distributed", "only --executor needs it: pip install 'chaoslab[cluster]'")
    yield _package("psycopg", "only --store postgresql:// needs it: pip install 'chaoslab[real]'")
    yield _package("toxiproxy-python", "only faults on links need it: pip install 'chaoslab[real]'")
    yield _toxiproxy()
    yield _rust()


def _package(name: str, only: str = "") -> Probe:
    """A package; `only`: who needs it, where the lab works without it."""
    try:
        return Probe(name=name, works=True, words=metadata.version(name), needed=not only)
    except metadata.PackageNotFoundError:
        words = f"not installed; {only or 'install chaoslab again'}"
        return Probe(name=name, works=False, words=words, needed=not only)


def _tried(name: str, action: Callable[[], str]) -> Probe:
    try:
        return Probe(name=name, works=True, words=action())
    except (ChaosError, OSError) as error:
        return Probe(name=name, works=False, words=str(error))


def _module(build: str) -> str:
    load_module("ticket", build)
    return "checksum right, compiles"


def _worker() -> str:
    worker = Worker("first")
    try:
        return "starts" if worker.usable else "ended at once"
    finally:
        worker.kill()


def _reports() -> str:
    folder = Path("reports")
    with tempfile.TemporaryFile(dir=folder if folder.is_dir() else Path()):
        return f"{folder.resolve()} can be written"


def _toxiproxy() -> Probe:
    words = missing_original()
    return Probe(
        name=ORIGINAL, works=not words, words=words or str(shutil.which(ORIGINAL)), needed=False
    )


def _rust() -> Probe:
    cargo = shutil.which("cargo")
    if cargo is None:
        words = "cargo is not on PATH; only `make wasm`, which rebuilds the modules, needs it"
        return Probe(name="rust", works=False, words=words, needed=False)
    try:
        done = subprocess.run(
            [cargo, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
        words = done.stdout.strip() or done.stderr.strip()
        return Probe(name="rust", works=done.returncode == 0, words=words, needed=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe(name="rust", works=False, words=str(error), needed=False)
