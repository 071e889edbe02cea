"""A small campaign as results.json tells it, with one of everything that a report must show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AGENT = "agents/refund_bot.py:make_agent"
CONTRACT = "support bot"
BECAUSE = [
    "  #9   0.400 s  the agent (home-1) asks for refund o-1, 1st try, key 8cd2",
    "  #15  0.404 s  the service commits it: refund:o-1#1",
    "  #16  0.404 s  the lab drops the answer (silence, after the commit)",
    "  …             3 more like that",
    "  #45  5.900 s  the agent (home-1) asks for refund o-1, 2nd try, under ANOTHER key 422c",
    "  so: 2 × refund for one request (o-1) where exactly-once was promised.",
    "  what to change: derive the key once, store it, and send the same one on every try.",
]


def run(scenario: str, seed: int, **more: Any) -> dict[str, Any]:
    """An entry of `runs`: one that held, changed by `more`."""
    entry: dict[str, Any] = {
        "id": f"{scenario.replace('/', '-')}--refund_bot--s{seed}",
        "scenario": scenario,
        "title": "The reply is lost after the action was committed",
        "family": scenario.partition("/")[0],
        "agent": AGENT,
        "contract": CONTRACT,
        "role": "subject",
        "backend": "sim",
        "deterministic": True,
        "seed": seed,
        "verdict": "valid",
        "violations": [],
        "warnings": [],
        "checks": {
            "effects.delivery": {"verdict": "valid", "reason": "looked at 12 operations"},
            "regions.loss": {"verdict": "not-applicable", "reason": "no region was promoted"},
        },
        "expected_check": None,
        "caught": None,
        "faults": {"planned": 1, "eligible": 6, "fired": 1},
        "scenario_faults": 1,
        "ops": 98,
        "attempts_max": 2,
        "recovery_ms": 6313,
        "recovery_clock": "virtual",
        "wall_ms": 1731,
        "digest": "be07",
        "control_digest": "ba0c",
        "broke": None,
        "differs": None,
        "faults_ran": True,
        "vacuous": None,
        "not_applicable": None,
        "key_advice": [],
        "required": ["effects.delivery"],
        "ruleset": "2026.1",
        "tools": {"refund": {"actions": 6, "tries": 7, "effects": 6, "struck": 1}},
    }
    return entry | more


def violation(**more: Any) -> dict[str, Any]:
    """A refund that was done twice."""
    return {
        "check": "effects.delivery",
        "code": "duplicate-effect",
        "subject": "refund o-1",
        "explanation": "2 × refund for one request (o-1) where exactly-once was promised",
        "witness": [9, 15, 45],
        "where": "fault",
        "tool": "refund",
        "anomaly": "key-changed",
        "fingerprint": "d59657d71c29e6d1",
        "because": BECAUSE,
        "consequence": "money",
    } | more


def bug(**more: Any) -> dict[str, Any]:
    """A row of `bugs`: the refund that was done twice."""
    names = ("fingerprint", "check", "code", "tool", "anomaly", "consequence", "where", "subject")
    row = {name: violation()[name] for name in (*names, "explanation", "witness", "because")}
    row |= {
        "title": "refund: one action stands more than once where once was promised",
        "agent": AGENT,
        "contract": CONTRACT,
        "state": "new",
        "warning": False,
        "todo": "derive the key once, store it, and send the same one on every try.",
        "runs": [f"matrix-timeout-after-commit--refund_bot--s{seed}" for seed in (0, 1)],
        "scenarios": ["matrix/timeout-after-commit"],
        "seeds": [0, 1],
        "example": "matrix-timeout-after-commit--refund_bot--s0",
    }
    return row | more


def line(id: str, group: str, says: str, state: str, **more: Any) -> dict[str, Any]:
    """A line of the promise table."""
    counts = {"proven": 0, "broken": 0, "unproven": 0, "other": 0}
    counts[state if state in counts else "other"] = 5
    row: dict[str, Any] = {
        "id": id,
        "group": group,
        "says": says,
        "state": state,
        "checks": [id],
        "tool": "",
    }
    row |= {"required": False, "runs": counts, "struck": 2, "reason": "", "offer": ""}
    return row | more


def lines() -> list[dict[str, Any]]:
    """One line of each state."""
    once = line(
        "effects.delivery",
        "Actions",
        "refund: done exactly once",
        "broken",
        runs={"proven": 2, "broken": 2, "unproven": 1, "other": 0},
        required=True,
    )
    lease = "a write under an old lease is refused"
    return [
        once,
        line("isolation.sessions", "Isolation", "no session sees another's data", "proven"),
        line("memory.atomic", "Memory", "no half of a group is used", "unproven", reason="torn?"),
        line("regions.fenced", "Recovery", lease, "not-promised", reason="fencing = true would"),
    ]


def results(**more: Any) -> dict[str, Any]:
    """A whole results.json: two bugs, one of them known, gaps, and a shard's worth of the rest."""
    lost = "matrix/timeout-after-commit"
    broken = {"verdict": "invalid", "violations": [violation()]}
    torn = {
        "verdict": "unknown",
        "vacuous": "the planned fault found no write of a group",
        "faults": {"planned": 1, "eligible": 0, "fired": 0},
    }
    known = bug(
        fingerprint="6908bd7db3c2be30",
        check="keys.lineage",
        code="key-changed",
        title="refund: a retry went out under another key",
        consequence="internal",
        state="known",
    )
    return {
        "format": 1,
        "chaoslab": "0.4.0",
        "environment": {"python": "3.11.2", "platform": "Linux x86_64", "packages": {}},
        "started": "2026-11-23T08:00:00Z",
        "wall_ms": 5930,
        "exit_code": 1,
        "complete": True,
        "stopped": None,
        "profile": "nightly",
        "cut": [{"id": "x", "scenario": lost, "agent": AGENT, "seed": 2, "why": "no time left"}],
        "shard": None,
        "merged": None,
        "known": [
            {
                "fingerprint": known["fingerprint"],
                "contract": CONTRACT,
                "check": known["check"],
                "code": known["code"],
                "tool": "refund",
                "owner": "payments",
                "reason": "mended in the next release",
                "accepted": "2026-11-01",
                "expires": "2026-12-24",
                "state": "known",
                "runs": known["runs"],
            }
        ],
        "promises": [
            {
                "agent": AGENT,
                "contract": CONTRACT,
                "backend": "sim",
                "ruleset": "2026.1",
                "lines": lines(),
            }
        ],
        "bugs": [bug(), known],
        "runs": [
            run(lost, 0, **broken),
            run(lost, 1, **broken),
            run("matrix/failover-zombie", 0),
            run("matrix/failover-zombie", 1),
            run("matrix/torn-write", 0, **torn),
        ],
    } | more


def hostile(text: str) -> Mapping[str, Any]:
    """The same, with every word that an agent could choose replaced by `text`."""
    bad = bug(title=text, explanation=text, subject=text, tool=text, because=[f"  so: {text}"])
    whole = results(bugs=[bad])
    whole["runs"][4]["vacuous"] = text
    whole["runs"][0]["agent"] = f"{text}.py:make"
    whole["promises"][0]["lines"][0]["says"] = text
    return whole
