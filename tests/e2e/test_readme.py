"""The README is true: its agent runs and holds, and its first screen is what the demo prints."""

from __future__ import annotations

import re
from pathlib import Path

from .conftest import ROOT, Run

TEXT = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """The fenced block of a language that contains a text."""
    found = [b for b in re.findall(rf"```{language}\n(.*?)```", TEXT, re.S) if containing in b]
    assert len(found) == 1
    return str(found[0])


def test_the_agent_holds_and_without_its_key_it_does_not(chaoslab: Run, here: Path) -> None:
    code = block("python", "class Mine")
    assert len([line for line in code.splitlines() if line.strip()]) <= 24
    (here / "mine.py").write_text(code)
    (here / "mine.toml").write_text(block("toml", "exactly-once"))
    command = re.search(r"chaoslab (run timeout-after-commit .*)", block("sh", "mine.py"))
    assert command is not None
    held = chaoslab(*command.group(1).split())
    assert held.returncode == 0, held.stdout
    (here / "mine.py").write_text(code.replace("key=task.id", 'key=f"{task.id}-{n}"'))
    broken = chaoslab(*command.group(1).split())
    assert broken.returncode == 1 and "effects.delivery" in broken.stdout


def test_the_first_screen_is_what_the_demo_prints(chaoslab: Run) -> None:
    shown = block("console", "chaoslab demo").split("\n", 1)[1]
    assert chaoslab("demo").stdout.strip() == shown.strip()
