"""The page about known bugs says what the file is read by, and its example is such a file."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path

from chaoslab.check import CHECK_IDS, Violation
from chaoslab.core.clock import Day
from chaoslab.run.known import DAYS_MAX, KnownBug, known_from, known_text

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "known.md"


def example() -> str:
    """The file that the page shows."""
    (text,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return str(text)


def test_every_key_is_described_and_needed_ones_are_called_so() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [\w ]+ \| (\S+) \|", PAGE.read_text(encoding="utf-8"), re.M)
    needed = {f.name: f.default is MISSING for f in fields(KnownBug)}
    assert {name: default == "required" for name, default in rows} == needed
    assert f"at most {DAYS_MAX} days" in PAGE.read_text(encoding="utf-8")


def test_the_example_is_what_the_command_writes_of_a_real_bug() -> None:
    known = known_from(tomllib.loads(example()), "known.md", today=Day(2026, 1, 31))
    assert known_text(known).endswith(example())
    (bug,) = known.entries
    assert bug.check in CHECK_IDS
    same = Violation(
        check=bug.check,
        code=bug.code,
        subject="",
        explanation="",
        witness=(),
        tool=bug.tool,
        anomaly=bug.anomaly,
    )
    assert same.fingerprint == bug.fingerprint
