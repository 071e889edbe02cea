"""Small histories and the runs around them, for the tests of what a failure shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chaoslab.check.masking import NO_MASK, Mask
from chaoslab.contract import Contract, ToolContract
from chaoslab.history import Op, View
from chaoslab.report.page.material import Material, RunFiles
from chaoslab.report.page.scene import Joined, Scene, scene_of

REFUND = ToolContract(name="refund", keys=True, identity_fields=("order",), promise="exactly-once")
CONTRACT = Contract(tools={"refund": REFUND})
RUN = "matrix-lost--bot--s0"
MS = 1_000_000


class Record:
    """A history as it is written, entry by entry."""

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def add(self, type: str, f: str, value: Any = None, *, ms: int = 0, **more: Any) -> int:
        """One entry; its number."""
        self.ops.append(
            Op(
                index=len(self.ops),
                time_ns=(ms or len(self.ops)) * MS,
                type=type,  # type: ignore[arg-type]
                f=f,
                value=value,
                **more,
            )
        )
        return len(self.ops) - 1

    def task(self, task: str, tenant: str = "acme") -> int:
        """A task is handed out."""
        session = task.partition("-")[0]
        value = {"tenant": tenant, "delivery": 1}
        return self.add("event", "task.submit", value, task=task, session=session, process="p1")

    def ask(
        self,
        order: str,
        *,
        task: str = "s1-t1",
        key: str | None = "k1",
        tool: str = "refund",
        attempt: int = 1,
        **args: Any,
    ) -> int:
        """A request for a refund."""
        return self.add(
            "invoke",
            f"tools.{tool}",
            {"args": {"order": order, "cents": 700, **args}},
            marker=order,
            task=task,
            session=task.partition("-")[0],
            process="p1",
            key=key,
            attempt=attempt,
        )

    def commit(self, call: int, nth: int = 1, **more: Any) -> int:
        """The ledger takes a request."""
        op = self.ops[call]
        tool = op.f.partition(".")[2]
        value = {"ref": f"{tool}:{op.marker}#{nth}", "args": op.get("args"), "nth": nth, **more}
        names = ("marker", "task", "session", "process", "key")
        return self.add("commit", op.f, value, call=call, **{n: getattr(op, n) for n in names})

    def answer(self, call: int, type: str = "ok", **value: Any) -> int:
        """An answer to a call."""
        op = self.ops[call]
        names = ("marker", "task", "session", "process")
        return self.add(type, op.f, value, call=call, **{n: getattr(op, n) for n in names})

    def strike(self, call: int, kind: str = "silence", phase: str = "after-commit") -> int:
        """A fault hits a call."""
        op = self.ops[call]
        value = {"fault": 0, "kind": kind, "phase": phase, "port": op.f}
        return self.add("event", "nemesis.strike", value, call=call, marker=op.marker)

    def outcome(self, task: str = "s1-t1", status: str = "completed", **more: Any) -> int:
        """A task ends."""
        session = task.partition("-")[0]
        value = {"status": status, "claims": [], "counted": True, **more}
        return self.add("event", "task.outcome", value, task=task, session=session, process="p1")

    def end(self) -> View:
        """The whole of it."""
        self.add("event", "lab.end", {"outcomes": {}})
        return View(self.ops)


def twice() -> View:
    """A refund whose reply was lost, made again under another key: entries 1 to 8."""
    record = Record()
    record.task("s1-t1")
    first = record.ask("o-1", key="k1")
    record.commit(first)
    record.strike(first)
    record.answer(first, "info", error="deadline")
    second = record.ask("o-1", key="k2", attempt=2)
    record.commit(second, 2)
    record.answer(second, ref="refund:o-1#2")
    record.outcome(claims=[{"tool": "refund", "marker": "o-1", "ref": "refund:o-1#2"}])
    return record.end()


def once(*orders: str) -> View:
    """Some refunds, each made once."""
    record = Record()
    for n, order in enumerate(orders or ("o-1",)):
        task = f"s{n + 1}-t1"
        record.task(task)
        call = record.ask(order, task=task, key=f"key-{order}")
        record.commit(call)
        record.answer(call, ref=f"refund:{order}#1")
        record.outcome(task)
    return record.end()


def bug(**more: Any) -> dict[str, Any]:
    """The row of results["bugs"] for `twice`."""
    return {
        "fingerprint": "f1",
        "check": "effects.delivery",
        "code": "duplicate-effect",
        "tool": "refund",
        "anomaly": "key-changed",
        "title": "twice",
        "consequence": "money",
        "agent": "bot.py:make",
        "contract": "bot",
        "state": "new",
        "runs": [RUN],
        "scenarios": ["matrix/lost"],
        "seeds": [0],
        "example": RUN,
        "where": "fault",
        "explanation": "2 × refund for one request (o-1)",
        "witness": [1, 2, 5, 6],
        "because": ["  so: twice."],
        "todo": "",
        "warning": False,
    } | more


def entry(*bugs: Mapping[str, Any], subject: str = "refund o-1", **more: Any) -> dict[str, Any]:
    """The run's entry of results.json."""
    rows = [{**one, "subject": one.get("subject", subject)} for one in bugs]
    return {
        "id": RUN,
        "deterministic": True,
        "violations": rows,
        "key_advice": [],
        **more,
    }


def files(
    views: Mapping[str, View],
    *bugs: Mapping[str, Any],
    contract: Contract = CONTRACT,
    mask: Mask = NO_MASK,
    folder: Path = Path("reports/now"),
    **more: Any,
) -> RunFiles:
    """The files of a run, without a disk."""
    return RunFiles(
        entry=entry(*bugs, **more),
        folder=folder / RUN,
        present=True,
        contract=contract,
        mask=mask,
        scenario_text='format = 1\nname = "lost"\n',
        _views=dict(views),
    )


def scene(
    fault: View, control: View | None = None, *, contract: Contract = CONTRACT, **more: Any
) -> Scene:
    """The scene of one bug."""
    fields = {k: v for k, v in more.items() if k in bug() or k == "subject"}
    rest = {k: v for k, v in more.items() if k not in fields}
    one = bug(**fields)
    where = str(one["where"])
    views = {where: fault}
    if control is not None:
        views["control"] = control
    run = files(views, one, contract=contract, **rest)
    found = scene_of(Joined(), run, one)
    assert found is not None
    return found


def material(run: RunFiles, bugs: Sequence[Mapping[str, Any]], folder: Path) -> Material:
    """A campaign of one run."""
    results = {"runs": [run.entry], "bugs": list(bugs)}
    return Material(folder=folder, results=results, _runs={RUN: run})
