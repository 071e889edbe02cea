"""The system's browser, headless, for tests that use a page as a person does.

What is missing is said in words; where `CHAOSLAB_REQUIRE` names `chromium`, that is a failure and
not a skip.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(slots=True)
class Opened:
    """A page, and everything that it said or asked for: it should be nothing at all."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def dialog(self, dialog: Any) -> None:
        """A window over the page, which nobody opened on purpose."""
        self.said.append(f"dialog: {dialog.message}")
        dialog.dismiss()


def missing() -> str:
    """What is not there, in words; "" where everything is."""
    for module in ("playwright", "axe_playwright_python"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed; next: pip install 'chaoslab[browser]'"
    if not any(map(shutil.which, NAMES)):
        return "there is no Chromium; next: apt-get install chromium"
    return ""


def need_browser() -> None:
    """Skips, or fails where a browser is required."""
    words = missing()
    if not words:
        return
    if "chromium" in re.split(r"[\s,]+", os.environ.get("CHAOSLAB_REQUIRE", "")):
        pytest.fail(words)
    pytest.skip(words)


@contextmanager
def browser() -> Iterator[Any]:
    """A running browser."""
    need_browser()
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)))
    # As root, as in most containers, Chromium does not start with its sandbox.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=path, args=options)
        try:
            yield started
        finally:
            started.close()


@contextmanager
def opened(started: Any, file: Path, /, *, hash: str = "", **context: Any) -> Iterator[Opened]:
    """A file in a page of its own, opened from disk."""
    held = started.new_context(**context)
    page = held.new_page()
    found = Opened(page)
    page.on("console", lambda m: found.said.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda error: found.said.append(f"error: {error}"))
    page.on("dialog", lambda dialog: found.dialog(dialog))
    page.on("request", lambda request: found.asked.append(request.url))
    try:
        page.goto(file.as_uri() + hash)
        yield found
    finally:
        held.close()
