"""The promise table: each line of a contract, and what the runs of a campaign say about it.

A line is *proven* only where a check looked at what the line is about and held, and no run leaves
it in doubt; what no run could tell is *unproven*, and what the contract leaves out stands there as
*not promised*. So what was not covered is as easy to see as what failed.

The lines come from a contract, the counts from run entries alone: shards of a campaign are counted
together without anybody's contract at hand.

>>> lines = lines_of(Contract(), ())
>>> [line["offer"] for line in lines if line["id"] == "regions.fenced"]
['fencing = true']
>>> counted(lines, [])[0]["state"]
'unproven'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from chaoslab.backends.common import merged_contract
from chaoslab.check import TITLES
from chaoslab.check.invariants import PREFIX
from chaoslab.contract import DEFAULT_LIMITS, Contract, Limits, ToolContract
from chaoslab.run.model import RunSpec

Line = dict[str, Any]

ACTIONS: Final = "Actions"
RECOVERY: Final = "Recovery"
MEMORY: Final = "Memory"
ISOLATION: Final = "Isolation"
BOUNDS: Final = "Bounds"
DATA: Final = "Data and money"
OWN: Final = "Rules of your own"

_PROMISES: Final = {
    "exactly-once": "done exactly once",
    "at-most-once": "never done twice",
    "at-least-once": "done at least once where it is claimed",
}
# What every contract asks for, in the words of the checks themselves.
_ALWAYS: Final = (
    (ACTIONS, ("lineage.complete", "outcome.honest")),
    (RECOVERY, ("recovery.converges", "recovery.deterministic")),
    (MEMORY, ("memory.atomic", "memory.lost-update", "memory.linearizable")),
    (
        ISOLATION,
        (
            "isolation.sessions",
            "isolation.instance",
            "lifecycle.legal",
            "lifecycle.quarantine",
        ),
    ),
)


def lines_of(contract: Contract, tools: Iterable[ToolContract], /) -> list[Line]:
    """The lines of a contract without counts; `tools` are all tools that its runs may use, those
    too that the contract does not name."""
    lines: list[Line] = []
    for tool in tools:
        named = contract.given and tool.name in contract.tools
        tail = "" if named else " (the contract does not name it)"
        says = f"{tool.name}: {_PROMISES[tool.promise]}{tail}"
        id = f"tools.{tool.name}"
        lines.append(_line(f"{id}.promise", ACTIONS, says, ["effects.delivery"], tool.name))
        if tool.keys:
            says = f"{tool.name}: one action keeps one key"
            # Where at least once is all that was promised, nobody looks at the keys.
            loose = tool.promise == "at-least-once"
            offer = f'[tools.{tool.name}] promise = "exactly-once"' if loose else ""
            line = _line(f"{id}.keys", ACTIONS, says, ["keys.lineage"], tool.name, offer=offer)
            lines.append(line)
    for group, checks in _ALWAYS:
        lines += [_line(check, group, _said(check, contract), [check]) for check in checks]
    lines += _bounds(contract)
    lines += _optional(contract)
    for rule in contract.invariants:
        check = PREFIX + rule.name
        lines.append(_line(check, OWN, rule.says or rule.name, [check]))
    for line in lines:
        line["required"] = any(check in contract.required for check in line["checks"])
    return sorted(lines, key=_place)


GROUPS: Final = (ACTIONS, RECOVERY, MEMORY, ISOLATION, BOUNDS, DATA, OWN)


def _place(line: Mapping[str, Any]) -> tuple[int, bool, str]:
    """Where a line stands: by group, tools by name before what is about all of them."""
    return GROUPS.index(line["group"]), not line["tool"], line["tool"]


def _line(
    id: str, group: str, says: str, checks: list[str], tool: str = "", *, offer: str = ""
) -> Line:
    """A line; `offer` is what one would write to promise it, and empty where it is promised."""
    return {
        "id": id,
        "group": group,
        "says": says,
        "checks": checks,
        "tool": tool,
        "offer": offer,
    }


def _said(check: str, contract: Contract) -> str:
    if check == "recovery.converges":
        who = "by the agent itself" if contract.resume == "self" else "as they are handed out again"
        return f"{TITLES[check]}; tasks are taken up {who}"
    return TITLES[check]


def _bounds(contract: Contract) -> list[Line]:
    limits = contract.limits.over(DEFAULT_LIMITS)
    own = contract.limits
    return [
        _bound(
            "limits.attempts",
            f"no action is tried more than {limits.attempts_per_operation_max} times by a task",
            own.attempts_per_operation_max,
        ),
        _bound(
            "limits.tasks",
            f"every task ends, at most {limits.failed_tasks_max} of them failed"
            + _uncertain(limits),
            own.failed_tasks_max,
        ),
        _bound(
            "limits.recovery",
            f"recovery takes at most {limits.recovery_ms_max} ms",
            own.recovery_ms_max,
        ),
        _bound(
            "limits.amplification",
            f"faults multiply requests by at most {limits.amplification_percent_max} %",
            own.amplification_percent_max,
        ),
    ]


def _bound(check: str, says: str, own: int | None) -> Line:
    tail = "" if own is not None else " (a default: a scenario may say otherwise)"
    return _line(check, BOUNDS, says + tail, [check])


def _uncertain(limits: Limits) -> str:
    most = limits.uncertain_tasks_max
    return "" if most is None else f", at most {most} uncertain"


def _optional(contract: Contract) -> list[Line]:
    """What a contract may promise or leave out."""
    c = contract
    immutable = ", ".join(m.name for m in c.memory.values() if m.immutable)
    kept = ", ".join(m.name for m in c.memory.values() if m.retention_ms is not None)
    rows = (
        (
            RECOVERY,
            "regions.fenced",
            "no write of a process that lost its session is accepted",
            c.fencing,
            "fencing = true",
        ),
        (
            RECOVERY,
            "regions.loss",
            f"a failover loses nothing older than {c.loss_ms_max} ms",
            c.loss_ms_max is not None,
            "loss_ms_max = …",
        ),
        (
            MEMORY,
            "memory.policy",
            f"written once and never again: {immutable}",
            bool(immutable),
            "[memory.NAME] immutable = true",
        ),
        (
            MEMORY,
            "memory.retention",
            f"not kept or used beyond their time: {kept}",
            bool(kept),
            "[memory.NAME] retention_ms = …",
        ),
        (
            BOUNDS,
            "capacity.defers",
            f"a process has at most {c.capacity.tasks_in_hand_max if c.capacity else '…'} tasks in "
            "hand; what is more is put off and done later",
            c.capacity is not None,
            "[capacity] tasks_in_hand_max = …",
        ),
        (
            DATA,
            "memory.access",
            f"go only where they may: {', '.join(c.attributes)}",
            bool(c.attributes),
            "[attributes.NAME] allowed = […]",
        ),
        (
            DATA,
            "egress.policy",
            f"requests to the outside go to {', '.join(c.egress.hosts) if c.egress else ''} only",
            c.egress is not None,
            "[egress] hosts = […]",
        ),
        (
            DATA,
            "budgets.spend",
            f"stays within its budget: {', '.join(c.budgets)}",
            bool(c.budgets),
            "[budgets.NAME] tool = … and max = …",
        ),
    )
    return [
        _line(check, group, says, [check])
        if promised
        else _line(check, group, TITLES[check], [check], offer=offer)
        for group, check, says, promised, offer in rows
    ]


# -- counting


def promised_by(specs: Sequence[RunSpec], /) -> list[dict[str, Any]]:
    """The lines of every contract among the subjects, one table an agent and contract."""
    tables: dict[tuple[str, str, str], tuple[RunSpec, dict[str, ToolContract]]] = {}
    for spec in specs:
        if spec.role != "subject":
            continue
        key = (spec.agent, spec.contract.name, spec.backend)
        _, tools = tables.setdefault(key, (spec, {}))
        tools.update(merged_contract(spec.contract, spec.workload).tools)
    return [
        {
            "agent": agent,
            "contract": contract,
            "backend": backend,
            "ruleset": spec.contract.ruleset,
            "lines": lines_of(spec.contract, [tools[name] for name in sorted(tools)]),
        }
        for (agent, contract, backend), (spec, tools) in tables.items()
    ]


def promises(
    tables: Iterable[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]], /
) -> list[dict[str, Any]]:
    """The tables with what the runs say; tables of one agent and contract are taken as one, so
    that those of several shards may be given."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for table in tables:
        key = (table["agent"], table["contract"], table["backend"])
        held = found.setdefault(key, {**table, "lines": []})
        seen = {line["id"] for line in held["lines"]}
        held["lines"] += [line for line in table["lines"] if line["id"] not in seen]
        held["lines"].sort(key=_place)
    for key, held in found.items():
        own = [r for r in runs if (r["agent"], r["contract"], r["backend"]) == key]
        held["lines"] = counted(held["lines"], [r for r in own if r["role"] == "subject"])
    return list(found.values())


