"""The conformance kit: what is right passes, and each thing that it promises to see, it sees."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chaoslab.backends.api import ExecutionEnd, ExecutionSpec
from chaoslab.check import CHECKS, Check, Checker, Evidence, Finding, Violation, conclude
from chaoslab.core.errors import ContractError
from chaoslab.faults import Fault
from chaoslab.faults.model import KINDS, MODEL_KINDS, TRAP_MODES, problem
from chaoslab.testing import NotProven, Proof, goldens, prove_adapter, prove_checker, prove_fault
from chaoslab.testing.fault import simulated

ROOT = Path(__file__).resolve().parents[2]


def failing(proof: Proof) -> list[str]:
    return [step.name for step in proof.steps if not step.ok]


# -- checks


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_every_check_of_the_package_is_proven(check: Checker) -> None:
    prove_checker(check).require()


def breach(code: str = "bad", explanation: str = "t1 is bad", witness: tuple[int, ...] = (0,)):  # type: ignore[no-untyped-def]
    return Violation(
        check="my.check", code=code, subject="t1", explanation=explanation, witness=witness
    )


def honest(evidence: Evidence) -> Finding:
    """Objects to every outcome that failed."""
    found = [
        replace(breach(), witness=(op.index,))
        for op in evidence.history.named("task.outcome")
        if op.get("status") == "failed"
    ]
    return conclude("my.check", found, looked_at=len(evidence.history.named("task.outcome")))


def examples() -> tuple[list[Evidence], list[Evidence]]:
    good = [g.evidence for g in goldens("valid") if g.name == "effects.delivery-absorbed"]
    bad = [g.evidence for g in goldens("invalid") if g.name == "outcome.honest-failed-after-commit"]
    return good, bad


def proven(run: Callable[[Evidence], Finding], id: str = "my.check") -> Proof:
    good, bad = examples()
    return prove_checker(Check(id=id, run=run), valid=good, invalid=bad)


def test_a_check_of_a_team_is_proven() -> None:
    proven(honest).require()


def test_a_check_that_always_holds_is_seen() -> None:
    assert failing(proven(lambda e: conclude("my.check", [], looked_at=1))) == [
        "says nothing of an empty record",
        "breaks on the invalid examples",
    ]


def test_a_check_without_examples_of_both_kinds_is_not_proven() -> None:
    good, _ = examples()
    proof = prove_checker(Check(id="my.check", run=honest), valid=good)
    assert failing(proof) == ["breaks on the invalid examples"]
    with pytest.raises(NotProven, match="proves nothing"):
        proof.require()


def test_a_check_with_a_memory_is_seen() -> None:
    count = itertools.count()
    proof = proven(lambda e: replace(honest(e), reason=str(next(count))))
    assert "is a pure function of the evidence" in failing(proof)


def test_a_check_that_changes_the_record_is_seen() -> None:
    def greedy(evidence: Evidence) -> Finding:
        for op in evidence.history.named("task.outcome"):
            op.value["status"] = "failed"  # type: ignore[index]
        return honest(evidence)

    found = failing(proven(greedy))
    assert "is a pure function of the evidence" in found


def test_a_check_that_trusts_the_record_is_seen() -> None:
    def trusting(evidence: Evidence) -> Finding:
        for op in evidence.history.named("task.outcome"):
            op.value["status"]  # type: ignore[index,call-overload]
        return honest(evidence)

    assert "never raises, whatever the record" in failing(proven(trusting))


@pytest.mark.parametrize(
    "wrong",
    [
        breach(code="Bad Code"),
        breach(explanation=""),
        breach(explanation="<Agent object at 0x7f00deadbeef>"),
        breach(explanation="see /srv/agents/agent.py"),
        breach(witness=()),
        breach(witness=(3, 1)),
        breach(witness=(10_000,)),
    ],
    ids=lambda v: f"{v.code} {v.explanation[:12]} {v.witness}",
)
def test_a_breach_that_nobody_can_follow_is_seen(wrong: Violation) -> None:
    def unclear(evidence: Evidence) -> Finding:
        found = honest(evidence)
        return replace(found, violations=tuple(wrong for _ in found.violations))

    assert "explains its breaches" in failing(proven(unclear))


def test_a_fingerprint_that_follows_the_customer_is_seen() -> None:
    def personal(evidence: Evidence) -> Finding:
        found = honest(evidence)
        session = next((op.session for op in evidence.history if op.session), "")
        return replace(
            found, violations=tuple(replace(v, anomaly=session) for v in found.violations)
        )

    assert "keeps its fingerprints under other names" in failing(proven(personal))


def test_a_check_without_a_proper_name_is_seen() -> None:
    assert "has a name" in failing(proven(honest, id="My Check"))


# -- adapters


PLAIN = (ROOT / "tests/e2e/agents/plain.py").read_text()


def test_the_packaged_agents_are_proven() -> None:
    prove_adapter("chaoslab.reference:make_agent").require()
    prove_adapter("fixtures/agents/minimal.py:make_agent").require()


def adapter(folder: Path, body: str, contract: str = "") -> Proof:
    (folder / "plain.py").write_text(PLAIN)
    (folder / "mine.py").write_text(
        "import asyncio, os\nfrom chaoslab.world import Outcome\nfrom plain import Plain\n" + body
    )
    if contract:
        (folder / "mine.toml").write_text("format = 1\n" + contract)
    return prove_adapter(f"{folder}/mine.py:make_agent")


@pytest.mark.parametrize(
    ("body", "fails"),
    [
        ("def make_agent(): return 7\n", "is found and has the shape of an agent"),
        (
            "class A(Plain):\n    async def handle(self, task):\n"
            "        return Outcome(task=task.id, status='completed')\n"
            "def make_agent(): return A()\n",
            "acts through world.tools",
        ),
        (
            "class A(Plain):\n    async def handle(self, task):\n"
            "        self.world.report.log(str(list({f'{n}x' for n in range(40)})))\n"
            "        return await super().handle(task)\n"
            "def make_agent(): return A()\n",
            "does the same from the same choices, elsewhere",
        ),
        (
            "class A(Plain):\n    async def handle(self, task):\n"
            "        await asyncio.get_running_loop().create_future()\n"
            "def make_agent(): return A()\n",
            "ends every task without faults",
        ),
    ],
)
def test_an_adapter_that_shows_nothing_is_seen(tmp_path: Path, body: str, fails: str) -> None:
    assert fails in failing(adapter(tmp_path, body))


def test_a_promise_to_resume_needs_a_way_to(tmp_path: Path) -> None:
    proof = adapter(tmp_path, "make_agent = Plain\n", 'resume = "self"\n')
    assert "offers what the contract counts on" in failing(proof)
    assert "async def recover" in str(proof)


def test_an_unreadable_contract_is_an_error_and_not_a_proof(tmp_path: Path) -> None:
    with pytest.raises(ContractError):
        adapter(tmp_path, "make_agent = Plain\n", "resume = 7\n")


# -- faults


def places_of(kind: str, phase: str) -> tuple[str, ...]:
    """Every kind at one place; the two that everything rests on at each port."""
    if phase == "mid-write":
        return ("memory.write_many",)
    if kind == "trap":
        return ("wasm:*",)
    if kind in MODEL_KINDS:
        return ("model.complete",)
    if kind in ("silence", "crash"):
        return ("tools:keyed", "memory.write", "leases.acquire", "model.complete", "wasm:*")
    return ("tools:keyed",)


def all_faults() -> list[Fault]:
    found = []
    for kind, (phases, _) in KINDS.items():
        for phase in (*sorted(phases), "mid-write"):
            modes = TRAP_MODES if kind == "trap" else ("panic",)
            for at, mode in itertools.product(places_of(kind, phase), modes):
                fault = Fault(
                    at=at,
                    phase=phase,
                    kind=kind,
                    mode=mode,
                    after_items=1 if phase == "mid-write" else 0,
                    for_ms=5_000 if kind in ("delay", "pause", "hold", "partition") else None,
                )
                if not problem(fault):
                    found.append(fault)
    return found


def scene(fault: Fault) -> str:
    if fault.kind == "partition":
        return "matrix/failover-partitioned"
    if fault.at == "memory.write_many":
        return "matrix/partial-write-error-1"
    return "matrix/panic-before-commit-unwind" if "wasm" in fault.at else "matrix/failover-killed"


@pytest.mark.parametrize("fault", all_faults(), ids=lambda f: f"{f.where()} {f.mode}")
def test_every_kind_strikes_as_it_says(fault: Fault) -> None:
    prove_fault(fault, scenario=scene(fault)).require()


LOST = Fault(at="tools:keyed", phase="after-commit", kind="silence")


def twisted(change: Callable[[ExecutionSpec, ExecutionEnd], ExecutionEnd]) -> Proof:
    """A backend that carries the fault out wrongly."""

    def execute(spec: ExecutionSpec) -> ExecutionEnd:
        return change(spec, simulated(spec))

    return prove_fault(LOST, execute=execute)


def test_a_backend_that_strikes_in_the_wrong_phase_is_seen() -> None:
    def early(spec: ExecutionSpec, end: ExecutionEnd) -> ExecutionEnd:
        if not spec.placed:
            return end
        [one] = spec.placed
        wrong = replace(one, fault=replace(one.fault, phase="before-commit"))
        return simulated(replace(spec, placed=(wrong,)))

    assert "strikes once per site, on record" in failing(twisted(early))


def test_a_backend_that_does_not_strike_is_seen() -> None:
    found = failing(twisted(lambda spec, end: simulated(replace(spec, placed=()))))
    assert found == ["strikes once per site, on record"]


def test_a_backend_that_never_repeats_itself_is_seen() -> None:
    seeds = itertools.count(1)

    def other(spec: ExecutionSpec, end: ExecutionEnd) -> ExecutionEnd:
        return replace(end, digest=str(next(seeds)))

    assert failing(twisted(other)) == ["does the same again"]


def test_a_backend_that_tells_too_much_is_seen() -> None:
    def told(spec: ExecutionSpec, end: ExecutionEnd) -> ExecutionEnd:
        strikes = {op.call for op in end.ops if op.f == "nemesis.strike"}
        ops = tuple(
            replace(op, type="ok") if op.type == "info" and op.call in strikes else op
            for op in end.ops
        )
        return replace(end, ops=ops)

    assert "tells the caller no more than its kind allows" in failing(twisted(told))


def test_a_fault_that_cannot_be_is_seen() -> None:
    proof = prove_fault(Fault(at="tools:keyed", phase="mid-write", kind="silence"))
    assert failing(proof) == ["can be"]
