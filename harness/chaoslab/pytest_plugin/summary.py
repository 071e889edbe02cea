"""One line at the end of pytest's output: what all runs of the session showed, and where it is.

Under xdist the runs happen in other processes than the one that prints. So each test carries its
runs as properties of its report; they stand in JUnit's file too.

>>> line_of(["held: a in reports/1", "broken: b in reports/1", "not repeatable: c in reports/2"])
'chaoslab: 1 held, 1 broken, 0 unproven, 1 not repeatable; reports in reports/1, reports/2'
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

_PROPERTY = "chaoslab"
_FOLDERS_MAX = 4


def run_property(word: str, run: str, campaign: str, /) -> tuple[str, str]:
    """A run as a property of a test's report: how it ended, and where it is."""
    return _PROPERTY, f"{word}: {run} in {campaign}"


def line_of(runs: Sequence[str], /) -> str:
    """The line for the runs that such properties tell of."""
    counts = dict.fromkeys(("held", "broken", "unproven"), 0)
    folders: dict[str, None] = {}
    for told in runs:
        word, _, where = told.partition(": ")
        counts[word] = counts.get(word, 0) + 1
        folders[where.partition(" in ")[2]] = None
    shown = sorted(folders)[:_FOLDERS_MAX] + ["…"] * (len(folders) > _FOLDERS_MAX)
    numbers = ", ".join(f"{number} {word}" for word, number in counts.items())
    return f"chaoslab: {numbers}; reports in {', '.join(shown)}"


class Summary:
    """Collects the runs from the reports of tests and prints the line."""

    def __init__(self) -> None:
        self._runs: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes the runs of a test that has ended; its last report has all of them."""
        if report.when == "teardown":
            properties = report.user_properties
            self._runs += [str(value) for name, value in properties if name == _PROPERTY]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints the line where anything was run."""
        if self._runs:
            terminalreporter.write_line(line_of(self._runs))
