"""One bug, one row: the breaches of a campaign by fingerprint, the dearest first.

A hundred seeds that show the same mistake are one thing to mend. The row names the smallest run
that shows it, which is where a person starts to read.

>>> bugs_of([])
[]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from chaoslab.check import CHECK_IDS
from chaoslab.check.invariants import PREFIX
from chaoslab.check.texts import TEXTS, advice
from chaoslab.contract.consequences import rank
from chaoslab.run.gate import state_of
from chaoslab.run.known import NOTHING_KNOWN, Known

_STATES: Final = ("new", "expired", "known", "expected")

Row = dict[str, Any]


def bugs_of(runs: Sequence[Mapping[str, Any]], known: Known = NOTHING_KNOWN, /) -> list[Row]:
    """The bugs of all subjects; planted ones that were found as planned are none."""
    found: dict[tuple[str, str, str], Row] = {}
    best: dict[tuple[str, str, str], tuple[int, int, str]] = {}
    for run, violation, warning in _breaches(runs):
        key = (run["contract"], run["agent"], violation["fingerprint"])
        state = state_of(violation, run, known)
        bug = found.setdefault(key, _row(run, violation, state))
        bug["warning"] = bug["warning"] and warning
        # Where one scenario expects a breach and another does not, it is not expected.
        bug["state"] = min(bug["state"], state, key=_STATES.index)
        for name, value in (("runs", "id"), ("scenarios", "scenario"), ("seeds", "seed")):
            if run[value] not in bug[name]:
                bug[name].append(run[value])
        size = (run["scenario_faults"], run["ops"], run["id"])
        if key not in best or size < best[key]:
            best[key] = size
            bug |= _example(run, violation)
    return sorted(found.values(), key=_order)


def _breaches(
    runs: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], bool]]:
    for run in runs:
        if run["role"] != "subject":
            continue
        yield from ((run, violation, False) for violation in run["violations"])
        yield from ((run, violation, True) for violation in run["warnings"])


def _row(run: Mapping[str, Any], violation: Mapping[str, Any], state: str) -> Row:
    check, code = violation["check"], violation["code"]
    return {
        "fingerprint": violation["fingerprint"],
        "check": check,
        "code": code,
        "tool": violation["tool"],
        "anomaly": violation["anomaly"],
        "title": title_of(violation),
        "consequence": violation["consequence"],
        "agent": run["agent"],
        "contract": run["contract"],
        "state": state,
        "warning": True,
        "todo": advice(check, code, violation["anomaly"]),
        "runs": [],
        "scenarios": [],
        "seeds": [],
    }


def _example(run: Mapping[str, Any], violation: Mapping[str, Any]) -> Row:
    names = ("where", "subject", "explanation", "witness", "because")
    return {"example": run["id"]} | {name: violation.get(name) for name in names}


def title_of(violation: Mapping[str, Any], /) -> str:
    """A breach in a few plain words, the same for every run that shows it.

    >>> title_of({"check": "effects.delivery", "code": "duplicate-effect", "tool": "refund"})
    'refund: one action stands more than once where once was promised'
    """
    if violation["check"].startswith(PREFIX):  # its own words stand before what was seen
        return str(violation["explanation"]).partition(":")[0]
    text = TEXTS.get(violation["check"])
    means = text.means.get(violation["code"], "") if text is not None else ""
    words = means.rstrip(".") or f"{violation['check']} is broken ({violation['code']})"
    return f"{violation['tool']}: {words}" if violation["tool"] else words


def _order(bug: Row) -> tuple[int, int, int, int, str, str]:
    """The dearest first, then what is new; of one mistake the breach that says most, which is that
    of the earlier check; then what is seen most."""
    check, state = bug["check"], _STATES.index(bug["state"])
    turn = CHECK_IDS.index(check) if check in CHECK_IDS else len(CHECK_IDS)
    cost = rank(bug["consequence"])
    return (cost, state, turn, -len(bug["runs"]), bug["fingerprint"], bug["agent"])
