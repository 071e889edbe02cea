"""How large a report gets, how long it takes to make, and how long a browser takes to show it.

Two campaigns: one of 10,000 runs, and one run whose history has more than 100,000 entries. The
bounds are 20 MB, and 2 s from opening the file (or a link to a bug in it) to the drawing. The
times depend on the machine; beside them stands what the same browser needs for an empty page.

    python -m tests.bench.report [FOLDER with many/ and long/ in it, made before]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.report_campaign import main as make_campaign
from tests.live.browser import browser, missing

from chaoslab.report.page import write_page

TRIES = 5
EMPTY = "<!DOCTYPE html><title>empty</title><p id='bug-0'>nothing</p>"


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(f"{text}\n")


def opening_ms(started: Any, file: Path, hash: str, selector: str) -> list[int]:
    """How long it took each time from opening a file until an element was drawn."""
    found = []
    for _ in range(TRIES):
        held = started.new_context()
        page = held.new_page()
        began = time.perf_counter()
        page.goto(file.as_uri() + hash)
        page.locator(selector).first.wait_for()
        found.append(round((time.perf_counter() - began) * 1000))
        held.close()
    return sorted(found)


def main(made: Path | None) -> None:
    """Prints one line for each thing that was measured."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        pages = {}
        for kind in ("many", "long"):
            folder = root / kind if made is None else made / kind
            if made is None:
                make_campaign([kind, str(folder)])
            began = time.process_time()
            pages[kind] = write_page(folder, out=root / f"{kind}.html", shown="reports/latest")
            took = time.process_time() - began
            size = pages[kind].stat().st_size / 1e6
            say(f"{kind:<6} made in {took:5.1f} s of processor time, {size:5.1f} MB")
        if missing():
            say(f"not opened: {missing()}")
            return
        empty = root / "empty.html"
        empty.write_text(EMPTY)
        with browser() as started:
            for name, file, hash, selector in (
                ("an empty page", empty, "", "#bug-0"),
                ("10,000 runs: the list", pages["many"], "", "#run-list tbody tr"),
                ("100,000 entries: the page", pages["long"], "", "#run-list tbody tr"),
                ("100,000 entries: a bug", pages["long"], "#bug-0", ".drawing svg .commit"),
                ("100,000 entries: the run", pages["long"], "#run-0", "dialog svg .commit"),
            ):
                times = opening_ms(started, file, hash, selector)
                say(f"{name:<28} {times[len(times) // 2]:>6} ms  (of {TRIES}: {times})")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
