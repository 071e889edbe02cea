"""Results made by hand, for the tests of what is written from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from chaoslab.check import CHECK_IDS
from chaoslab.core.clock import Day
from chaoslab.run.known import NOTHING_KNOWN, Known, KnownBug
from chaoslab.run.results import results_of

Run = dict[str, Any]

# What an agent may say to be more than words: on a terminal, in XML, in Markdown, in a pipeline.
HOSTILE = (
    "@team please approve",
    "![x](http://evil.example/x.png)",
    "[x](http://evil.example) www.evil.example <http://evil.example>",
    "<script>alert(1)</script></details><img src=x onerror=alert(1)>",
    "``` `` ` ```````",
    "a | b \\| c ||",
    "first\n::set-output name=x::y\n::error::z\n/approve\n# heading\n- item",
    "##[error]x ##vso[task.setvariable]y",
    "\x1b[2J\x07\x00\x0b\x9b",
    "\ud800 \ufffe \uffff \u202e \u2028",
    "]]> <!-- & &lt; -->",
    "*a* _b_ ~~c~~ $x$ #12 GH-12 deadbeefdeadbeef",
    "x" * 30_000,
)


def violation(
    check: str = "effects.delivery",
    *,
    code: str = "duplicate-effect",
    fingerprint: str = "00112233aabbccdd",
    consequence: str = "money",
    explanation: str = "2 × refund for one request",
    tool: str = "refund",
    because: Sequence[str] | None = ("  #1 the agent asks", "  so: twice"),
) -> dict[str, Any]:
    return {
        "check": check,
        "code": code,
        "subject": "refund o-1",
        "explanation": explanation,
        "witness": [1, 2],
        "where": "fault",
        "tool": tool,
        "anomaly": "on-retry",
        "fingerprint": fingerprint,
        "consequence": consequence,
        "because": None if because is None else list(because),
    }


def run(seed: int = 0, **more: Any) -> Run:
    """A run that held; `more` says what is different. With violations it is broken."""
    scenario = str(more.get("scenario", "matrix/timeout"))
    checks = {c: {"verdict": "valid", "reason": "looked at 3 entries"} for c in CHECK_IDS}
    for one in more.get("violations", ()):
        checks[one["check"]] = {"verdict": "invalid", "reason": "looked at 3 entries"}
    entry: Run = {
        "id": f"{scenario.replace('/', '-')}--mine--s{seed}",
        "scenario": scenario,
        "title": "The reply is lost",
        "family": scenario.partition("/")[0],
        "agent": "mine.py:make_agent",
        "contract": "support",
        "ruleset": "2026.1",
        "role": "subject",
        "backend": "sim",
        "deterministic": True,
        "seed": seed,
        "verdict": "invalid" if more.get("violations") else "valid",
        "violations": [],
        "warnings": [],
        "checks": checks,
        "expected_check": None,
        "caught": None,
        "faults": {"planned": 1, "eligible": 2, "fired": 1},
        "scenario_faults": 1,
        "tools": {"refund": {"actions": 1, "tries": 2, "effects": 1, "struck": 1}},
        "ops": 20,
        "attempts_max": 2,
        "recovery_ms": 5,
        "recovery_clock": "virtual",
        "wall_ms": 1_234,
        "digest": "aa",
        "control_digest": "bb",
        "broke": None,
        "differs": None,
        "faults_ran": True,
        "vacuous": None,
        "not_applicable": None,
        "key_advice": [],
        "required": [],
    }
    return entry | more


def planted(seed: int = 0, *, caught: bool = True) -> Run:
    """A run of a planted bug."""
    found = [violation()] if caught else []
    return run(
        seed,
        id=f"matrix-timeout--planted--s{seed}",
        agent="agents/planted.py:make_agent",
        role="negative-control",
        expected_check="effects.delivery",
        caught=caught,
        violations=found,
    )


def known_bug(fingerprint: str = "00112233aabbccdd", *, until: str = "2026-03-01") -> KnownBug:
    return KnownBug(
        fingerprint=fingerprint,
        contract="support",
        check="effects.delivery",
        code="duplicate-effect",
        tool="refund",
        owner="ann",
        reason="PAY-7",
        accepted=day("2026-01-01"),
        expires=day(until),
        seen_in=("matrix/timeout seed 0",),
    )


def day(text: str) -> Day:
    found = date.fromisoformat(text)
    return Day(found.year, found.month, found.day)


def known(*bugs: KnownBug) -> Known:
    return Known(path="chaoslab-known.toml", entries=bugs, today=day("2026-02-01"))


GAPS = ("shard 2 of 2 is missing",)


def results(*runs: Run, known: Known = NOTHING_KNOWN, **more: Any) -> dict[str, Any]:
    """The results of some runs, as the product makes them."""
    wanted = more.pop("wanted", len(runs) + len(more.get("cut", ())))
    return results_of(runs, wanted=wanted, known=known, **more)


def line(id: str = "tools.refund.promise", **more: Any) -> dict[str, Any]:
    return {
        "id": id,
        "group": "Actions",
        "says": "refund: done exactly once",
        "state": "unproven",
        "checks": ["effects.delivery"],
        "required": False,
        "runs": {"proven": 0, "broken": 0, "unproven": 1, "other": 0},
        "struck": 0,
        "reason": "no refund was made",
        "tool": "refund",
        "offer": "",
        **more,
    }


def promised(*lines: dict[str, Any], agent: str = "mine.py:make_agent") -> list[dict[str, Any]]:
    """The promise table of an agent."""
    whose = {"agent": agent, "contract": "support", "backend": "sim", "ruleset": "2026.1"}
    return [{**whose, "lines": list(lines)}]


def cut(seed: int = 9) -> dict[str, Any]:
    return {
        "id": f"matrix-timeout--mine--s{seed}",
        "scenario": "matrix/timeout",
        "agent": "mine.py:make_agent",
        "seed": seed,
        "why": "10 m were over",
    }


def hostile_results(text: str) -> dict[str, Any]:
    """A campaign in which a text stands wherever an agent or its team can have put one."""
    bad = violation(
        explanation=text, tool=text, because=[text, f"  #1 {text}"], fingerprint="11" * 8
    )
    late = violation(explanation=text, tool=text, fingerprint="22" * 8)
    runs = [
        run(0, violations=[bad, violation(fingerprint="33" * 8)], agent=text, contract=text),
        run(1, broke=text, verdict="unknown", scenario=f"matrix/{text}", family=text),
        run(2, differs=text, agent=f"{text}.py:make"),
        run(3, vacuous=text, verdict="unknown"),
        run(4, not_applicable=text, verdict="not-applicable"),
        run(5, warnings=[late], contract=text),
        planted(6),
        planted(7, caught=False),
    ]
    found = results(*runs, cut=[cut() | {"why": text, "scenario": f"matrix/{text}"}])
    entry = {
        "fingerprint": "33" * 8,
        "contract": text,
        "check": text,
        "code": text,
        "tool": text,
        "owner": text,
        "reason": text,
        "accepted": "2026-01-01",
        "expires": "2026-02-01",
        "runs": [text],
    }
    found["known"] = [entry | {"state": s} for s in ("known", "expired", "gone", "not-run")]
    found["promises"] = promised(
        line(says=text, reason=text, required=True), line(id=text, says=text), agent=text
    )
    found["bugs"][-1]["state"] = "known"
    found |= {"stopped": text, "complete": False, "profile": text}
    return found
