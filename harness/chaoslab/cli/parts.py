"""The real parts: programs and servers beside the lab, each with a way to see that it works here.

None of them is needed for `make chaos`. A probe tries the part itself where that is cheap, and says
in its own words why it does not work; the tests that need it skip with the same words.

>>> sorted(PARTS)
['chromium', 'docker', 'node', 'postgres', 'rust', 'toxiproxy']
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaoslab.backends.docker.daemon import version
from chaoslab.core.errors import ChaosError
from chaoslab.links.servers import ORIGINAL, missing_original

CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
_POSTGRES: Final = "/usr/lib/postgresql"  # where Debian keeps the programs of each version
_NODE_MIN: Final = 22
_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One part. `needed`: `make chaos` cannot do without it."""

    name: str
    works: bool
    words: str
    needed: bool = True


class _AbsentError(Exception):
    """The part does not work here; its words say why, and what is next."""


def parts() -> Iterator[Probe]:
    """Tries every real part."""
    for name in PARTS:
        yield part(name)


def part(name: str, /) -> Probe:
    """Tries one real part. KeyError for a name that is none of `PARTS`."""
    try:
        return Probe(name=name, works=True, words=PARTS[name](), needed=False)
    except _AbsentError as error:
        return Probe(name=name, works=False, words=str(error), needed=False)


def postgres_program(name: str, /) -> str | None:
    """The path of a PostgreSQL program: on PATH, or where Debian keeps the newest version's."""
    found = [str(p) for p in Path(_POSTGRES).glob(f"*/bin/{name}")]
    newest = max(found, key=lambda path: int(re.sub(r"\D", "", path) or 0), default=None)
    return shutil.which(name) or newest


def _docker() -> str:
    try:
        return version()
    except ChaosError as error:
        raise _AbsentError(f"{error}; only --backend docker needs it") from None


def _toxiproxy() -> str:
    _package("toxiproxy", "real")
    words = missing_original()
    if words:
        raise _AbsentError(
            f"{words}: go install github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0, "
            f"and name it {ORIGINAL}"
        )
    return str(shutil.which(ORIGINAL))


def _postgres() -> str:
    _package("psycopg", "real")
    found, made = postgres_program("postgres"), postgres_program("initdb")
    if found is None or made is None:
        missing = "postgres" if found is None else "initdb"
        raise _AbsentError(
            f"{missing} is neither on PATH nor below {_POSTGRES}; only tests start a server of "
            "their own, --store takes any: apt-get install postgresql"
        )
    return _said(found, "--version")


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        raise _AbsentError(
            "there is no Chromium on PATH; only tests of the report need it: "
            "apt-get install chromium"
        )
    for module in ("playwright", "axe_playwright_python"):
        _package(module, "browser")
    return found  # it takes a second to ask for its version


def _node() -> str:
    found = shutil.which("node")
    if found is None:
        raise _AbsentError(
            f"node is not on PATH; only the Node example needs it: Node {_NODE_MIN} or newer"
        )
    words = _said(found, "--version")
    if int(re.sub(r"\D.*", "", words.lstrip("v")) or 0) < _NODE_MIN:
        raise _AbsentError(
            f"{words} is too old for the Node example: Node {_NODE_MIN} or newer, as "
            f"`npm install node@{_NODE_MIN}` brings it"
        )
    return words


def _rust() -> str:
    found = shutil.which("cargo")
    if found is None:
        raise _AbsentError(
            "cargo is not on PATH; only `make wasm`, which rebuilds the modules, needs it"
        )
    return _said(found, "--version")


def _package(module: str, extra: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise _AbsentError(f"{module} is not installed; next: pip install 'chaoslab[{extra}]'")


def _said(*command: str) -> str:
    """The first line that a program prints."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _AbsentError(str(error)) from None
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    words = lines[0] if lines else f"{command[0]} said nothing"
    if done.returncode != 0:
        raise _AbsentError(words)
    return words


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "toxiproxy": _toxiproxy,
    "docker": _docker,
    "postgres": _postgres,
    "chromium": _chromium,
    "node": _node,
    "rust": _rust,
}
