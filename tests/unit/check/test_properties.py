"""Properties that hold for whatever happened: drawn histories of a simple honest agent, the
same with one breach planted, and pure noise."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.check.builder import History, check, verdicts

from chaoslab.check import because
from chaoslab.contract import Limits
from chaoslab.history import Op

TRIES = st.lists(st.sampled_from(["lost-before", "lost-after", "refused", "crash"]), max_size=4)
SOME = settings(max_examples=60, deadline=None)


def _honest(plans: list[list[str]], *, new_key_on_try: int = 0) -> History:
    """Each task does one refund with a derived key, through whatever the plan throws at it."""
    h = History().start("p1")
    process, life = "p1", 1
    for number, plan in enumerate(plans):
        task, order = f"s{number}-t1", f"o-{number}"
        h.submit(task, process)
        done = False
        for nth, trouble in enumerate([*plan, "fine"], 1):
            changed = new_key_on_try and nth >= new_key_on_try
            key = f"key-{order}-{nth}" if changed else f"key-{order}"
            call = h.ask("refund", order, key=key, task=task, process=process)
            if trouble == "refused":
                h.fail(call)
                continue
            if trouble != "lost-before" and (not done or changed):
                h.commit(call)
                done = True
            if trouble == "crash":
                h.kill(process)
                life += 1
                process = f"p{life}"
                h.start(process).submit(task, process, delivery=life)
            elif trouble == "fine":
                h.ok(call, f"refund:{order}#1", absorbed=True)
            else:
                h.info(call)
        h.outcome(task, "completed", ("refund", order, f"refund:{order}#1"), process=process)
    return h.end()


@SOME
@given(st.lists(TRIES, min_size=1, max_size=4))
def test_an_honest_agent_is_never_accused(plans: list[list[str]]) -> None:
    h = _honest(plans)
    found = verdicts(h, control=_honest([[] for _ in plans]), repeats=[_honest(plans)])
    assert (found.verdict, found.violations) == ("valid", ())


@SOME
@given(TRIES.filter(lambda plan: "lost-after" in plan or "crash" in plan))
def test_a_changed_key_is_always_found(plan: list[str]) -> None:
    h = _honest([plan], new_key_on_try=2)
    may_have_happened = [t for t in plan if t != "refused"]
    found = check("keys.lineage", h)
    assert bool(found.violations) == bool(may_have_happened)
    commits = sum(op.type == "commit" for op in h.ops)
    assert bool(check("effects.delivery", h).violations) == (commits > 1)


@SOME
@given(st.lists(TRIES, min_size=1, max_size=3), st.integers(1, 9))
def test_numbers_and_names_do_not_change_a_fingerprint(plans: list[list[str]], shift: int) -> None:
    def prints(h: History) -> set[str]:
        return {v.fingerprint for v in verdicts(h).violations}

    one = _honest(plans, new_key_on_try=2)
    other = History()
    other.wait(shift).event("report.log", {"text": "x"})
    moved = [
        Op.from_json(
            {
                **op.to_json(),
                "i": op.index + 1,
                "t": op.time_ns + shift,
                **({"call": op.call + 1} if op.call >= 0 else {}),
                **({"key": f"x{op.key}"} if op.key else {}),
                **({"process": f"x{op.process}"} if op.process else {}),
            }
        )
        for op in one.ops
    ]
    other.ops += moved
    assert prints(one) == prints(other)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(["cnry-a-01234567"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["id", "ref", "args", "state", "status", "claims", "version", "over", "fence",
             "items", "writes", "lost", "messages", "instance", "compensates", "holder",
             "session", "region", "kind", "expect", "error", "lookup", "outcomes"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=6,
)  # fmt: skip
NAMES = st.sampled_from(
    ["tools.refund", "tools.say", "wasm.ticket", "wasm.poisoned", "wasm.retired", "memory.read",
     "memory.write", "memory.write_many", "memory.scan", "memory.erase", "leases.acquire",
     "model.complete", "network.request", "report.intent", "report.transition",
     "report.outcome", "task.submit", "task.outcome", "process.start", "process.kill",
     "nemesis.strike", "region.down", "region.promote", "region.join", "session.release",
     "lab.end"]
)  # fmt: skip
FEW = st.sampled_from(["", "a", "b"])


@st.composite
def noise(draw: st.DrawFn) -> History:
    h = History()
    count = draw(st.integers(0, 12))
    for _ in range(count):
        value: Any = draw(VALUES)
        h.add(
            draw(st.sampled_from(["invoke", "ok", "fail", "info", "commit", "event"])),
            draw(NAMES),
            value,
            process=draw(FEW),
            session=draw(FEW),
            task=draw(FEW),
            call=draw(st.integers(-1, 14)),
            marker=draw(FEW),
            attempt=draw(st.integers(0, 2)),
            key=draw(st.sampled_from([None, "k", "z"])),
        )
    return h


@settings(max_examples=150, deadline=None)
@given(noise(), noise())
def test_no_history_breaks_a_check(h: History, other: History) -> None:
    limits = Limits(
        attempts_per_operation_max=1,
        failed_tasks_max=0,
        uncertain_tasks_max=0,
        recovery_ms_max=1,
        amplification_percent_max=100,
    )
    found = verdicts(h, control=other, repeats=[other], limits=limits)
    for finding in found.findings:
        assert "broke" not in finding.reason
        assert finding.reason
        assert (finding.verdict == "invalid") == bool(finding.violations)
        if finding.verdict == "valid":
            assert finding.looked_at > 0
    for violation in found.violations:
        assert list(violation.witness) == sorted(set(violation.witness))
        assert all(0 <= i < len(h.ops) for i in violation.witness)
        assert len(because(h.view(), violation)) <= 14
