"""What results say of an exploration: counts, findings, and nothing that must not be read.

Rows are evidence and private. What is told here passes through the masks of the runs that were
done whole, as everything that is made for people does. An execution without such a run has left no
history from which a mask could learn; where the contract names sensitive attributes, its words
stay in the rows.

>>> summary({"held": 7, "equivalent": 2, "broken": 1})
'8 executions: 7 held, 1 broken; 2 spared as equivalent'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from chaoslab import __version__
from chaoslab.check.masking import Mask
from chaoslab.contract import Contract
from chaoslab.contract.consequences import consequence_of
from chaoslab.core.visible import visible
from chaoslab.explore.findings import Finding, counting
from chaoslab.explore.rows import WORDS, Row
from chaoslab.explore.store import Rows
from chaoslab.faults import Fault
from chaoslab.run.bugs import title_of
from chaoslab.run.gate import state_of
from chaoslab.run.known import Known
from chaoslab.run.masking import fit_to_read, passed_secrets
from chaoslab.run.model import RunSpec

if TYPE_CHECKING:
    from chaoslab.explore.shrink import Shrunk

_BROKE_MAX: Final = 10
_WHY_MAX: Final = 300
_KEPT_BACK: Final = "‹its words may quote what must not be read, and are in rows.ndjson›"
# What the lab says of an interpreter that it gave up, in which no agent has a word.
_OWN_WORDS: Final = re.compile(
    r"(?:(?:the fault-free execution|the execution with faults|without any fault): )?"
    r"(?:the execution(?: did not end within |'s interpreter )|the agent floods the lab: )"
)
_TITLES: Final = {"sweep": "What was struck", "stress": "What was drawn"}


class _Whole(Protocol):
    """A finding's run that was done whole."""

    @property
    def case(self) -> Any: ...
    @property
    def entry(self) -> Mapping[str, Any]: ...
    @property
    def mask(self) -> Mask: ...


def exploration_json(
    kind: str,
    rows: Rows,
    found: Sequence[Finding],
    whole: Mapping[str, _Whole],
    masks: Sequence[Mask],
    spec: RunSpec,
    *,
    shrunk: Mapping[str, Shrunk],
    known: Known,
    coverage: Mapping[str, Any] | None,
    said: Mapping[str, Any],
    problems: Sequence[str],
    notes: Sequence[str],
    complete: bool,
) -> dict[str, Any]:
    """The entry `exploration` of results; `whole` has the runs by fingerprint, `said` what others
    have said in their own words: the claim, the statistics, what was not repeatable."""
    tally, contract = rows.tally, spec.contract
    every = [*masks, Mask(dict.fromkeys(passed_secrets(contract), "‹secret›"))]
    alone = [one for one in found if one.fingerprint not in whole]
    covered = coverage or _coverage(kind, rows)
    private = _private(covered, contract)
    return {
        "kind": kind,
        "chaoslab": __version__,
        "agent": spec.agent,
        "contract": contract.name,
        "ruleset": contract.ruleset,
        "required": list(contract.required),
        "plan": fit(rows.head.plan, every),
        "complete": complete,
        "executions": tally.executions,
        "judged": tally.judged,
        "words": {word: tally.words[word] for word in WORDS if word in tally.words},
        "checks": dict(sorted(tally.checks.items())),
        "worlds": {name: dict(words) for name, words in sorted(tally.worlds.items())},
        "spent_us": dict(sorted(tally.spent_us.items())),
        "coverage": fit(_without(private, covered), every),
        "claim": fit(_without(private, list(said["claim"])), every),
        "statistics": fit(dict(said["statistics"]), every),
        "findings": [
            _finding(one, whole.get(one.fingerprint), spec, shrunk.get(one.fingerprint), known)
            for one in found
        ],
        "not_run_whole": [one.fingerprint for one in alone],
        "broke": _broke(rows.rows(), contract, every),
        "differs": fit(list(said["differs"]), every),
        "problems": fit(list(problems), every),
        "notes": fit([*notes, *_left_out(alone, whole)], every),
        "compared": None,
    }


def fit(value: Any, masks: Iterable[Mask], /) -> Any:
    """JSON of the same structure, through one mask after the other."""
    for mask in masks:
        value = fit_to_read(value, mask)
    return value


def _private(coverage: Mapping[str, Any], contract: Contract) -> list[str]:
    """What an agent said in worlds that did not hold without faults, where the contract names
    attributes that it may have quoted."""
    if not contract.attributes:
        return []
    said = [one.get("why", "") for one in coverage.get("worlds", ())]
    return sorted((text for text in said if text), key=len, reverse=True)


