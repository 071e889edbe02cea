"""Reads the documentation's Markdown, for the tests that hold it to the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Rows = list[list[str]]


def named(path: Path) -> str:
    """A page's path from the top of the checkout."""
    return str(path.relative_to(ROOT))


def text_of(path: Path) -> str:
    """A file's text."""
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(path), re.M | re.S)


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text_of(path), flags=re.M | re.S)


def sections(path: Path) -> dict[str, str]:
    """The text below each heading, up to the next heading of any level."""
    parts = re.split(r"^#+ (.+)$", prose(path), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def tables(text: str) -> list[Rows]:
    """The tables of a text, without their headings."""
    found: list[Rows] = []
    for group in re.findall(r"(?:^\|.*\|$\n?)+", text, re.M):
        rows = [[c.strip() for c in line.strip("|").split("|")] for line in group.splitlines()]
        found.append([row for row in rows[1:] if set(row[0]) - set("-: ")])
    return found


def table(path: Path, heading: str) -> Rows:
    """The one table below a heading."""
    (only,) = tables(sections(path)[heading])
    return only


def code(cell: str) -> str:
    """What stands in the first backticks of a cell."""
    found = re.match(r"`([^`]+)`", cell)
    return found.group(1) if found else ""


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
