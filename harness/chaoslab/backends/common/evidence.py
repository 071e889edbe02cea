"""What an execution is judged by besides its entries: the contract in force, and the last reads of
ledgers and memory."""

from __future__ import annotations

from dataclasses import replace

from chaoslab.backends.common.hub import Hub
from chaoslab.backends.common.supervisor import Supervisor
from chaoslab.contract import Contract, default_contract
from chaoslab.core.jsons import Json
from chaoslab.scenario import Workload


def merged_contract(contract: Contract, workload: Workload, /) -> Contract:
    """The contract with a line for every simulated tool: where the team says nothing of one,
    what its service offers stands, at least once. What is done by plain requests is no tool."""
    services = {n: s.contract for n, s in workload.services.items() if not s.network}
    plain = default_contract(services.values())
    known = {n: t for n, t in contract.tools.items() if n in services}
    undoing = {n: t for n, t in contract.tools.items() if n not in workload.services}
    return replace(contract, tools={**plain.tools, **known, **undoing})


def final_reads(hub: Hub, supervisor: Supervisor) -> None:
    """Writes down what stands at the end."""
    for tool, ledger in sorted(hub.tools.ledger.items()):
        if hub.spec.contract.tool(tool).match:
            continue  # it is not the lab's, and was read where it stands
        effects: list[Json] = [
            {
                "ref": e.ref,
                "marker": e.marker,
                "key": e.key,
                "args": dict(e.args),
                "compensated": e.compensated,
            }
            for e in ledger
        ]
        if effects or tool in hub.spec.workload.services:  # a contract may name further tools
            hub.recorder.add("event", "final.effects", {"tool": tool, "effects": effects})
    for words in hub.model.departed:
        hub.recorder.add("event", "model.departed", {"words": words})
    items: list[Json] = [
        {"id": i.id, "value": i.value, "version": list(i.version)}
        for i in hub.standing(supervisor.home)
    ]
    hub.recorder.add("event", "final.memory", {"items": items})
    outcomes: dict[str, Json] = {
        name: None if w.outcome is None else w.outcome.status for name, w in supervisor.work.items()
    }
    hub.recorder.add("event", "lab.end", {"outcomes": outcomes})
