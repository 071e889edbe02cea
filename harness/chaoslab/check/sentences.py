"""One entry of a history as one plain sentence.

The reader did not write the code and may not know the words of the field. So a strike says what
was done to whom, an `info` says that the outcome is unknown, and a key is named only as far as
it takes to see whether it is the same one.

>>> from chaoslab.history import Op
>>> sentence(Op(index=0, time_ns=0, type="invoke", f="tools.refund", process="east-1",
...             marker="o-1", attempt=2), ())
'the agent (east-1) asks for refund o-1, 2nd try, without a key'
>>> sentence(Op(index=0, time_ns=0, type="event", f="nemesis.strike",
...             value={"kind": "silence", "phase": "after-commit"}), ())
'the lab drops the answer (silence, after the commit)'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from chaoslab.check.facts import rows_of
from chaoslab.check.tokens import masked
from chaoslab.core.jsons import canonical
from chaoslab.history import Op

_SHOWN_MAX: Final = 60

_STRIKES: Final[Mapping[str, str]] = {
    "silence": "the lab drops the answer",
    "reset": "the lab breaks the connection",
    "error-reply": "the lab lets the service answer with an error",
    "delay": "the lab delays it",
    "duplicate": "the lab delivers the request a second time",
    "reorder": "the lab lets a later request overtake it",
    "hold": "the lab holds it back",
    "crash": "the lab kills the process",
    "pause": "the lab freezes the process",
    "partition": "the lab cuts the region off",
    "trap": "the lab makes the Wasm guest trap",
    "malformed": "the lab damages the model's arguments",
    "unknown-tool": "the lab lets the model name a tool that is not there",
    "truncated": "the lab cuts the model's answer short",
    "refusal": "the lab lets the model refuse",
    "rate-limit": "the lab lets the service say: not now",
}
_PHASES: Final[Mapping[str, str]] = {
    "before-send": "before it was sent",
    "before-commit": "before the commit",
    "after-commit": "after the commit",
    "after-reply": "after the answer arrived",
    "mid-write": "in the middle of the group",
}
_UNKNOWN: Final[Mapping[str, str]] = {
    "deadline": "the agent gives up waiting: outcome unknown",
    "reset": "the connection breaks: outcome unknown",
    "server-error": "the service answers with an error of its own: outcome unknown",
    "killed": "the process is dead before the answer: outcome unknown",
    "trap": "the Wasm guest traps: outcome unknown",
}


def sentence(op: Op, before: Sequence[Op], /) -> str:
    """An entry in words; `before` are the entries already told, to say "the same key"."""
    told = _sentence(op, before)
    if masked(told) != told:
        # A value that must not be seen may also stand in a name: an id, a marker, a reference.
        return f"{op.f} {masked(told)}"
    whole = canonical(op.value)
    held = masked(whole)
    return told if held == whole or held in told else f"{told} {held}"


def _sentence(op: Op, before: Sequence[Op]) -> str:
    if op.type == "invoke":
        return _invoke(op, before)
    if op.type == "commit":
        return _commit(op)
    if op.type == "info":
        error = str(op.get("error", ""))
        return _UNKNOWN.get(error, f"no certain answer ({error}): outcome unknown")
    if op.type == "fail":
        return f"the answer is no ({op.get('error', 'refused')}): this request did nothing"
    if op.type == "ok":
        return _ok(op)
    return _event(op)


def ordinal(number: int, /) -> str:
    """1st, 2nd, 3rd, 4th …

    >>> [ordinal(n) for n in (1, 2, 3, 11, 22)]
    ['1st', '2nd', '3rd', '11th', '22nd']
    """
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def short(value: Any, /) -> str:
    """A value, cut to what fits on a line."""
    text = masked(value if isinstance(value, str) else canonical(value))
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


def _agent(op: Op) -> str:
    return f"the agent ({op.process})" if op.process else "the agent"


def _for(op: Op) -> str:
    return f" for {op.session}" if op.session else ""


def _invoke(op: Op, before: Sequence[Op]) -> str:
    head, _, tail = op.f.partition(".")
    if head == "tools" and op.get("lookup"):
        return f"{_agent(op)} looks up {tail.removesuffix('.lookup')} {op.marker}"
    if head == "tools":
        nth = f", {ordinal(op.attempt)} try" if op.attempt else ""
        return f"{_agent(op)} asks for {tail} {op.marker}{nth}, {_key(op, before)}"
    if op.f == "wasm.instantiate":
        return f"{_agent(op)} makes a new instance of {op.get('module', '')}"
    if head == "wasm":
        return (
            f"{_agent(op)} calls {op.get('export', tail)} of instance "
            f"{op.get('instance', '?')}{_for(op)}"
        )
    if op.f == "model.complete":
        return f"{_agent(op)} asks the model{_for(op)}"
    if op.f == "memory.write_many":
        ids = [str(w.get("id")) for w in rows_of(op, "writes") if isinstance(w, Mapping)]
        return f"{_agent(op)} writes {', '.join(ids)} as a group"
    if head == "memory":
        verb = {"read": "reads", "write": "writes", "scan": "scans", "erase": "erases"}
        return f"{_agent(op)} {verb.get(tail, tail)} {op.get('id') or op.get('prefix') or ''}"
    if op.f == "leases.acquire":
        return f"{_agent(op)} asks for the lease of {op.get('session', op.marker)}"
    return f"{_agent(op)} sends {op.get('method', '')} {short(op.get('url', op.f))}{_for(op)}"


def _key(op: Op, before: Sequence[Op]) -> str:
    if op.key is None:
        return "without a key"
    shown = masked(op.key)
    shown = shown if len(shown) <= 24 or shown != op.key else f"{op.key[:12]}…{op.key[-9:]}"
    earlier = [b for b in before if b.type == "invoke" and b.f == op.f]
    same = [b for b in earlier if b.marker == op.marker and b.key is not None]
    if not same:
        other = [b for b in earlier if b.key == op.key]
        return f"with the key of {other[-1].marker}: {shown}" if other else f"key {shown}"
    if any(b.key == op.key for b in same):
        return f"the same key {shown}"
    return f"under ANOTHER key {shown}"


def _commit(op: Op) -> str:
    head, _, tail = op.f.partition(".")
    if head == "tools":
        if op.get("compensates"):
            return f"the service undoes {op.get('compensates')}"
        return f"the service commits it: {op.get('ref') or f'{tail} {op.marker}'}"
    if op.f == "memory.erase":
        return f"the store erases {op.get('id', '')}"
    if head == "memory":
        over = op.get("over")
        fence = op.get("fence")
        part = f", part {op.get('item') + 1} of {op.get('of')}" if _is_part(op) else ""
        return (
            f"the store takes {op.get('id', '')} version {_version(op.get('version'))}"
            + (f" over {_version(over)}" if over is not None else "")
            + (f", fence {fence}" if fence is not None else "")
            + part
            + (f", from {op.process}" if op.process else "")
            + (f": {short(op.get('value'))}" if op.get("value") is not None else "")
        )
    if op.f == "leases.acquire":
        return (
            f"{op.get('holder') or op.process} now owns {op.get('session')}, "
            f"fence {op.get('fence')}"
        )
    return f"{op.f} is committed"


def _is_part(op: Op) -> bool:
    return isinstance(op.get("item"), int)


def _version(raw: Any) -> str:
    return ".".join(str(part) for part in raw) if isinstance(raw, (list, tuple)) else str(raw)


def _ok(op: Op) -> str:
    head = op.f.partition(".")[0]
    if head == "tools":
        if op.get("data") is not None and not op.get("ref"):
            return f"the answer arrives: {short(op.get('data'))}"
        known = " (the service knew it already)" if op.get("absorbed") else ""
        return f"the answer arrives: {op.get('ref', '')}{known}"
    if head == "wasm":
        return f"it answers: {short(op.get('output', op.value))}"
    if op.f == "memory.read":
        if not op.get("found", True):
            return "there is nothing there"
        version = _version(op.get("version"))
        return f"{_agent(op)} sees version {version}: {short(op.get('value'))}"
    headers = op.get("headers")
    if op.f == "network.request" and isinstance(headers, Mapping) and headers.get("location"):
        return f"the answer sends the reader on to {short(headers.get('location'))}"
    return "the answer arrives"


def _strike(op: Op) -> str:
    kind, phase = str(op.get("kind", "")), str(op.get("phase", ""))
    what = _STRIKES.get(kind, "the lab strikes")
    where = _PHASES.get(phase, phase)
    items = op.get("after_items")
    if phase == "mid-write" and isinstance(items, int):
        where += f", after {items} {'item' if items == 1 else 'items'}"
    return f"{what} ({', '.join(x for x in (kind, where) if x)})"


def _outcome(op: Op) -> str:
    claims = [
        f"{c.get('tool')} {c.get('marker')}" + (f" ({c.get('ref')})" if c.get("ref") else "")
        for c in rows_of(op, "claims")
        if isinstance(c, Mapping)
    ]
    late = " (a second report, not counted)" if op.get("counted") is False else ""
    if op.get("status") == "deferred":
        late = " (it will be handed out again)"
    text = f"{_agent(op)} reports {op.task} as {op.get('status', '?')}{late}"
    return f"{text}, claiming {', '.join(claims[:3])}" if claims else text


def _lost(op: Op) -> str:
    count = len(rows_of(op, "lost"))
    return f"{count} {'write is' if count == 1 else 'writes are'} lost" if count else ""


_EVENTS: Final[Mapping[str, Callable[[Op], str]]] = {
    "nemesis.strike": _strike,
    "nemesis.release": lambda op: "the lab lets go what it held back",
    "nemesis.heal": lambda op: "the lab stops all faults",
    "task.submit": lambda op: (
        f"{op.task} is handed to {op.process or 'the agent'}"
        + (f", {ordinal(op.get('delivery'))} time" if isinstance(op.get("delivery"), int) else "")
    ),
    "task.outcome": _outcome,
    "report.outcome": _outcome,
    "task.raised": lambda op: f"the handler of {op.task} raises {op.get('error', 'an error')}",
    "process.start": lambda op: f"process {op.process} starts",
    "process.kill": lambda op: f"process {op.process} is dead",
    "process.pause": lambda op: f"process {op.process} stands still",
    "process.resume": lambda op: f"process {op.process} goes on, unaware of the time that passed",
    "process.stop": lambda op: f"process {op.process} is asked to stop",
    "process.recovers": lambda op: (
        f"process {op.process} says it finishes {short(', '.join(map(str, rows_of(op, 'tasks'))))}"
    ),
    "report.intent": lambda op: f"{_agent(op)} notes: will do {op.get('tool', '')} {op.marker}",
    "report.transition": lambda op: f"{_agent(op)} reports {op.session} as {op.get('state', '?')}",
    "report.log": lambda op: f"{_agent(op)} logs{_for(op)}: {short(op.get('text', ''))}",
    "wasm.poisoned": lambda op: (
        f"instance {op.get('instance', '?')} is damaged ({op.get('reason', '')})"
    ),
    "wasm.retired": lambda op: f"instance {op.get('instance', '?')} is retired",
    "session.release": lambda op: f"the operator releases {op.session}",
    "region.down": lambda op: f"region {op.get('region', '?')} goes down",
    "region.partition": lambda op: f"region {op.get('region', '?')} is cut off",
    "region.join": lambda op: ", ".join(
        x for x in (f"region {op.get('region', '?')} is back", _lost(op)) if x
    ),
    "region.promote": lambda op: ", ".join(
        x for x in (f"region {op.get('region', '?')} takes over", _lost(op)) if x
    ),
    "lab.deadlock": lambda op: "nothing can ever happen again",
    "lab.budget": lambda op: "the lab stops the execution at its budget",
    "lab.end": lambda op: "the execution ends",
}


def _event(op: Op) -> str:
    known = _EVENTS.get(op.f)
    if known is not None:
        return known(op)
    if op.f.startswith("tools.") and op.get("absorbed"):
        return f"the service knows the key and repeats {op.get('absorbed')}"
    return op.f
