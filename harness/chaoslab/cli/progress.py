"""Progress while runs go on: a bar on a terminal, one line a run when piped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from chaoslab.core.clock import monotonic_ms
from chaoslab.report.words import short_agent, verdict_word
from chaoslab.run.model import RunRecord

_EVERY_MS: Final = 10_000  # between two lines that say nothing but a number


class OnRun(Protocol):
    """Told of each run as it ends."""

    def __call__(self, entry: Mapping[str, Any], record: RunRecord | None, /) -> None:
        """`record` is None for a run that was kept from an earlier start."""
        ...


@contextmanager
def progress(console: Console, total: int) -> Iterator[OnRun]:
    """Shows that something happens; yields the function to tell."""
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task("running", total=total)

            def on_bar(entry: Mapping[str, Any], record: RunRecord | None, /) -> None:
                bar.update(task, advance=1, description=entry["scenario"].ljust(44)[:44])

            yield on_bar
        return

    def on_line(entry: Mapping[str, Any], record: RunRecord | None, /) -> None:
        kept = " (kept)" if record is None else ""
        console.print(
            Text(
                f"{verdict_word(entry):<14} {entry['scenario']} seed {entry['seed']} "
                f"{short_agent(entry['agent'])}{kept}"
            ),
            soft_wrap=True,
        )

    yield on_line


@contextmanager
def steps(console: Console, total: int) -> Iterator[Callable[[str, int], None]]:
    """A bar for many small things; piped, a line where another kind of thing begins."""
    if console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task("running", total=total)
            yield lambda what, n: bar.update(task, advance=n, description=what.ljust(44)[:44])
        return
    last = [""]

    def on_line(what: str, n: int) -> None:
        if what != last[0]:
            last[0] = what
            console.print(Text(f"… {what}"), soft_wrap=True)

    yield on_line


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


class Counting:
    """Counts executions where a person can see it: how many, how many of them are broken, and what
    is being done."""

    def __init__(self, console: Console, bar: Progress | None) -> None:
        self._console, self._bar = console, bar
        self._task = bar.add_task("", total=None) if bar is not None else None
        self._what, self._executed, self._broken, self._broke = "", 0, 0, 0
        self._said_ms = monotonic_ms()
        self._said = ""

    def doing(self, what: str, /) -> None:
        """Another part of the work begins."""
        if what != self._what:
            self._what = what
            self._show(now=True)

    def add(self, words: Sequence[str], /) -> None:
        """So many more rows, each by how it ended; what is equivalent was not executed."""
        self._executed += sum(word != "equivalent" for word in words)
        self._broken += sum(word == "broken" for word in words)
        self._broke += sum(word == "broke" for word in words)
        self._show(now=False)

    def _show(self, *, now: bool) -> None:
        done = f"{self._executed:,} execution{'s' * (self._executed != 1)}"
        done += f", {self._broken:,} broken" if self._broken else ""
        done += f", {self._broke:,} could not run" if self._broke else ""
        if self._bar is not None and self._task is not None:
            told = f"{done}  {self._what}"
            self._bar.update(self._task, description=told[:70].ljust(70))
            return
        late = monotonic_ms() - self._said_ms >= _EVERY_MS
        if not now and not late:
            return
        line = f"… {self._what}: {done}"
        if line != self._said:
            self._said, self._said_ms = line, monotonic_ms()
            self._console.print(Text(line), soft_wrap=True)


@contextmanager
def counting(console: Console) -> Iterator[Counting]:
    """A line that counts on a terminal; piped, a line now and then."""
    if not console.is_terminal:
        yield Counting(console, None)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield Counting(console, bar)
