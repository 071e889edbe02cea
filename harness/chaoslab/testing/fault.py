"""Proves a fault: that it strikes where it says, in the phase that it says, and nowhere else.

Whoever adds a kind, or makes a backend carry the kinds out, proves it here: the entries before the
strike are those of the fault-free execution, the ledger shows on which side of the commit it fell,
the agent was told no more than the kind allows, and after the heal everything came to its end.

>>> fault = Fault(at="tools:keyed", phase="before-commit", kind="error-reply")
>>> prove_fault(fault).holds
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from chaoslab.backends.api import ExecutionEnd, ExecutionSpec
from chaoslab.backends.common import merged_contract
from chaoslab.backends.sim import simulate
from chaoslab.faults import Fault, place
from chaoslab.faults.model import problem
from chaoslab.history import Op, View, Writer
from chaoslab.run.model import RunSpec
from chaoslab.run.plan import calm, execution_of
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.testing.proof import Proof, Step

Execute = Callable[[ExecutionSpec], ExecutionEnd]

# What the caller may be told in the end; "" is nothing at all, as for a process that died.
_ANSWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "silence": ("info",),
    "reset": ("info",),
    "error-reply": ("info",),
    "crash": ("info", ""),
    "rate-limit": ("fail",),
    "trap": ("info", "fail"),
}
# These let a request that is on its way already go on to its commit: a dead sender recalls nothing.
_COMMITS_LATER: Final = (
    *("delay", "duplicate", "reorder", "hold", "pause", "partition", "silence", "crash"),
)
# In these modes of a trap the guest's call ends as if nothing had happened, on a damaged instance.
_UNNOTICED: Final = ("nested",)


def simulated(spec: ExecutionSpec, /) -> ExecutionEnd:
    """One execution in the simulator, in memory."""
    return simulate(spec, Writer(None, {}))


def prove_fault(
    fault: Fault,
    /,
    *,
    scenario: str = "matrix/timeout-after-commit",
    agent: str = REFERENCE,
    seed: int = 0,
    execute: Execute = simulated,
) -> Proof:
    """Strikes an agent with one fault in a scenario's workload, through a backend's `execute`."""
    spec = specs_for(scenario_files([scenario]), agent, seeds=[seed])[0]
    return Proof(of=f"fault {fault.where()}", steps=tuple(_steps(fault, spec, execute)))


def _steps(fault: Fault, spec: RunSpec, execute: Execute) -> Iterator[Step]:
    wrong = problem(fault)
    yield Step(name="can be", seen=wrong or "its kind, place and phase go together", ok=not wrong)
    if wrong:
        return
    quiet = calm(spec.scenario)
    control = execute(execution_of(spec, quiet, ()))
    contract = merged_contract(spec.contract, spec.workload)
    placed = place([fault], control.sites, contract)
    planned = execution_of(spec, replace(quiet, faults=(fault,)), placed)
    struck = execute(planned)
    if control.broke or struck.broke:
        yield Step(name="can be carried out", seen=control.broke or struck.broke, ok=False)
        return
    view = View(struck.ops)
    strikes = view.named("nemesis.strike")
    sites = max(1, len(placed[0].sites))
    yield Step(
        name="strikes once per site, on record",
        seen=f"{len(strikes)} strikes, {sites} sites",
        ok=len(strikes) == sites and all(s.get("phase") == fault.phase for s in strikes),
    )
    if not strikes:
        return
    yield _nothing_before(control, view, strikes[0])
    for strike in strikes[:1]:
        yield _phase(fault, view, strike)
        yield _told(fault, view, strike)
    ended = view.named("lab.end")
    yield Step(name="everything comes to its end", seen=f"{len(view)} entries", ok=bool(ended))
    again = execute(planned)
    same = again.digest == struck.digest
    seen = "equal digests" if same else "another history from the same choices"
    yield Step(name="does the same again", seen=seen, ok=same)


def _nothing_before(control: ExecutionEnd, view: View, strike: Op) -> Step:
    name = "changes nothing before it strikes"
    # A kind that acts on the request itself may already have struck when the invoke is recorded.
    pairs = zip(control.ops, view.ops[: strike.index], strict=False)
    for left, right in pairs:
        if left != right:
            return Step(name=name, seen=f"entry {left.index} ({left.f}) differs", ok=False)
    return Step(name=name, seen=f"{strike.index} equal entries", ok=True)


def _phase(fault: Fault, view: View, strike: Op) -> Step:
    """Which side of the commit it fell on, by the ledger."""
    name = f"strikes {fault.phase}"
    commits = [op.index for op in view.commits(strike.call)]
    if fault.phase == "mid-write":
        before = sum(index < strike.index for index in commits)
        ok = before == fault.after_items
        return Step(name=name, seen=f"{before} items were written before it", ok=ok)
    answer = view.completion(strike.call)
    told = answer is not None and answer.index < strike.index
    if fault.phase in ("before-send", "before-commit"):
        early = [index for index in commits if index < strike.index]
        later = bool(commits) and not early
        ok = not early and not told and (not later or _may_commit(fault))
        seen = "committed later" if later else "committed before it" if early else "no commit"
        return Step(name=name, seen=seen, ok=ok)
    done = any(index < strike.index for index in commits) or not _has_ledger(view, strike)
    ok = done and told == (fault.phase == "after-reply")
    seen = "the commit is on record" if done else "there is no commit before it"
    return Step(name=name, seen=f"{seen}, the caller was {'' if told else 'not '}told", ok=ok)


def _may_commit(fault: Fault) -> bool:
    return fault.kind in _COMMITS_LATER or _unnoticed(fault)


def _unnoticed(fault: Fault) -> bool:
    return fault.kind == "trap" and fault.mode in _UNNOTICED


def _has_ledger(view: View, strike: Op) -> bool:
    """Whether a call of this kind leaves a commit at all: asking a model or reading does not."""
    return any(op.type == "commit" for op in view.named(view[strike.call].f))


def _told(fault: Fault, view: View, strike: Op) -> Step:
    name = "tells the caller no more than its kind allows"
    answer = view.completion(strike.call)
    kind = answer.type if answer is not None else ""
    allowed = _ANSWERS.get(fault.kind)
    if fault.phase == "after-reply" or allowed is None or _unnoticed(fault):
        return Step(name=name, seen=kind or "nothing", ok=True)
    seen = f"{kind or 'nothing'}; allowed: {', '.join(a or 'nothing' for a in allowed)}"
    return Step(name=name, seen=seen, ok=kind in allowed)
