"""Run entries with breaches, as far as known bugs are concerned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chaoslab.check import Violation
from chaoslab.core.clock import Day
from chaoslab.run.accepting import accepted
from chaoslab.run.known import Known

TODAY = Day(2026, 3, 1)
EMPTY = Known(today=TODAY)
SIGNED: dict[str, Any] = {"owner": "ann", "reason": "PAY-7", "expires": Day(2026, 3, 31)}
PLACE = "matrix/x seed 0"


def breach(
    check: str = "effects.delivery", code: str = "duplicate-effect", tool: str = "refund"
) -> dict[str, Any]:
    one = Violation(
        check=check, code=code, subject="o-1", explanation="twice", witness=(1, 2), tool=tool
    )
    return {
        **{"check": one.check, "code": one.code, "tool": one.tool, "anomaly": one.anomaly},
        **{"fingerprint": one.fingerprint, "where": one.where, "because": None},
    }


REFUND, SHIP = breach(), breach(tool="ship")
MARK: str = REFUND["fingerprint"]


def run(*violations: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """An entry of `results.json`, as far as known bugs are concerned."""
    plain: dict[str, Any] = {"scenario": "matrix/x", "seed": 0, "backend": "sim"}
    plain |= {"contract": "support", "role": "subject", "caught": None, "broke": None}
    plain |= {"differs": None, "vacuous": None, "not_applicable": None, "faults_ran": True}
    plain |= {"checks": {"effects.delivery": {"verdict": "invalid" if violations else "valid"}}}
    entry = {**plain, "violations": list(violations), **more}
    return {"id": f"{entry['scenario']}--s{entry['seed']}".replace("/", "-"), **entry}


def known_of(*runs: Mapping[str, Any], **more: Any) -> Known:
    return accepted(EMPTY, {"runs": list(runs)}, **{**SIGNED, **more})


def states(known: Known, *runs: Mapping[str, Any]) -> list[str]:
    return [one["state"] for one in known.summary(runs)]
