"""Progress while runs go on: a bar on a terminal, one line a run when piped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from chaoslab.report.words import short_agent, verdict_word
from chaoslab.run.model import RunRecord


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
