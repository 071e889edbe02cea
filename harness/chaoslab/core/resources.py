"""Finds the data that ships with the package, in a checkout and in an installed wheel alike.

A wheel carries `scenarios/`, `fixtures/` and `wasm_targets/dist/` below `chaoslab/_data/`; a
checkout has them at its top. Everything else asks here and never guesses a path.

>>> resource_path("fixtures/workloads").is_dir()
True
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from chaoslab.core.errors import UsageError


@lru_cache(maxsize=1)
def data_root() -> Path:
    """The folder that holds `scenarios/`, `fixtures/` and `wasm_targets/`."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_data"
    if installed.is_dir():
        return installed
    checkout = package.parent.parent
    if (checkout / "scenarios").is_dir() and (checkout / "fixtures").is_dir():
        return checkout
    raise UsageError(
        "the scenarios and fixtures that ship with chaoslab are missing",
        hint="install the wheel again, or run from a complete checkout",
    )


def resource_path(relative: str, /) -> Path:
    """The path of a packaged file or folder; UsageError where it is not there."""
    path = data_root() / relative
    if not path.exists():
        raise UsageError(
            "a packaged file is missing", value=relative, hint="install chaoslab again"
        )
    return path


def display_path(path: Path, /) -> str:
    """A path as a person would type it: below the data root, relative to that root."""
    try:
        return str(path.resolve().relative_to(data_root()))
    except ValueError:
        return str(path)