def counted(lines: Sequence[Line], runs: Sequence[Mapping[str, Any]], /) -> list[Line]:
    """Lines with their counts over some runs, and the state that follows from them."""
    found = [_counted(line, runs) for line in lines]
    return [line for line in found if not _by_construction(line)]


def _by_construction(line: Line) -> bool:
    """Whether nobody had to judge a line: the lab's own store has its order on record."""
    looked = line["runs"]["proven"] + line["runs"]["broken"] + line["runs"]["unproven"]
    return line["id"] == "memory.linearizable" and not looked


def _counted(line: Line, runs: Sequence[Mapping[str, Any]]) -> Line:
    counts = dict.fromkeys(("proven", "broken", "unproven", "other"), 0)
    reasons: dict[str, dict[str, int]] = {"unproven": {}, "other": {}}
    struck = doubtful = 0
    required = line.get("required", False)
    for run in runs:
        word, reason, doubt = _shown(line, run)
        doubtful += doubt or (word == "unproven" and required)
        counts[word] += 1
        if word in reasons:
            reasons[word][reason] = reasons[word].get(reason, 0) + 1
        if word != "other":
            struck += bool(_strikes(line, run))
    state, why = "unproven", "no run looked at it"
    if counts["broken"]:
        state, why = "broken", ""
    elif line["offer"]:
        state, why = "not-promised", f"{line['offer']} would promise it"
    elif doubtful or not counts["proven"]:
        told = reasons["unproven"] or reasons["other"]
        why = max(told, key=lambda reason: told[reason]) if told else why
    else:
        state, why = "proven", "" if struck else "no fault struck it"
    plain = {name: line[name] for name in ("id", "group", "says", "checks", "tool", "offer")}
    plain["required"] = required
    return plain | {"state": state, "runs": counts, "struck": struck, "reason": why}


