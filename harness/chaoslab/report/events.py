"""`events.ndjson`: the results as a stream of lines, for whoever does not want to hold them whole.

Each line is one JSON object and says with `kind` what it is: `campaign` first, then `exploration`
and `finding` where it was a sweep or stress, `run`, `promise`, `bug`, `known` and `cut` lines,
`end` last; a stream without `end` was torn. The lines
are described by a JSON schema that ships with the package. A line stays below 64 kB, so that
collectors of logs take it whole: what is longer is cut, and `shortened` says what was and how long
it had been.

>>> print(ndjson({"format": 1, "runs": [], "exit_code": 0, "complete": True}).splitlines()[-1])
{"kind": "end", "exit_code": 0, "complete": true, "stopped": null, "lines": 1}
>>> sorted(schema()["$defs"])
['bug', 'campaign', 'cut', 'end', 'exploration', 'finding', 'known', 'promise', 'run', 'violation']
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from chaoslab.report.exploring import exploration_in
from chaoslab.report.reading import Row, bugs_in, rows

FORMAT: Final = 1
LINE_MAX_BYTES: Final = 64_000
# How long a text and a list may be, and how deep they may lie, tried from the left until it fits.
_STEPS: Final = (
    (16_000, 400, 12),
    (4_000, 100, 12),
    (1_000, 50, 12),
    (200, 20, 6),
    (80, 8, 4),
    (24, 3, 2),
    (8, 1, 1),
)
_NAME: Final = f"events-{FORMAT}.schema.json"


@lru_cache(maxsize=1)
def _schema_text() -> str:
    return (Path(__file__).parent / "schema" / _NAME).read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of one line."""
    found: dict[str, Any] = json.loads(_schema_text())
    return found


def ndjson(results: Row, /) -> str:
    """The whole stream."""
    return "".join(f"{line}\n" for line in lines(results))


def lines(results: Row, /) -> Iterator[str]:
    """The lines, each without its line end."""
    count = 0
    for event in _events(results):
        yield line(event)
        count += 1
    end = {
        "kind": "end",
        "exit_code": results.get("exit_code", 0),
        "complete": results.get("complete", True),
        "stopped": results.get("stopped"),
        "lines": count,
    }
    yield line(end)


def _events(results: Row) -> Iterator[dict[str, Any]]:
    yield _campaign(results)
    yield from _explored(results)
    for run in rows(results, "runs"):
        yield {"kind": "run", **run}
    for promise in rows(results, "promises"):
        whose = {k: promise.get(k) for k in ("agent", "contract", "backend", "ruleset")}
        for one in promise["lines"]:
            yield {"kind": "promise", **whose, **one}
    for kind, found in (("bug", bugs_in(results)), ("known", rows(results, "known"))):
        for one in found:
            yield {"kind": kind, **one}
    for one in rows(results, "cut"):
        yield {"kind": "cut", **one}


def _explored(results: Row) -> Iterator[dict[str, Any]]:
    """A sweep or a stress campaign, and each of its findings."""
    found = exploration_in(results)
    if found is None:
        return
    rest = {k: v for k, v in found.items() if k not in ("kind", "findings", "coverage")}
    coverage = results.get("coverage") or {}
    yield {
        "kind": "exploration",
        "how": found["kind"],
        **rest,
        "coverage": list(coverage.get("rows") or ()),
    }
    for one in found.get("findings") or ():
        yield {"kind": "finding", **one}


def _campaign(results: Row) -> dict[str, Any]:
    shard = results.get("shard")
    if shard:
        # The whole plan can be longer than a line; its digest says which one it is.
        shard = {k: shard.get(k) for k in ("index", "of", "plan")}
        shard["planned"] = len(results["shard"].get("runs") or ())
    return {
        "format": FORMAT,
        "kind": "campaign",
        "chaoslab": results.get("chaoslab"),
        "environment": results.get("environment"),
        "started": results.get("started"),
        "wall_ms": results.get("wall_ms"),
        "profile": results.get("profile"),
        "shard": shard,
        "merged": results.get("merged"),
        "runs": len(rows(results, "runs")),
        "executions": (exploration_in(results) or {}).get("executions"),
    }


def line(event: dict[str, Any], /) -> str:
    """An event as one line, cut where it would be too long."""
    text = _dumped(event)
    for text_max, items_max, depth_max in _STEPS:
        if len(text) < LINE_MAX_BYTES:
            return text
        cutter = _Cutter(text_max=text_max, items_max=items_max, depth_max=depth_max)
        small = cutter.cut(event, "", 0)
        text = _dumped({**small, "shortened": dict(list(cutter.noted.items())[:items_max])})
    assert len(text) < LINE_MAX_BYTES, "the last step leaves next to nothing"
    return text


def _dumped(event: dict[str, Any]) -> str:
    # Only ASCII: a line separator or half of a surrogate pair must not tear a line.
    return json.dumps(event)


@dataclass(slots=True, kw_only=True)
class _Cutter:
    """Cuts texts, lists and objects, and notes where and how long they had been."""

    text_max: int
    items_max: int
    depth_max: int
    noted: dict[str, int] = field(default_factory=dict)

    def cut(self, value: Any, where: str, depth: int) -> Any:
        if isinstance(value, str) and len(value) > self.text_max:
            self._note(where, value)
            return f"{value[: self.text_max]}… (cut: {len(value)} characters)"
        if not isinstance(value, (list, tuple, dict)):
            return value
        # The fields of the event itself are the lab's own, and few.
        most = self.items_max if depth else 100
        if depth > self.depth_max or len(value) > most:
            self._note(where, value)
        if depth > self.depth_max:
            return type(value)()
        if isinstance(value, dict):
            return {
                str(key)[: max(self.text_max, 40)]: self.cut(one, f"{where}/{key}", depth + 1)
                for key, one in list(value.items())[:most]
            }
        return [self.cut(one, f"{where}/{n}", depth + 1) for n, one in enumerate(value[:most])]

    def _note(self, where: str, value: Any) -> None:
        self.noted[where[:100]] = len(value)
