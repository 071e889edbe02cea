"""The committed sample is what the product makes today, and says what a sample should show."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

from tests.quality.markdown import ROOT

from chaoslab.report.page.render import script_text, style_text

PAGE = (ROOT / "reports" / "sample" / "report.html").read_text(encoding="utf-8")
AGAIN = "make it again: make sample"


def chunk(name: str) -> Any:
    """Some of the data in the page."""
    [text] = re.findall(rf'id="chunk-{name}">([^<]+)<', PAGE)
    return json.loads(zlib.decompress(base64.b64decode(text)))


def test_it_is_drawn_by_the_script_of_today() -> None:
    assert script_text() in PAGE, AGAIN
    assert style_text() in PAGE, AGAIN


def test_it_shows_all_states_of_a_promise_and_a_bug_with_its_story() -> None:
    for state in ("proven", "broken", "unproven", "not-promised"):
        assert f'data-state="{state}"' in PAGE
    first = chunk("bug-0")
    assert first["run"] >= 0 and len(first["focus"]) >= 5
    kinds = [one["kind"] for one in first["lineage"]["anomalies"]]
    assert "duplicate-by-marker" in kinds
    words = {row[4] for row in chunk("runs")["rows"]}
    assert {"held", "broken", "unproven", "bug found"} <= words


def test_it_names_no_place_of_the_machine_that_made_it() -> None:
    runs = chunk("runs")
    assert all(name.startswith("fixtures/") for name in runs["agents"]), runs["agents"]
    assert "/tmp/" not in PAGE
    assert len(PAGE) < 1_000_000


def test_the_pictures_of_the_readme_are_there_and_not_heavy() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((docs/images/[^)]+)\)", readme)
    assert len(pictures) >= 2
    for name in pictures:
        data = (ROOT / name).read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) < 300_000