def _strikes(line: Line, run: Mapping[str, Any]) -> int:
    if line["tool"]:
        found: int = run["tools"].get(line["tool"], {}).get("struck", 0)
        return found
    fired: int = run["faults"]["fired"]
    return fired


def _shown(line: Line, run: Mapping[str, Any]) -> tuple[str, str, bool]:
    """What one run says about a line, why where it says nothing, and whether that is a doubt: a
    run in which no fault struck takes nothing back of what others have shown."""
    checks, tool = line["checks"], line["tool"]
    for violation in run["violations"]:
        if violation["check"] in checks and tool in ("", violation["tool"]):
            return "broken", "", False
    if run["not_applicable"]:
        return "other", run["not_applicable"], False
    if run["broke"] or run["differs"]:
        return "unproven", str(run["broke"] or "it was not repeatable"), True
    if run["vacuous"]:
        return "unproven", str(run["vacuous"]), False
    if not run["faults_ran"]:
        why = "the agent is broken without any fault, so none was tried"
        return "unproven", why, False
    if tool and not run["tools"].get(tool, {}).get("actions"):
        return "other", f"{tool} was never used", False
    found = [run["checks"].get(check, {}) for check in checks]
    verdicts = {one.get("verdict", "unknown") for one in found}
    if verdicts == {"valid"}:
        return "proven", "", False
    if "invalid" in verdicts:
        return "unproven", "the same check is broken over another tool", False
    reason = next((str(one["reason"]) for one in found if one.get("reason")), "it was not asked")
    doubt = "unknown" in verdicts
    return ("unproven" if doubt else "other"), reason, doubt
