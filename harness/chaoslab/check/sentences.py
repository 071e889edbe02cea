"""One entry of a history as one plain sentence.

The reader did not write the code and may not know the words of the field. So a strike says what
was done to whom, an `info` says that the outcome is unknown, and a key is named only as far as
it takes to see whether it is the same one. Where the line before is about another call, an answer
and a strike name theirs.

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
from chaoslab.check.wording import listed, ordinal, short, summary
from chaoslab.core.jsons import canonical
from chaoslab.core.visible import visible
from chaoslab.history import Op

_MS: Final = 1_000_000
_STRIKES: Final[Mapping[str, str]] = {
    "silence": "the lab drops the answer",
    "reset": "the lab breaks the connection",
    "error-reply": "the lab lets the service answer with an error",
    "delay": "the lab delays {it}",
    "duplicate": "the lab delivers the request a second time",
    "reorder": "the lab lets a later request overtake {it}",
    "hold": "the lab holds {it} back",
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
# What a trap does, where it is not the plain one.
_TRAPS: Final[Mapping[str, str]] = {
    "abort": "the lab makes the Wasm guest abort",
    "loop": "the lab lets the Wasm guest run without end",
    "out-of-bounds": "the lab makes the Wasm guest write outside of its memory",
    "nested": "the host calls back into the Wasm guest, and that inner call traps",
    "import-error": "a function of the host fails inside the Wasm guest's call",
}
_PHASES: Final[Mapping[str, str]] = {
    "before-send": "before it was sent",
    "before-commit": "before the commit",
    "after-commit": "after the commit",
    "after-reply": "after the answer arrived",
    "mid-write": "in the middle of the group",
}
# The same, where the line before was about another call.
_PHASES_OF: Final[Mapping[str, str]] = {
    "before-send": "before {} was sent",
    "before-commit": "before the commit of {}",
    "after-commit": "after the commit of {}",
    "after-reply": "after the answer to {} arrived",
    "mid-write": "in the middle of {}",
}
_UNKNOWN: Final[Mapping[str, str]] = {
    "deadline": "the agent gives up waiting: outcome unknown",
    "reset": "the connection breaks: outcome unknown",
    "server-error": "the service answers with an error of its own: outcome unknown",
    "killed": "the process is dead before the answer: outcome unknown",
    "trap": "the Wasm guest traps: outcome unknown",
    "partial": "only a part of the group is written: outcome unknown",
}
_REFUSED: Final[Mapping[str, str]] = {
    "conflict": "this key came with another request before",
    "fenced": "the store has seen a newer fence",
    "held": "somebody else has the lease",
    "rate-limited": "not now",
}
_CALLS: Final[Mapping[str, str]] = {
    "model.complete": "the question to the model",
    "network.request": "the request to the outside",
    "wasm.instantiate": "the making of an instance",
}
_BY_NAME: Final[Mapping[str, str]] = {
    "memory.read": "the reading of",
    "memory.write": "the writing of",
    "memory.write_many": "the writing of",
    "memory.scan": "the scan of",
    "memory.erase": "the erasing of",
    "leases.acquire": "the lease of",
}


def sentence(op: Op, before: Sequence[Op], /, *, until_ns: int = 0, no_ledger: bool = False) -> str:
    """An entry in words; `before` are the entries already told, to say "the same key", and
    `until_ns` is when the story ends, to say what has expired by then. With `no_ledger` the
    request itself says what it writes, since no commit will."""
    return visible(_hidden(op, _whole(op, before, until_ns, no_ledger)))


def _whole(op: Op, before: Sequence[Op], until_ns: int, no_ledger: bool) -> str:
    told = _sentence(op, before)
    if no_ledger and op.f == "memory.write" and op.type == "invoke":
        told += _written(op)
    expires_ms = op.get("expires_ms")
    if op.type == "commit" and type(expires_ms) is int and expires_ms * _MS <= until_ns:
        told += f", good until {expires_ms // 1000}.{expires_ms % 1000:03d} s only"
    return told


def _hidden(op: Op, told: str) -> str:
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
        said = _UNKNOWN.get(error, f"no certain answer ({error}): outcome unknown")
        return said + _of(op, before)
    if op.type == "fail":
        return f"the answer is no ({_refusal(op)}): this request did nothing{_of(op, before)}"
    if op.type == "ok":
        return _ok(op, before)
    return _event(op, before)


def _refusal(op: Op) -> str:
    error = str(op.get("error", "refused"))
    why = _REFUSED.get(error, "")
    if error == "conflict" and op.get("in_flight"):
        why = "a request with this key is still under way"
    elif error == "conflict" and op.f.startswith("memory."):
        why = "another version stands there"
    return f"{error}: {why}" if why else error


def call_name(f: str, marker: str, /) -> str:
    """A call as people would name it.

    >>> call_name("tools.refund", "o-1"), call_name("memory.read", "cart")
    ('refund o-1', 'the reading of cart')
    """
    head, _, tail = f.partition(".")
    if head == "tools" and tail.endswith(".lookup"):
        return f"the look-up of {tail.removesuffix('.lookup')} {marker}".rstrip()
    if head in ("tools", "wasm") and f != "wasm.instantiate":
        return f"{tail} {short(marker)}".rstrip()
    if f in _BY_NAME:
        return f"{_BY_NAME[f]} {short(marker)}"
    return _CALLS.get(f, f)


def _told_last(call: int, before: Sequence[Op]) -> bool:
    """Whether "it" is clear: the last line about any call was about this one."""
    for op in reversed(before):
        about = op.index if op.type == "invoke" else op.call
        if about >= 0:
            return about == call
    return False


def _of(op: Op, before: Sequence[Op]) -> str:
    """The name of the call, where the line before does not make it clear."""
    clear = op.call < 0 or _told_last(op.call, before)
    return "" if clear else f" ({call_name(op.f, op.marker)})"


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
        nth = f", {ordinal(op.attempt)} try" if op.attempt else ""
        which = f": {op.marker}{nth}, {_key(op, before)}" if op.marker else ""
        return (
            f"{_agent(op)} calls {op.get('export', tail)} of instance "
            f"{op.get('instance', '?')}{_for(op)}{which}"
        )
    if op.f == "model.complete":
        return f"{_agent(op)} asks the model{_for(op)}"
    if op.f == "memory.write_many":
        ids = [str(w.get("id")) for w in rows_of(op, "writes") if isinstance(w, Mapping)]
        return f"{_agent(op)} writes {', '.join(ids)} as a group"
    if head == "memory":
        verb = {"read": "reads", "write": "writes", "scan": "scans", "erase": "erases"}
        where = " from a replica" if op.get("at") == "replica" else ""
        return (
            f"{_agent(op)} {verb.get(tail, tail)} {op.get('id') or op.get('prefix') or ''}{where}"
        )
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
        if op.call < 0 and not (op.process or op.get("tenant")):  # read when all was over
            return f"its ledger shows {op.get('ref') or f'{tail} {op.marker}'} in the end"
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
            + (f": {summary(op.get('value'))}" if op.get("value") is not None else "")
        )
    if op.f == "leases.acquire":
        return (
            f"{op.get('holder') or op.process} now owns {op.get('session')}, "
            f"fence {op.get('fence')}"
        )
    return f"{op.f} is committed"


def _written(op: Op) -> str:
    """What a write asks for, and on what condition."""
    said = f": {summary(op.get('value'))}"
    if isinstance(op.value, Mapping) and "expect" in op.value:
        expect = op.get("expect")
        said += ", if nothing is there" if expect is None else f", if {_version(expect)} is there"
    return said


def _is_part(op: Op) -> bool:
    return isinstance(op.get("item"), int)


def _version(raw: Any) -> str:
    return ".".join(str(part) for part in raw) if isinstance(raw, (list, tuple)) else str(raw)


def _ok(op: Op, before: Sequence[Op]) -> str:
    head = op.f.partition(".")[0]
    if head == "tools":
        if op.get("data") is not None and not op.get("ref"):
            return f"the answer arrives: {short(op.get('data'))}"
        known = " (the service knew it already)" if op.get("absorbed") else ""
        return f"the answer arrives: {op.get('ref', '')}{known}"
    if head == "wasm":
        return _output(op)
    if op.f == "memory.read":
        if not op.get("found", True):
            return f"{_agent(op)} finds nothing in {op.marker or op.get('id', 'it')}"
        version = _version(op.get("version"))
        known = f"version {version}" if op.get("version") is not None else ""
        seen = ", ".join(x for x in (op.marker, known) if x) or "it"
        return f"{_agent(op)} sees {seen}: {summary(op.get('value'))}"
    if op.f == "memory.scan":
        return f"{_agent(op)} sees what is in {op.marker or 'memory'}: {summary(op.get('items'))}"
    headers = op.get("headers")
    if op.f == "network.request" and isinstance(headers, Mapping) and headers.get("location"):
        return f"the answer sends the reader on to {short(headers.get('location'))}"
    return f"the answer arrives{_of(op, before)}"


def _output(op: Op) -> str:
    """What a Wasm module put out; a reference says more than the text around it."""
    if op.get("module"):
        return f"the instance is made: {op.get('instance', '?')}"
    output = op.get("output", op.value)
    if isinstance(output, Mapping) and isinstance(output.get("ref"), str):
        known = " (the service knew it already)" if output.get("absorbed") else ""
        return f"it answers: {output['ref']}{known}"
    return f"it answers: {summary(output)}" if output not in ("", None) else "it answers nothing"


def _strike(op: Op, before: Sequence[Op]) -> str:
    kind, phase = str(op.get("kind", "")), str(op.get("phase", ""))
    mode = str(op.get("mode") or "") if kind == "trap" else ""
    what = _TRAPS.get(mode) or _STRIKES.get(kind, "the lab strikes")
    name = call_name(str(op.get("port") or ""), op.marker)
    clear = not name or op.call < 0 or _told_last(op.call, before)
    where = _PHASES.get(phase, phase)
    if not clear and "{it}" not in what:
        where = _PHASES_OF.get(phase, f"{phase} {{}}").replace("{}", name)
    items = op.get("after_items")
    if phase == "mid-write" and isinstance(items, int):
        where += f", after {items} {'item' if items == 1 else 'items'}"
    what = what.replace("{it}", "it" if clear else name)
    return f"{what} ({', '.join(x for x in (kind, mode, where) if x)})"


def _outcome(op: Op, before: Sequence[Op]) -> str:
    late = " (a second report, not counted)" if op.get("counted") is False else ""
    if op.get("status") == "deferred":
        late = " (it will be handed out again)"
    text = f"{_agent(op)} reports {op.task} as {op.get('status', '?')}{late}"
    claims = [c for c in rows_of(op, "claims") if isinstance(c, Mapping)]
    if claims:
        text += f", claiming {listed(map(_claim, claims))}"
    reason = op.get("reason")
    return f"{text}; its reason: {short(reason)}" if reason and isinstance(reason, str) else text


def _claim(claim: Mapping[str, Any]) -> str:
    name, ref = f"{claim.get('tool')} {claim.get('marker')}", claim.get("ref")
    return f"{name} ({ref})" if ref else f"{name} (without a reference)"


def _lost(op: Op, before: Sequence[Op]) -> str:
    """How many writes a failover threw away, and which of them the story is about."""
    rows = rows_of(op, "lost")
    if not rows:
        return ""
    known = {name for o in before for name in (o.task, str(o.get("id") or "")) if name}
    ids = [str(row.get("id", "")) for row in rows if isinstance(row, Mapping)]
    ours = [i for i in dict.fromkeys(ids) if i in known or known & set(i.split("/"))]
    count = f"{len(rows)} {'write is' if len(rows) == 1 else 'writes are'} lost"
    return f"{count}, among them {listed(ours)}" if ours and len(rows) > 1 else count


_EVENTS: Final[Mapping[str, Callable[[Op, Sequence[Op]], str]]] = {
    "nemesis.strike": _strike,
    "nemesis.release": lambda op, before: "the lab lets go what it held back",
    "nemesis.heal": lambda op, before: "the lab stops all faults",
    "task.submit": lambda op, before: (
        f"{op.task} is handed to {op.process or 'the agent'}"
        + (f", {ordinal(op.get('delivery'))} time" if isinstance(op.get("delivery"), int) else "")
    ),
    "task.outcome": _outcome,
    "report.outcome": _outcome,
    "task.raised": lambda op, before: (
        f"the handler of {op.task} raises {op.get('error', 'an error')}"
    ),
    "process.start": lambda op, before: f"process {op.process} starts",
    "process.kill": lambda op, before: f"process {op.process} is dead",
    "process.pause": lambda op, before: f"process {op.process} stands still",
    "process.resume": lambda op, before: (
        f"process {op.process} goes on, unaware of the time that passed"
    ),
    "process.stop": lambda op, before: f"process {op.process} is asked to stop",
    "process.recovers": lambda op, before: (
        f"process {op.process} says it finishes {short(', '.join(map(str, rows_of(op, 'tasks'))))}"
    ),
    "report.intent": lambda op, before: (
        f"{_agent(op)} notes: will do {op.get('tool', '')} {op.marker}"
    ),
    "report.transition": lambda op, before: (
        f"{_agent(op)} reports {op.session} as {op.get('state', '?')}"
        + (f"; its reason: {short(op.get('why'))}" if _says_why(op) else "")
    ),
    "report.log": lambda op, before: f"{_agent(op)} logs{_for(op)}: {short(op.get('text', ''))}",
    "wasm.poisoned": lambda op, before: (
        f"instance {op.get('instance', '?')} is poisoned ({op.get('reason', '')}): it is not to "
        "be used again"
    ),
    "wasm.retired": lambda op, before: f"instance {op.get('instance', '?')} is retired",
    "session.release": lambda op, before: f"the operator releases {op.session}",
    "region.down": lambda op, before: f"region {op.get('region', '?')} goes down",
    "region.partition": lambda op, before: f"region {op.get('region', '?')} is cut off",
    "region.join": lambda op, before: ", ".join(
        x for x in (f"region {op.get('region', '?')} is back", _lost(op, before)) if x
    ),
    "region.promote": lambda op, before: ", ".join(
        x for x in (f"region {op.get('region', '?')} takes over", _lost(op, before)) if x
    ),
    "lab.deadlock": lambda op, before: "nothing can ever happen again",
    "lab.budget": lambda op, before: "the lab stops the execution at its budget",
    "lab.end": lambda op, before: "the execution ends",
}


def _says_why(op: Op) -> bool:
    return op.get("state") in ("quarantined", "failed") and bool(op.get("why"))


def _event(op: Op, before: Sequence[Op]) -> str:
    known = _EVENTS.get(op.f)
    if known is not None:
        return known(op, before)
    if op.f.startswith("tools.") and op.get("absorbed"):
        return f"the service knows the key and repeats {op.get('absorbed')}"
    return op.f
