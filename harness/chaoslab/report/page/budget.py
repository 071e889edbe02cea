"""Which runs are shown in full, under a bound on the size of the page.

A campaign may have 10,000 runs, and a page must stay small enough for a mail. Every run has its
row; what else of it is in the page follows from what a reader opens first: the example of each
bug, then one run of each row of the matrix and each word of it (what is unproven or cannot be
repeated before what held), with their histories. Of the others there are the checks and their
reasons, while there is room; a small campaign is shown whole.

>>> room = Room(200)
>>> room.take({"a": b"x" * 90}), room.take({"b": b"x" * 90}), room.left
(True, False, 47)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chaoslab.report.words import verdict_word

# What no other row shows stands before what is as it should be.
_WORDS: Final = (
    *("could not run", "not repeatable", "unproven", "BUG MISSED", "broken"),
    *("bug found", "held", "not applicable"),
)
_FIRST: Final = ("fault", "control")
RUNS_FEW: Final = 12  # so many runs are shown whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A run, its number in `runs` of results.json, and the histories that are wanted of it.

    `must`: it is shown even where its histories find no room. `drawn`: its history is wanted, and
    with `whole` the fault-free one too. `shows`: the histories in which a bug is seen,
    which come before the others.
    """

    run: int
    must: bool = False
    drawn: bool = True
    whole: bool = True
    shows: tuple[str, ...] = ()

    def wanted(self, there: tuple[str, ...], /) -> list[str]:
        """The histories of this run to put in, of those that are on disk, first things first.

        >>> there = ("fault", "control", "repeat-1", "repeat-2")
        >>> Pick(run=0, shows=("repeat-2",)).wanted(there), Pick(run=1, whole=False).wanted(there)
        (['repeat-2', 'fault', 'control'], ['fault'])
        """
        if not self.drawn:
            return []
        found = [where for where in dict.fromkeys((*self.shows, *_FIRST)) if where in there]
        return found if self.whole else found[:1]


class Room:
    """The bytes that are left. `keep` bytes of them are for what is small and must be there."""

    def __init__(self, most: int, /, *, keep: int = 0) -> None:
        self.left = most
        self.keep = keep

    def fits(self, chunks: Mapping[str, bytes], /, *, among: Mapping[str, bytes]) -> bool:
        """Whether there is room for chunks beside others that are to be taken too."""
        return size(chunks) + size(among) <= self.left - self.keep

    def spend(self, chunks: Mapping[str, bytes], /, *, more: int = 0) -> None:
        """Takes the room for what must be there whether it fits or not."""
        self.left -= size(chunks) + more

    def take(self, chunks: Mapping[str, bytes], /) -> bool:
        """Takes the room for some chunks; false where there is not so much."""
        wanted = size(chunks)
        if wanted > self.left:
            return False
        self.left -= wanted
        return True


# The element around a chunk.
_AROUND: Final = len('<script type="application/octet-stream" id="chunk-"></script>\n')


def size(chunks: Mapping[str, bytes], /) -> int:
    """What chunks add to a page."""
    return sum(len(text) + len(name) + _AROUND for name, text in chunks.items())


def picks(results: Mapping[str, Any], /) -> Iterator[Pick]:
    """Every run once, in the order in which room is given to them."""
    runs = results["runs"]
    numbers = {run["id"]: n for n, run in enumerate(runs)}
    shows: dict[int, dict[str, None]] = {}
    for bug in results.get("bugs", ()):
        if bug["example"] in numbers:
            shows.setdefault(numbers[bug["example"]], {})[str(bug["where"])] = None
    for number, wheres in shows.items():
        yield Pick(run=number, must=True, shows=tuple(wheres))
    few = len(runs) <= RUNS_FEW
    firsts = [number for number in _of_each_kind(runs) if number not in shows]
    for number in firsts:
        yield Pick(run=number, must=True, whole=few, shows=_breaks_in(runs[number]))
    seen = {*shows, *firsts}
    for number, run in enumerate(runs):
        if number not in seen:
            yield Pick(run=number, drawn=few, whole=False, shows=_breaks_in(run))


def _breaks_in(run: Mapping[str, Any]) -> tuple[str, ...]:
    """The histories in which its breaches are."""
    return tuple(dict.fromkeys(str(violation["where"]) for violation in run["violations"]))


def _of_each_kind(runs: list[Mapping[str, Any]]) -> list[int]:
    """The first run of each row of the matrix with each word; planted bugs have no row."""
    found: dict[tuple[str, str, str], int] = {}
    for number, run in enumerate(runs):
        if run["role"] == "subject":
            key = (verdict_word(run), run["scenario"], run["agent"])
            found.setdefault(key, number)
    order = {word: rank for rank, word in enumerate(_WORDS)}
    return sorted(found.values(), key=lambda n: (order.get(verdict_word(runs[n]), 0), n))
