"""The data inside a page: small packed pieces, each opened in the page when somebody looks at it.

A chunk is JSON, deflated, in Base64: the page decodes the list of runs when it opens and a history
when it is drawn. The same campaign gives the same bytes, so two reports of it can be compared.
Which runs are in it at all is told by `budget`; all words are masked, and the values of a history
are apart from its skeleton (see `histories`).

>>> decode(encode({"runs": [1, 2]}))
{'runs': [1, 2]}
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from chaoslab.core.resources import display_path
from chaoslab.report.page.budget import Pick, Room, picks
from chaoslab.report.page.failures import replay_command
from chaoslab.report.page.histories import browser_safe, skeleton, value_blocks
from chaoslab.report.page.material import Material, RunFiles
from chaoslab.report.words import verdict_word

BYTES_MAX: Final = 14_000_000
WHY_MAX: Final = 120
REASON_MAX: Final = 4_000  # where one run is looked at, its reason is not cut short
VIOLATIONS_MAX: Final = 40
DETAILS_BLOCK: Final = 250  # as in runs.js
# The next levels take twice the time for a few parts in a hundred.
_LEVEL: Final = 6
# So many runs in a row that found no room: what is left is too little to go on.
_MISSES_MAX: Final = 5
_WHERE: Final = re.compile(r"fault|control|repeat(-\d+)?")
_VERDICTS: Final = {"valid": "held", "invalid": "broken", "unknown": "unproven"}
_COLUMNS: Final = (
    *("n", "scenario", "agent", "seed", "word", "planned", "eligible", "fired", "tries"),
    *("recovery_ms", "wall_ms", "entries", "detail", "folder", "bugs", "why"),
)

Chunks = dict[str, bytes]


class Failed(Protocol):
    """What a chunk of a bug is made from; `failures.Failure` is one."""

    @property
    def bug(self) -> Mapping[str, Any]:
        """Its row of `bugs` in results.json."""

    @property
    def run(self) -> RunFiles | None:
        """The run that shows it, where its folder is there."""

    @property
    def lineage(self) -> Mapping[str, Any]:
        """The threads of its action."""

    @property
    def focus(self) -> Sequence[int]:
        """The entries that tell its story."""


def encode(value: Any, /) -> bytes:
    """A chunk: canonical compact JSON, deflated, as Base64. Text outside of ASCII is escaped, so
    half a character in a history stays what it is."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("ascii"), _LEVEL))


def decode(chunk: bytes, /) -> Any:
    """What a chunk holds; the page does the same."""
    return json.loads(zlib.decompress(base64.b64decode(chunk)))


