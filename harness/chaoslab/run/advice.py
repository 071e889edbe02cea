"""What an agent offers, what cannot be judged without it, and what to add: for `doctor --agent`.

A pure function of the contract, of what the adapter offers, and of the history of one fault-free
run where there is one. A check that has nothing to look at is never called held, so a team should
know before its first verdict which ones these will be, and what would change it.

>>> from chaoslab.contract import Contract, ToolContract
>>> refund = ToolContract(name="refund", match="POST billing/refunds")
>>> found = advise(None, Contract(tools={"refund": refund}), ())
>>> dict(found.unjudged)["effects.delivery"]
'nobody says where the effects of refund stand'
>>> [line for block in found.add for line in block.lines][:2]
['[tools.refund]', 'effects = { sql = "select id, … from …", database = "…" }']
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from chaoslab.contract import Contract, ToolContract
from chaoslab.contract.target import Target
from chaoslab.history import View
from chaoslab.run.discover import (
    Seen,
    called_functions,
    listed,
    offered_tools,
    quoted,
    seen_tools,
    sql_line,
    tool_head,
    tool_lines,
)

_METHODS: Final = {
    "recover": (
        "after a restart it names the tasks that it finishes by itself",
        "every task without an outcome is handed out again after a restart",
    ),
    "sessions": (
        "it tells the states of its sessions when asked",
        "the states of its sessions are known only from what it reports",
    ),
    "release": (
        "an operator can let a quarantined session go",
        "scenarios with an operator mean nothing for it",
    ),
}
_SUBMIT: Final = {
    "post": "by a POST to {url}",
    "stdin": "as one JSON line each on its standard input",
    "queue": "as it fetches them from the lab's queue",
    "run": "each as a process of its own",
}
_DONE: Final = {
    "reply": "from its reply",
    "sql": "from its database",
    "poll": "from {url}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """Lines for the contract, and why."""

    why: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """`offers`: in words; `unjudged`: checks with the reason; `add`: what would change it."""

    offers: tuple[str, ...]
    unjudged: tuple[tuple[str, str], ...]
    add: tuple[Addition, ...]


def advise(view: View | None, contract: Contract, offers: Collection[str], /) -> Advice:
    """See the module; `offers` are the optional methods of an adapter."""
    seen = () if view is None else seen_tools(view, contract.services, taken=contract.tools)
    told = _Told(contract, frozenset(offers), view, {one.name: one for one in seen})
    return Advice(
        offers=tuple(told.offers()),
        unjudged=tuple(told.unjudged()),
        add=tuple(told.additions()),
    )


class _Told:
    """One agent and what is known of it."""

    def __init__(
        self,
        contract: Contract,
        offers: Collection[str],
        view: View | None,
        seen: dict[str, Seen],
    ) -> None:
        self._contract, self._offers, self._view = contract, offers, view
        self._declared = {n: one for n, one in seen.items() if n in contract.tools}
        self._others = [one for n, one in seen.items() if n not in contract.tools]
        self._blind = [t for t in contract.tools.values() if not t.observed]
        ends = () if view is None else view.named("final.effects")
        self._unread = {str(op.get("tool")) for op in ends if op.get("error")}

    # -- what it offers

    def offers(self) -> Iterator[str]:
        """In words, what was found."""
        target = self._contract.target
        if target is None:
            for name, (has, lacks) in _METHODS.items():
                yield f"{name}: {has}" if name in self._offers else f"no {name}: {lacks}"
        else:
            yield from _command_words(target)
        if self._view is None:
            yield "nothing was run, so what it calls is not known"
            return
        yield self._ended(self._view)
        for tool in self._contract.tools.values():
            yield self._tool(tool)
        for one in self._others:
            what = "only reads" if one.reads else "no tool of the contract"
            yield f"{one.match or one.name}: {_times(one.requests)}, {what}"
        for port, words in (
            ("model", "the lab's model"),
            ("memory", "the lab's memory"),
            ("leases", "the lab's leases"),
        ):
            count = self._calls(port)
            yield f"{words}: " + (f"asked {_times(count)}" if count else "never asked")

    def _ended(self, view: View) -> str:
        tasks = {op.task for op in view.named("task.submit")}
        ends = Counter(
            str(op.get("status")) for op in view.named("task.outcome") if op.get("counted")
        )
        told = ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))
        words = f"{sum(ends.values())} of {len(tasks)} tasks ended" + (f": {told}" if told else "")
        for op in view.named("task.outcome"):
            if op.get("counted") and op.get("status") == "failed" and op.get("reason"):
                return f"{words}; {op.task} failed: {op.get('reason')}"
        return words

    def _tool(self, tool: ToolContract) -> str:
        seen = self._declared.get(tool.name)
        if seen is None:
            return f"{tool.name}: never called"
        parts = [f"{tool.name}: {_times(seen.requests)}"]
        if seen.keyed == seen.requests:
            parts.append("always with a key")
        elif seen.keyed:
            parts.append(f"{_times(seen.keyed)} with a key")
        else:
            parts.append("never with a key" + (", though it takes them" if tool.keys else ""))
        if tool.match:
            if tool.name in self._unread:
                parts.append("its effects could not be read")
            else:
                parts.append(
                    "its effects are read"
                    if tool.observed
                    else "nobody says where its effects stand"
                )
        lost = self._unreached(tool.name)
        if lost:
            parts.append(f"its service did not answer {_times(lost)}")
        return ", ".join(parts)

    def _unreached(self, name: str) -> int:
        """How many requests to a tool found its service down."""
        assert self._view is not None
        ends = (op for op in self._view.named(f"tools.{name}") if op.type == "fail")
        return sum("'unreachable'" in str(op.get("data")) for op in ends)

    def _calls(self, port: str) -> int:
        view = self._view
        assert view is not None
        return sum(op.type == "invoke" and op.f.startswith(port + ".") for op in view)

    # -- what cannot be judged

    def unjudged(self) -> Iterator[tuple[str, str]]:
        """Check by check, why it will have nothing to look at."""
        yield from self._unjudged_tools()
        yield from self._unjudged_world()
        contract = self._contract
        classes = contract.memory.values()
        for check, there, words in (
            ("memory.policy", any(c.immutable for c in classes), "no [memory.NAME] is immutable"),
            (
                "memory.retention",
                any(c.retention_ms is not None for c in classes),
                "no [memory.NAME] has a retention_ms",
            ),
            ("memory.access", contract.attributes, "there is no [attributes.NAME]"),
            ("egress.policy", contract.egress, "there is no [egress]"),
            ("budgets.spend", contract.budgets, "there is no [budgets.NAME]"),
            ("capacity.defers", contract.capacity, "there is no [capacity]"),
        ):
            if not there:
                yield check, words

    def _unjudged_tools(self) -> Iterator[tuple[str, str]]:
        tools = self._contract.tools.values()
        blind = ", ".join(t.name for t in self._blind)
        if not tools:
            yield "effects.delivery", "the contract names no tool"
        elif blind:
            yield "effects.delivery", f"nobody says where the effects of {blind} stand"
        elif self._unread:
            names = ", ".join(sorted(self._unread))
            why = f"the effects of {names} could not be read; see `effects` and `database`"
            yield "effects.delivery", why
        keyed = [t for t in tools if t.keys]
        if not keyed:
            yield "keys.lineage", "the contract names no tool that takes keys"
        elif all(t.promise == "at-least-once" for t in keyed):
            names = ", ".join(t.name for t in keyed)
            yield "keys.lineage", f"{names}: at-least-once promises nothing that a key would keep"
        if len(self._blind) == len(tools):
            yield "outcome.honest", "what was done is nowhere on record to compare with"
            if not self._known("memory"):
                yield "recovery.converges", "neither effects nor memory are on record to compare"

    def _unjudged_world(self) -> Iterator[tuple[str, str]]:
        view = self._view
        if view is None:
            return
        if not view.named("report.transition"):
            why = "the agent reports no states of its sessions"
            yield "lifecycle.legal", why
            yield "lifecycle.quarantine", why
        if not self._calls("memory"):
            why = "its memory does not go through the lab"
            for check in ("memory.atomic", "memory.lost-update", "regions.loss"):
                yield check, why
        if not self._calls("leases"):
            yield "regions.fenced", "its leases do not go through the lab"
        if not any("cnry-" in str(op.value) for op in view.named("task.submit")):
            yield "isolation.sessions", "no task carries a canary that could turn up elsewhere"
        if not self._calls("wasm"):
            yield "isolation.instance", "it runs no Wasm tool of the lab"

    def _known(self, port: str) -> bool:
        return self._view is not None and self._calls(port) > 0

    # -- what to add

    def additions(self) -> Iterator[Addition]:
        """Lines that would let more be judged."""
        if self._view is not None:
            yield from self._plan(self._view)
            for one in self._others:
                if not one.reads:
                    why = f"{one.match or one.name} was called, and the contract does not name it"
                    yield Addition(why=why, lines=tuple(tool_lines(one)))
        for tool in self._blind:
            yield Addition(
                why=f"without it effects.delivery stays unproven for {tool.name}",
                lines=(tool_head(tool.name), sql_line(tool.identity_fields)),
            )
        for name, one in self._declared.items():
            tool = self._contract.tools[name]
            if tool.match and one.keyed and not tool.keys:
                over_http = not tool.match.startswith(("mcp ", "python "))
                at = '{ header = "Idempotency-Key" }' if over_http else "true"
                yield Addition(
                    why=f"{name} was sent with a key; if the service knows a repeat by it, say so",
                    lines=(tool_head(name), f"keys = {at}"),
                )
            if not tool.identity_fields and one.identity:
                yield Addition(
                    why=f"so that a repeat of {name} in other words is recognised as a repeat",
                    lines=(tool_head(name), f"identity_fields = {listed(one.identity)}"),
                )
        if "recover" in self._offers and self._contract.resume != "self":
            yield Addition(
                why="the agent has `recover`, and the contract does not say so",
                lines=('resume = "self"',),
            )
        if self._view is not None and self._contract.target is not None:
            if not any("cnry-" in str(op.value) for op in self._view.named("task.submit")):
                yield Addition(
                    why="a canary in the data of a task (in [tasks.NAME], beside what its `data` "
                    "has already) shows up wherever it does not belong",
                    lines=(
                        'data = { customer = { name = "{customer.name}", token = "{canary}" } }',
                    ),
                )

    def _plan(self, view: View) -> Iterator[Addition]:
        """Where the agent asks the lab's model, and that wants nothing."""
        if self._contract.target is None or not self._calls("model") or called_functions(view):
            return
        offered = offered_tools(view)
        names = offered or tuple(self._contract.tools) or ("refund",)
        args = 'args = { order = "{order}" }  # TODO: the arguments that it takes'
        lines = [
            line
            for name in names
            for line in ("[[tasks.NAME.plan]]", f"{self._step(name)} = {quoted(name)}", args)
        ]
        if not offered and not self._contract.tools:
            lines += ["# for a tool that the lab serves, at {mcp} and {tools}:", "[tools.refund]"]
            lines += ["keys = true", 'identity_fields = ["order"]', 'promise = "exactly-once"']
        why = "the model asked for no action, so no fault can strike one: say what it asks for"
        yield Addition(why=why, lines=tuple(lines))

    def _step(self, name: str) -> str:
        """Whether a step of a plan names a tool of the contract, or a function of the agent."""
        known = name in self._contract.tools or not offered_tools(self._view or View(()))
        return "tool" if known else "call"


def _command_words(target: Target) -> Iterator[str]:
    submit, done = target.submit, target.done
    argv = [*target.commands, *([submit.argv] if submit.argv else [])]
    yield "started as " + " and as ".join(" ".join(one) for one in argv)
    yield "tasks reach it " + _SUBMIT[submit.how].format(url=submit.url)
    yield "their end is known " + _DONE[done.how].format(url=done.url)
    again = " and as ".join(" ".join(one) for one in target.restart)
    yield f"after a kill it is started as {again or 'before'}"
    if not target.inspect:
        yield "no inspect: what it says of its own state is not looked at"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