def _without(texts: Sequence[str], value: Any) -> Any:
    """JSON of the same structure without some texts."""
    if isinstance(value, str):
        for text in texts:
            value = value.replace(text, _KEPT_BACK)
        return value
    if isinstance(value, Mapping):
        return {name: _without(texts, item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(texts, item) for item in value]
    return value


def summary(words: Mapping[str, int], /) -> str:
    """The counts of a campaign on one line."""
    made = {word: count for word, count in words.items() if word != "equivalent"}
    total = sum(made.values())
    text = f"{total} execution{'s' * (total != 1)}"
    if made:
        text += ": " + ", ".join(f"{made[word]} {word}" for word in WORDS if made.get(word))
    spared = words.get("equivalent", 0)
    return f"{text}; {spared} spared as equivalent" if spared else text


def _left_out(alone: Sequence[Finding], whole: Mapping[str, _Whole]) -> list[str]:
    if not alone:
        return []
    names = ", ".join(f"{one.check} ({one.code}) {one.fingerprint}" for one in alone[:5])
    more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
    return [
        f"{len(alone)} of {len(alone) + len(whole)} findings were not run whole: {names}{more}; "
        "their rows are in rows.ndjson"
    ]


def _coverage(kind: str, rows: Rows) -> dict[str, Any]:
    """How the executions of each world ended, where nobody has told it better."""
    table = [
        {"world": world, **{word: str(words.get(word, 0)) for word in WORDS}}
        for world, words in sorted(rows.tally.worlds.items())
    ]
    return {"title": _TITLES.get(kind, "What was executed"), "rows": table}


# -- findings


def _finding(
    one: Finding, run: _Whole | None, spec: RunSpec, small: Shrunk | None, known: Known
) -> dict[str, Any]:
    contract, row = spec.contract, one.first
    named = {"contract": contract.name, "caught": None}
    told = {
        "fingerprint": one.fingerprint,
        "check": one.check,
        "code": one.code,
        "tool": "",
        "anomaly": "",
        "agent": spec.agent,
        "contract": contract.name,
        "state": state_of({"fingerprint": one.fingerprint}, named, known),
        "warning": not counting(one, contract),
        "executions": one.executions,
        "worlds": dict(one.worlds),
        "strikes": list(one.strikes),
        "first": visible(row.name),
        "world": row.world,
        "seed": row.seed,
        "tried": small.tried if small is not None else 0,
    }
    if run is None:
        return told | _without_run(one, contract)
    return told | _with_run(one, run, contract, small)


def _without_run(one: Finding, contract: Contract) -> dict[str, Any]:
    """Nothing that an agent said: there is no history from which a mask could have learned."""
    plain = [f"{f.get('kind')} {f.get('phase')} at {f.get('at')}" for f in one.first.faults]
    return {
        "title": visible(f"{one.check} ({one.code})"),
        "consequence": consequence_of(contract, one.check, ""),
        "explanation": None,
        "faults": [visible(text) for text in plain],
        "steps": [],
        "scenario": [],
        "run": None,
        "shown_again": None,
        "differs": None,
    }


def _with_run(
    one: Finding, run: _Whole, contract: Contract, small: Shrunk | None
) -> dict[str, Any]:
    entry, spec, masks = run.entry, run.case.spec, [run.mask]
    breaches = [*entry["violations"], *entry["warnings"]]
    shown = next((v for v in breaches if v["fingerprint"] == one.fingerprint), None)
    before = next(b[3] for b in one.first.breaches if b[2] == one.fingerprint)
    violation = shown or {
        "check": one.check,
        "code": one.code,
        "tool": "",
        "anomaly": "",
        "explanation": fit(before, masks),
    }
    faults: Sequence[Fault] = spec.scenario.faults
    return {
        "tool": violation["tool"],
        "anomaly": violation["anomaly"],
        "title": visible(title_of(violation)),
        "consequence": consequence_of(contract, one.check, violation["tool"]),
        "explanation": violation["explanation"],
        "seed": spec.seed,
        "faults": fit([fault.where() for fault in faults], masks),
        "steps": fit(list(small.steps) if small is not None else [], masks),
        # Line by line: what reads results spells out every line break.
        "scenario": fit(spec.scenario_text.splitlines(), masks),
        "run": entry["id"],
        "shown_again": None if entry["broke"] else shown is not None,
        "differs": entry["differs"],
    }


# -- executions that broke


def _broke(rows: Iterable[Row], contract: Contract, masks: Sequence[Mask]) -> list[dict[str, Any]]:
    """Why executions broke, the most frequent reason first."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.word == "broke":
            found.setdefault(row.why, []).append(row.name)
    most = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))[:_BROKE_MAX]
    return [
        {
            "why": _why(why, contract, masks),
            "executions": len(names),
            "first": visible(min(names)),
        }
        for why, names in most
    ]


def _why(why: str, contract: Contract, masks: Sequence[Mask]) -> str:
    if contract.attributes and not _OWN_WORDS.match(why):
        return _KEPT_BACK
    text: str = fit(why, masks)
    return text if len(text) <= _WHY_MAX else text[:_WHY_MAX] + "…"