def chunks_of(
    material: Material,
    failures: Iterable[Failed],
    /,
    *,
    bytes_max: int = BYTES_MAX,
    folder: str | None = None,
) -> Chunks:
    """All chunks of a page by name: `runs`, `run-N`, `details-K` for the runs that are not drawn
    (K = N // 250), `bug-K`, `hist-N-WHERE`, `vals-N-WHERE-K`.

    Their Base64 text and the elements around it are no longer than `bytes_max`, but for the list
    of runs itself, which is always whole. `folder` is the campaign's, as a person would type it.
    """
    # A twentieth is kept for what says in words what a picture had no room for.
    room = Room(bytes_max, keep=bytes_max // 20)
    listed = runs_chunk(material.results)
    # Which runs have details is not known yet; that is a few bits a run.
    room.spend({"runs": encode(listed)}, more=len(listed["rows"]) // 2)
    out: Chunks = {}
    drawn = _Drawn(material, room, out, folder or display_path(material.folder))
    begun = False
    for pick in picks(material.results):
        if not pick.must and not begun:
            begun = True
            _bugs(material, failures, room, out)
            room.keep = 0
        if pick.drawn and not drawn.put(pick):
            break
    if not begun:
        _bugs(material, failures, room, out)
    drawn.put_others([pick.run for pick in picks(material.results) if not pick.drawn])
    for number in drawn.detailed:
        listed["rows"][number][_COLUMNS.index("detail")] = 1
    return {"runs": encode(listed), **out}


class _Drawn:
    """Puts runs into the page while there is room."""

    def __init__(self, material: Material, room: Room, out: Chunks, typed: str) -> None:
        self._typed = typed
        self._material, self._room, self._out = material, room, out
        self._misses = 0
        self._ops = self._bytes = 0  # of what is in so far: to guess before a file is read
        self.detailed: list[int] = []

    def put(self, pick: Pick) -> bool:
        """Puts in what there is room for; false where it is no use to go on."""
        entry = self._material.results["runs"][pick.run]
        if not pick.must and self._guess(entry) > self._room.left:
            return True
        made: Chunks = {}
        shown, crowded = [], False
        run = self._material.run(entry["id"])
        missing = [] if run.present else [f"no history: {run.trouble}"]
        for where in pick.wanted(tuple(filter(_WHERE.fullmatch, run.wheres))):
            one = history_chunks(pick.run, run, where)
            if not one:
                missing.append(f"{_named(where)} cannot be read: {run.trouble}")
            elif self._room.fits(one, among=made):
                made |= one
                shown.append(where)
            else:
                crowded = True
                missing.append(_no_room(run, where))
        detail = detail_of(run, shown, missing, replay_command(self._typed, run.entry["id"]))
        made = {f"run-{pick.run}": encode(detail), **made}
        if (crowded and not pick.must) or not self._room.take(made):
            self._misses += not pick.must
            return self._misses < _MISSES_MAX
        if shown:
            self._ops += entry["ops"]
            self._bytes += sum(map(len, made.values()))
        self._out |= made
        self.detailed.append(pick.run)
        return True

    def put_others(self, runs: Sequence[int]) -> None:
        """Puts in what the entries of further runs say, many to a chunk: thousands of small ones
        would cost more than they hold, in bytes and when the page opens."""
        blocks: dict[int, dict[str, Any]] = {}
        for n in runs:
            entry = self._material.results["runs"][n]
            # Its entry alone says enough, and is masked already.
            run = RunFiles(entry=entry, folder=self._material.folder, present=False)
            detail = detail_of(run, (), [_ELSEWHERE], replay_command(self._typed, entry["id"]))
            blocks.setdefault(n // DETAILS_BLOCK, {})[str(n)] = detail
        for k, block in blocks.items():
            made = {f"details-{k}": encode(block)}
            if self._room.take(made):
                self._out |= made
                self.detailed += map(int, block)

    def _guess(self, entry: Mapping[str, Any]) -> int:
        """About how much a run takes, going by those before it; rather too little."""
        return entry["ops"] * self._bytes // self._ops // 2 if self._ops else 0


def history_chunks(number: int, run: RunFiles, where: str, /) -> Chunks:
    """The skeleton and the values of one history; nothing where it cannot be read."""
    view = run.view(where)
    if view is None:
        return {}
    out = {f"hist-{number}-{where}": encode(skeleton(view, run.contract, run.mask))}
    for k, block in enumerate(value_blocks(view, run.mask)):
        out[f"vals-{number}-{where}-{k}"] = encode(block)
    return out


_ELSEWHERE: Final = (
    "no history: the page draws the examples of each bug and one run of each row of the matrix; "
    "those of this run are in its folder"
)


def _named(where: str) -> str:
    names = {"fault": "the history with faults", "control": "the fault-free history"}
    return names.get(where, f"the repetition ({where})")


def _no_room(run: RunFiles, where: str) -> str:
    view = run.view(where)
    count = len(view) if view is not None else 0
    return (
        f"{_named(where)} has {count:,} entries, and there is no room for it in this page;"
        f" it is {where}.jsonl in the run's folder"
    )


def detail_of(
    run: RunFiles, shown: Sequence[str], missing: Sequence[str], replay: str, /
) -> dict[str, Any]:
    """What the page shows of one run: chunk `run-N`. `shown` are its histories in the page, and
    `missing` says why others are not there."""
    entry = run.entry
    told = [(violation, False) for violation in entry["violations"]]
    told += [(violation, True) for violation in entry.get("warnings", ())]
    detail = {
        "id": entry["id"],
        "title": entry["title"],
        "scenario": entry["scenario"],
        "agent": entry["agent"],
        "backend": entry["backend"],
        "seed": entry["seed"],
        "word": verdict_word(entry),
        "why": _why(entry, {}, REASON_MAX),
        "differs": str(entry["differs"] or "")[:REASON_MAX],
        "replay": replay,
        "checks": [
            [name, _VERDICTS.get(said["verdict"], "not applicable"), said["reason"]]
            for name, said in entry["checks"].items()
        ],
        "violations": [_violation(*one) for one in told[:VIOLATIONS_MAX]],
        "violations_left_out": max(0, len(told) - VIOLATIONS_MAX),
        "histories": list(shown),
        "left_out": "; ".join(missing),
        "faults": dict(entry["faults"]),
        "notes": [run.mask.text(note) for note in run.notes],
    }
    safe = browser_safe(detail)
    assert isinstance(safe, dict)
    return safe


def _violation(violation: Mapping[str, Any], warning: bool) -> dict[str, Any]:
    names = ("fingerprint", "check", "code", "explanation", "where", "witness", "because")
    return {**{name: violation.get(name) for name in names}, "warning": warning}


def runs_chunk(results: Mapping[str, Any], /) -> dict[str, Any]:
    """The list of all runs, a row each, none with details yet. The fingerprints begin with those
    of `bugs` in results.json, in their order."""
    scenarios, agents, fingerprints = _Numbered(), _Numbered(), _Numbered()
    titles: dict[tuple[str, str], str] = {}
    for bug in results.get("bugs", ()):
        fingerprints.of(bug["fingerprint"])
        titles.setdefault((bug["agent"], bug["fingerprint"]), bug["title"])
    rows = []
    for n, run in enumerate(results["runs"]):
        faults = run["faults"]
        told = dict.fromkeys(v["fingerprint"] for v in run["violations"])
        rows.append(
            [
                n,
                scenarios.of(run["scenario"]),
                agents.of(run["agent"]),
                run["seed"],
                verdict_word(run),
                *(faults["planned"], faults["eligible"], faults["fired"]),
                run["attempts_max"],
                run["recovery_ms"],
                run["wall_ms"],
                run["ops"],
                0,
                run["id"],
                [fingerprints.of(name) for name in told],
                _why(run, titles),
            ]
        )
    safe = browser_safe(
        {
            "scenarios": scenarios.all,
            "agents": agents.all,
            "fingerprints": fingerprints.all,
            "columns": list(_COLUMNS),
            "rows": rows,
        }
    )
    assert isinstance(safe, dict)
    return safe


class _Numbered:
    """Each name once, with its number."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, name: str) -> int:
        """The number of a name."""
        return self._known.setdefault(name, len(self._known))

    @property
    def all(self) -> list[str]:
        """The names in order of their numbers."""
        return list(self._known)


def _why(run: Mapping[str, Any], titles: Mapping[tuple[str, str], str], most: int = WHY_MAX) -> str:
    """Why a run ended as it did; nothing where it held."""
    said = run["broke"] or (run["caught"] is None and run["differs"]) or ""
    if not said and run["violations"]:
        first = run["violations"][0]
        said = titles.get((run["agent"], first["fingerprint"])) or first["explanation"]
    if not said and run["verdict"] in ("unknown", "not-applicable"):
        reasons = [c["reason"] for c in run["checks"].values() if c["verdict"] == "unknown"]
        said = run["vacuous"] or run["not_applicable"] or next(iter(reasons), "")
    text = str(said)
    return text if len(text) <= most else text[: most - 1] + "…"


def _bugs(material: Material, failures: Iterable[Failed], room: Room, out: Chunks) -> None:
    """A chunk for each bug that is told in full. `run` is -1 where its history is not here."""
    names = ("contract", "agent", "fingerprint")
    bugs = [tuple(bug[name] for name in names) for bug in material.results.get("bugs", ())]
    runs = {run["id"]: n for n, run in enumerate(material.results["runs"])}
    for failure in failures:
        bug = failure.bug
        number, where = runs.get(bug["example"], -1), bug["where"]
        there = f"hist-{number}-{where}" in out
        lineage: Any = failure.lineage
        if failure.run is not None:
            lineage = failure.run.mask.json(lineage)
        chunk = {
            "run": number if there else -1,
            "where": where,
            "witness": list(bug["witness"] or ()),
            "focus": list(failure.focus),
            "lineage": lineage or {"nodes": [], "edges": [], "anomalies": []},
        }
        index = bugs.index(tuple(bug[name] for name in names))
        made = {f"bug-{index}": encode(browser_safe(chunk))}
        if room.take(made):
            out |= made
