"""Makes the report that is committed under reports/sample, and its pictures for the README.

The agent is the one of `chaoslab demo`, over the matrix, with the planted bugs; so the sample shows
what is proven, broken, unproven and not promised. Of each bug the smallest run is drawn; without
the race of two deliveries, which needs no fault, that is a lost reply. Pictures need a browser.

    python -m tests.bench.sample
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.live.browser import browser, missing, opened

from chaoslab.cli import main as chaoslab
from chaoslab.run.select import known_scenarios

ROOT = Path(__file__).resolve().parents[2]
AGENT = "fixtures/agents/double_charge.py:make_agent"
LEFT_OUT = ("matrix/duplicate-delivery",)
SAMPLE = ROOT / "reports" / "sample"
IMAGES = ROOT / "docs" / "images"
WIDE = {"width": 1280, "height": 820}


def make_report() -> Path:
    """The sample's page, made by the command as a person would."""
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        names = [n for n in known_scenarios() if n.startswith("matrix/") and n not in LEFT_OUT]
        code = chaoslab(["run", *names, "--agent", AGENT, "--planted"])
        assert code == 1, code
        SAMPLE.mkdir(parents=True, exist_ok=True)
        page = SAMPLE / "report.html"
        shutil.copyfile("reports/latest/report.html", page)
        os.chdir(ROOT)
    return page


def picture(started: Any, page: Path) -> None:
    """The top of the page, and the drawings of its first bug."""
    IMAGES.mkdir(exist_ok=True)
    with opened(started, page, viewport=WIDE, device_scale_factor=1) as held:
        held.page.locator("#run-list tbody tr").first.wait_for()
        held.page.screenshot(path=IMAGES / "report.png")
    with opened(started, page, viewport=WIDE, hash="#bug-0") as held:
        lineage = held.page.locator("#bug-0 [data-draw='lineage']")
        story = held.page.locator("#bug-0 [data-draw='space-time']")
        story.locator("svg .commit").first.wait_for()
        first, second = lineage.bounding_box(), story.bounding_box()
        held.page.screenshot(
            path=IMAGES / "story.png",
            full_page=True,
            clip={
                "x": first["x"],
                "y": first["y"] + held.page.evaluate("scrollY"),
                "width": first["width"],
                "height": second["y"] + second["height"] - first["y"],
            },
        )


def main() -> None:
    """Makes all of it."""
    page = make_report()
    if missing():
        sys.stdout.write(f"no pictures: {missing()}\n")
        return
    with browser() as started:
        picture(started, page)


if __name__ == "__main__":
    main()
