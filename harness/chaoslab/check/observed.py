"""What no ledger shows: tools of which nobody reads the effects, and effects that tell nothing.

A service of the team's own keeps its ledger to itself, unless the contract says where to read it.
Where it does not, the lab has seen requests and answers only, and an answer proves nothing either
way. So a check that needs the effects of such a tool says unknown, with the lines to add, and
never that all is well.

>>> from chaoslab.contract import ToolContract
>>> print(lines_to_add(ToolContract(name="refund", keys=True, match="POST billing/v1/refunds",
...                                 identity_fields=("body.order_id",))))
[tools.refund] effects = { sql = "select id, idem_key, order_id from … where …" }
"""

from __future__ import annotations

from collections.abc import Collection

from chaoslab.check.facts import Facts
from chaoslab.check.wording import listed
from chaoslab.contract import Contract, ToolContract
from chaoslab.history import Op


def lines_to_add(tool: ToolContract, /) -> str:
    """The lines of a contract that let the lab read the effects of a tool, with holes that only
    the team can fill."""
    keys = ("idem_key",) if tool.keys or tool.key_at else ()
    fields = tuple(path.rpartition(".")[2] for path in tool.identity_fields)
    columns = ", ".join(dict.fromkeys(("id", *keys, *fields)))
    return f'[tools.{tool.name}] effects = {{ sql = "select {columns} from … where …" }}'  # noqa: S608


def unseen(facts: Facts, contract: Contract, /) -> tuple[str, ...]:
    """The tools that were asked for something, or are claimed, and of whose effects nothing is on
    record, because the contract does not say where to read them; and those whose reading failed."""
    if facts.hidden is None or facts.hidden[0] is not contract:
        facts.hidden = (contract, _unseen(facts, contract))
    return facts.hidden[1]


def _unseen(facts: Facts, contract: Contract) -> tuple[str, ...]:
    failed = {
        str(op.get("tool", "")) for op in facts.view.named("final.effects") if op.get("error")
    }
    found: dict[str, None] = {}
    for key in {**facts.operations, **facts.claims}:
        name, entry = key[0], facts.operations.get(key)
        tried = entry is not None and any(op.f == f"tools.{name}" for op in entry.attempts)
        if (tried or key in facts.claims) and (name in failed or not contract.tool(name).observed):
            found[name] = None
    # What is on record is on record, wherever it came from.
    shown = {op.f[6:] for op in facts.tool_commits} - failed if found else set()
    return tuple(name for name in found if name not in shown)


def nameless(facts: Facts, contract: Contract, /) -> tuple[str, ...]:
    """The tools of the team's own that were asked without any identity field, such as for several
    actions at once: what such a request is for is not known."""
    if not facts.recorded:
        return ()
    names = (op.f[6:] for op in facts.requests if not op.marker and op.f.startswith("tools."))
    return tuple(n for n in dict.fromkeys(names) if contract.tool(n).identity_fields)


def unplaced(facts: Facts, contract: Contract, /) -> list[Op]:
    """The effects that were read afterwards and tell too little to know what they are: no
    identity fields, and no key or reference that anybody sent or was told; or whose request may
    be one that tells too little."""
    asked = nameless(facts, contract)
    return [
        op
        for op in facts.late.values()
        if facts.invoke_of(op) is None
        and (not op.marker or op.f[6:] in asked or not contract.tool(op.f[6:]).identity_fields)
    ]


def untold(facts: Facts, contract: Contract, /) -> set[str]:
    """The tools of which the record does not show everything that they did."""
    return {*unseen(facts, contract), *(op.f[6:] for op in unplaced(facts, contract))}


def gap(facts: Facts, contract: Contract, /, *, among: Collection[str] | None = None) -> str:
    """Why effects cannot be judged, in words with the lines to add; "" where nothing is missing.
    `among`: only these tools matter."""
    hidden = [n for n in unseen(facts, contract) if among is None or n in among]
    if hidden:
        lines = "; ".join(lines_to_add(contract.tool(name)) for name in hidden)
        failed = [n for n in hidden if contract.tool(n).observed]
        if failed:
            return f"the effects of {listed(failed)} could not be read"
        return f"what {listed(hidden)} did is not on record; add to the contract: {lines}"
    for name in nameless(facts, contract):
        if among is None or name in among:
            fields = ", ".join(contract.tool(name).identity_fields)
            return (
                f"a request of {name} has no {fields}, so nobody knows what it asked for; let its "
                "identity_fields be such that every request has"
            )
    for op in unplaced(facts, contract):
        name = op.f[6:]
        if among is None or name in among:
            tool = contract.tool(name)
            what = "its identity fields" if tool.identity_fields else "a key that was sent"
            return (
                f"{op.get('ref') or 'a row'} of {name} does not tell {what}, so nobody knows whose "
                f"it is; let its query select them: {lines_to_add(tool)}"
            )
    return ""
