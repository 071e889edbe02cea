"""A small language for histories: what happened, one call a line.

    h = History().submit("s1-t1")
    first = h.ask("refund", "o-1", key="k1", task="s1-t1")
    h.commit(first); h.info(first)
    h.outcome("s1-t1", "uncertain").end()

The session of a task is what stands before its last "-t".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chaoslab.check import Evidence, Finding, Judgement, judge
from chaoslab.contract import Contract, Limits, ToolContract
from chaoslab.history import Op, View

MS = 1_000_000

REFUND = ToolContract(
    name="refund",
    keys=True,
    lookup=True,
    compensate="void",
    identity_fields=("order",),
    promise="exactly-once",
)
VOID = ToolContract(name="void", identity_fields=("ref",))
SHIP = ToolContract(name="ship", keys=True, identity_fields=("order",), promise="at-most-once")
NOTIFY = ToolContract(name="notify", identity_fields=("order",), promise="at-most-once")
AUDIT = ToolContract(name="audit", identity_fields=("order",))
SAY = ToolContract(name="say", keys=True, promise="exactly-once")  # no identity fields
TICKET = ToolContract(name="ticket", keys=True, identity_fields=("order",), promise="exactly-once")

CONTRACT = Contract(
    tools={t.name: t for t in (REFUND, VOID, SHIP, NOTIFY, AUDIT, SAY, TICKET)},
    fencing=True,
    loss_ms_max=1_000,
)
LIMITS = Limits()


def session_of(task: str) -> str:
    return task.rpartition("-t")[0]


class History:
    """Collects entries; every method that starts a call returns its number."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.ms = 0
        self._nth: dict[tuple[str, str], int] = {}
        self._tries: dict[tuple[str, str, str], int] = {}
        self._version = 0
        self._standing: dict[str, list[int]] = {}

    # -- time and raw entries

    def wait(self, ms: int) -> History:
        self.ms += ms
        return self

    def add(self, type: Any, f: str, value: Any = None, **fields: Any) -> int:
        self.ms += 1
        op = Op(index=len(self.ops), time_ns=self.ms * MS, type=type, f=f, value=value, **fields)
        self.ops.append(op)
        return op.index

    def event(self, f: str, value: Any = None, **fields: Any) -> History:
        self.add("event", f, {} if value is None else value, **fields)
        return self

    # -- tasks and processes

    def start(self, process: str, region: str = "east") -> History:
        return self.event("process.start", {"region": region}, process=process)

    def kill(self, process: str) -> History:
        self.event("process.kill", {"region": "east", "why": "crash"}, process=process)
        answered = {o.call for o in self.ops if o.type in ("ok", "fail", "info")}
        for op in list(self.ops):
            if op.type == "invoke" and op.process == process and op.index not in answered:
                self.info(op.index, "killed")
        return self

    def submit(
        self, task: str, process: str = "p1", delivery: int = 1, prompt: str = "", **data: Any
    ) -> History:
        value = {"delivery": delivery, "prompt": prompt, "data": data, "tenant": "t"}
        return self.event(
            "task.submit", value, task=task, session=session_of(task), process=process
        )

    def outcome(
        self,
        task: str,
        status: str = "completed",
        *claims: tuple[str, str] | tuple[str, str, str | None],
        process: str = "p1",
        counted: bool = True,
        answer: Any = None,
    ) -> History:
        listed = [
            {"tool": c[0], "marker": c[1], "ref": c[2] if len(c) > 2 else None} for c in claims
        ]
        value = {
            "status": status,
            "answer": answer,
            "claims": listed,
            "reason": "",
            "counted": counted,
        }
        return self.event(
            "task.outcome", value, task=task, session=session_of(task), process=process
        )

    def move(self, session: str, state: str, process: str = "p1", task: str = "") -> History:
        return self.event(
            "report.transition",
            {"state": state, "why": ""},
            session=session,
            process=process,
            task=task,
        )

    def intent(self, tool: str, marker: str, task: str, key: str | None = None) -> History:
        return self.event(
            "report.intent",
            {"tool": tool},
            marker=marker,
            key=key,
            task=task,
            session=session_of(task),
            process="p1",
        )

    def strike(self, call: int, kind: str, phase: str, **value: Any) -> History:
        op = self.ops[call]
        return self.event(
            "nemesis.strike",
            {"kind": kind, "phase": phase, "fault": 0, **value},
            call=call,
            marker=op.marker,
            session=op.session,
            task=op.task,
            process=op.process,
        )

    def end(self) -> History:
        return self.event("nemesis.heal").event("lab.end")

    # -- calls

    def invoke(
        self, f: str, value: Any = None, task: str = "", process: str = "p1", **fields: Any
    ) -> int:
        fields.setdefault("session", session_of(task))
        return self.add("invoke", f, value, task=task, process=process, **fields)

    def ask(
        self,
        tool: str,
        marker: str,
        key: str | None = None,
        task: str = "s1-t1",
        process: str = "p1",
        args: Any = None,
        **value: Any,
    ) -> int:
        row = (task, tool, marker)
        self._tries[row] = self._tries.get(row, 0) + 1
        given = {"order": marker} if args is None else args
        return self.invoke(
            f"tools.{tool}",
            {"args": given, "deadline_ms": 2000, **value},
            task=task,
            process=process,
            marker=marker,
            attempt=self._tries[row],
            key=key,
        )

    def commit(self, call: int, ref: str = "", undoes: str = "", **fields: Any) -> str:
        """The ledger takes it; answers with the reference."""
        op = self.ops[call]
        tool, marker = fields.pop("tool", op.f.partition(".")[2]), op.marker
        nth = self._nth[tool, marker] = self._nth.get((tool, marker), 0) + 1
        ref = ref or f"{tool}:{marker}#{nth}"
        value = {"ref": ref, "args": op.get("args"), "nth": nth, "tenant": "t"}
        if undoes:
            value["compensates"] = undoes
        fields = {"key": op.key, "marker": marker, **fields}
        self.add(
            "commit",
            f"tools.{tool}",
            value,
            call=call,
            task=op.task,
            session=op.session,
            process=op.process,
            **fields,
        )
        return ref

    def _answer(self, type: str, call: int, value: Any) -> int:
        op = self.ops[call]
        return self.add(
            type,
            op.f,
            value,
            call=call,
            marker=op.marker,
            task=op.task,
            session=op.session,
            process=op.process,
            key=op.key,
            attempt=op.attempt,
        )

    def ok(self, call: int, ref: str = "", **value: Any) -> int:
        return self._answer("ok", call, {"ref": ref, **value} if ref else value)

    def fail(self, call: int, error: str = "rate-limited") -> int:
        return self._answer("fail", call, {"error": error})

    def info(self, call: int, error: str = "deadline") -> int:
        return self._answer("info", call, {"error": error})

    def done(self, tool: str, marker: str, **kwargs: Any) -> str:
        """Asked, committed and answered."""
        undoes = kwargs.pop("undoes", "")
        call = self.ask(tool, marker, **kwargs)
        ref = self.commit(call, undoes=undoes)
        self.ok(call, ref)
        return ref

    # -- memory and leases

    def read(self, id: str, version: Any = "standing", process: str = "p1", task: str = "") -> int:
        call = self.invoke("memory.read", {"id": id, "at": "primary"}, task, process, marker=id)
        if version == "standing":
            version = self._standing.get(id)
        return self.ok(call, found=version is not None, value="?", version=version)

    def write(
        self,
        id: str,
        value: Any = None,
        process: str = "p1",
        task: str = "",
        fence: int | None = None,
        acked: bool = True,
        durability: str = "local",
        region: str = "east",
        **more: Any,
    ) -> int:
        """One acknowledged write; answers with the number of its commit."""
        asked = {"id": id, "value": value, "fence": fence, "durability": durability, **more}
        call = self.invoke("memory.write", asked, task, process, marker=id)
        index = self.store(call, id, value, fence, durability, region)
        if acked:
            self.ok(call, version=self._standing[id])
        return index

    def store(
        self,
        call: int,
        id: str,
        value: Any,
        fence: int | None = None,
        durability: str = "local",
        region: str = "east",
        **more: Any,
    ) -> int:
        op = self.ops[call]
        self._version += 1
        over, version = self._standing.get(id), [1, self._version]
        self._standing[id] = version
        row = {"id": id, "value": value, "version": version, "over": over, "fence": fence}
        return self.add(
            "commit",
            op.f,
            {**row, "durability": durability, "region": region, **more},
            call=call,
            marker=id,
            task=op.task,
            session=op.session,
            process=op.process,
        )

    def write_many(
        self, writes: Mapping[str, Any], process: str = "p1", task: str = "", first: int = 99
    ) -> int:
        """A group of which the first so many are stored; answers with the invoke."""
        listed = [{"id": i, "value": v, "durability": "local"} for i, v in writes.items()]
        call = self.invoke(
            "memory.write_many",
            {"writes": listed, "fence": None},
            task,
            process,
            marker="+".join(writes),
        )
        for item, (id, value) in enumerate(writes.items()):
            if item < first:
                self.store(call, id, value, item=item, of=len(writes))
        return call

    def lease(self, session: str, fence: int, process: str) -> int:
        call = self.invoke("leases.acquire", {"session": session, "ttl_ms": 9}, "", process)
        return self.add(
            "commit",
            "leases.acquire",
            {"session": session, "fence": fence, "expires_ns": 0, "holder": process},
            call=call,
            marker=session,
            process=process,
        )

    # -- Wasm

    def wasm(
        self,
        instance: str,
        marker: str = "",
        key: str | None = None,
        task: str = "s1-t1",
        export: str = "open_ticket",
        **args: Any,
    ) -> int:
        value = {"instance": instance, "export": export, "args": args}
        return self.invoke("wasm.ticket", value, task, marker=marker, key=key)

    def view(self) -> View:
        return View(self.ops)


def evidence(
    history: History,
    contract: Contract = CONTRACT,
    limits: Limits = LIMITS,
    control: History | None = None,
    repeats: Iterable[History] = (),
) -> Evidence:
    return Evidence(
        history=history.view(),
        contract=contract,
        limits=limits,
        control=None if control is None else control.view(),
        repeats=tuple(r.view() for r in repeats),
    )


def verdicts(history: History, **kwargs: Any) -> Judgement:
    return judge(evidence(history, **kwargs))


def check(id: str, history: History, **kwargs: Any) -> Finding:
    found = verdicts(history, **kwargs).finding(id)
    assert "broke" not in found.reason, found
    return found


def codes(id: str, history: History, **kwargs: Any) -> list[str]:
    """`code` or `code/anomaly` of each violation of one check."""
    return [
        v.code + (f"/{v.anomaly}" if v.anomaly else "")
        for v in check(id, history, **kwargs).violations
    ]
