"""The system's browser, headless, for tests that use a page as a person does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.require import need

from chaoslab.cli.parts import CHROMIUM, part


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
    probe = part("chromium")
    return "" if probe.works else probe.words


@contextmanager
def browser() -> Iterator[Any]:
    """A running browser."""
    need("chromium")
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, CHROMIUM)))
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
