"""`budgets.spend`: what is given away adds up to no more than was promised.

A budget caps what the effects of one tool come to, in all or in any window of time: the sum of an
argument or their number, over everybody or per tenant, session or task. It is counted in the
tool's own ledger and in its order, so a late commit counts when it happens. One reference counts
once, and what was undone is given back at that moment.

Two ways lead over a budget. Either the agent went on although it had been told what was spent
(`in-turn`: it counts wrongly, or not at all), or it asked whether there was room, waited for
something, and then spent what another had taken meanwhile (`at-once`).

>>> from chaoslab.contract import Budget, Contract, Limits
>>> from chaoslab.history import Op, View
>>> ops = [Op(index=n, time_ns=n, type="commit", f="tools.credit", marker=f"o-{n}",
...           value={"ref": f"c{n}", "args": {"cents": 600}}) for n in range(2)]
>>> contract = Contract(
...     budgets={"goodwill": Budget(name="goodwill", tool="credit", field="cents", most=1_000)})
>>> found = CHECK(Evidence(history=View(ops), contract=contract, limits=Limits()))
>>> [v.explanation for v in found.violations]
['the cents of credit came to 1200; at most 1000 was promised']
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from chaoslab.check.facts import Effect, Facts
from chaoslab.check.model import Check, Evidence, Finding, Violation, conclude, indexes, plural
from chaoslab.check.observed import gap
from chaoslab.contract import Budget
from chaoslab.contract.markers import field_of
from chaoslab.history import Op

ID = "budgets.spend"

_MS: Final = 1_000_000
_FEW: Final = 4  # more of the earlier ones than this would hide the one that went over


class _Spent(NamedTuple):
    """One effect as a budget sees it."""

    effect: Effect
    op: Op  # its first commit
    amount: int
    scope: str


class _Purse:
    """What one scope has spent within the window that ends now."""

    def __init__(self, window_ns: int | None) -> None:
        self.sum = 0
        self.held: deque[_Spent] = deque()
        self._window_ns = window_ns
        self._back: set[int] = set()  # commits of what was given back

    def take(self, spent: _Spent) -> None:
        """One more effect; what is older than the window falls out of it."""
        if self._window_ns is not None:
            since = spent.op.time_ns - self._window_ns
            while self.held and self.held[0].op.time_ns <= since:
                old = self.held.popleft()
                if old.op.index not in self._back:
                    self.sum -= old.amount
        self.held.append(spent)
        self.sum += spent.amount

    def give_back(self, spent: _Spent) -> None:
        """An effect was undone. Where it has left the window it is not counted any more."""
        if self.held and spent.op.index >= self.held[0].op.index:
            self._back.add(spent.op.index)
            self.sum -= spent.amount

    def counted(self) -> list[_Spent]:
        """The effects that count now."""
        return [s for s in self.held if s.op.index not in self._back]


def _run(evidence: Evidence) -> Finding:
    budgets = evidence.contract.budgets
    if not budgets:
        return conclude(ID, [], looked_at=0, nothing="no budget was promised")
    facts = evidence.facts
    by_tool: dict[str, list[Effect]] = {budget.tool: [] for budget in budgets.values()}
    for (tool, _), effects in facts.effects.items():
        if tool in by_tool:
            by_tool[tool] += effects
    found: list[Violation] = []
    missing: list[str] = []
    for budget in budgets.values():
        hidden = gap(facts, evidence.contract, among=(budget.tool,))
        missing += [hidden] if hidden else []
        effects = by_tool[budget.tool]
        late = any(effect.commits[0].index in facts.late for effect in effects)
        judged = _judged_late if late else _judged
        over = judged(facts, budget, effects, missing)
        if over is not None:
            found.append(over)
    return conclude(
        ID,
        found,
        looked_at=sum(map(len, by_tool.values())),
        things="effects under a budget",
        nothing="no tool with a budget did anything",
        missing=missing[0] if missing else "",
    )


def _judged(
    facts: Facts, budget: Budget, effects: list[Effect], missing: list[str]
) -> Violation | None:
    """The first time that a budget was overrun; whatever follows would say the same again."""
    steps: list[tuple[int, bool, _Spent]] = []  # (when, given back, what)
    for effect in effects:
        op = effect.commits[0]
        amount, scope = _amount(budget, op), _scope(budget, facts, effect)
        if amount is None or not scope:
            what = f"no {budget.per}" if amount is not None else f"no whole number {budget.field}"
            missing.append(f"#{op.index}, an effect of {budget.tool}, has {what}")
            continue
        spent = _Spent(effect, op, amount, scope)
        steps.append((op.index, False, spent))
        if effect.undone_by is not None:
            steps.append((effect.undone_by.index, True, spent))
    steps.sort(key=lambda step: step[:2])
    window_ns = None if budget.window_ms is None else budget.window_ms * _MS
    purses: dict[str, _Purse] = {}
    for _, back, spent in steps:
        purse = purses.setdefault(spent.scope, _Purse(window_ns))
        if back:
            purse.give_back(spent)
            continue
        purse.take(spent)
        if purse.sum > budget.most:
            return _over(facts, budget, purse, spent)
    return None


def _judged_late(
    facts: Facts, budget: Budget, effects: list[Effect], missing: list[str]
) -> Violation | None:
    """The same for effects that were only read afterwards: all that is known of when they came
    about is that their requests were made before. So a breach is certain only where it stands
    without what was undone, and where all of it lies within the window, however it lay."""
    whole = replace(budget, window_ms=None)
    if _judged(facts, whole, [replace(e, undone_by=None) for e in effects], missing) is None:
        return None
    over = _judged(facts, whole, [e for e in effects if e.stands], [])
    if over is not None and budget.window_ms is not None:
        over = over if _within(facts, over, effects, budget.window_ms * _MS) else None
    if over is None:
        missing.append(
            f"the effects of {budget.tool} were read afterwards, and when each came about, which "
            f"{budget.name} depends on, is not on record"
        )
    return over


def _within(facts: Facts, over: Violation, effects: list[Effect], window_ns: int) -> bool:
    """Whether everything up to the effect that went over certainly fell into one window."""
    last = max(over.witness)
    counted = [e for e in effects if e.stands and e.commits[0].index <= last]
    first_ns = min(facts.view[facts.since(e.commits[0])].time_ns for e in counted)
    return facts.view[last].time_ns - first_ns < window_ns


def _amount(budget: Budget, op: Op) -> int | None:
    """What an effect costs; None where that cannot be told, or makes no sense."""
    if not budget.field:
        return 1
    args = op.get("args")
    found: Any = field_of(args, budget.field) if isinstance(args, Mapping) else None
    # A negative amount would make room for others; no budget can be judged by it.
    return found if type(found) is int and found >= 0 else None


def _scope(budget: Budget, facts: Facts, effect: Effect) -> str:
    """Whose budget an effect is on; "" where that is not known."""
    op, call = effect.commits[0], effect.call
    if budget.per == "all":
        return "all"
    if budget.per == "tenant":
        tenant = op.get("tenant") or _tenant_of(facts, effect)
        return tenant if isinstance(tenant, str) else ""
    if budget.per == "task":
        return effect.task
    return op.session or (call.session if call is not None else "")


def _tenant_of(facts: Facts, effect: Effect) -> str:
    """Whose task brought about an effect that was read afterwards."""
    task = facts.tasks.get(effect.task) if effect.commits[0].index in facts.late else None
    return str(task.submits[0].get("tenant", "")) if task is not None and task.submits else ""


def _over(facts: Facts, budget: Budget, purse: _Purse, last: _Spent) -> Violation:
    counted = purse.counted()
    earlier = [s for s in counted if s is not last]
    call = last.effect.call
    witness = [last.op.index, call.index if call is not None else -1]
    if len(earlier) <= _FEW:
        witness += [s.op.index for s in earlier]
    what = f"the {budget.field} of {budget.tool}" if budget.field else f"{budget.tool}"
    came = str(purse.sum) if budget.field else plural(purse.sum, "effect")
    whose = f" for {last.scope}" if budget.per != "all" else ""
    within = f" within {budget.window_ms} ms" if budget.window_ms is not None else ""
    return Violation(
        check=ID,
        code="over-budget",
        subject=f"{budget.name}{whose}",
        explanation=f"{what} came to {came}{whose}{within}; at most {budget.most} was promised",
        witness=indexes(witness),
        tool=budget.tool,
        anomaly="at-once" if _unanswered(facts, earlier, call) else "in-turn",
    )


def _unanswered(facts: Facts, earlier: list[_Spent], call: Op | None) -> bool:
    """Whether a request was sent before one of those that filled the budget was answered."""
    if call is None:
        return False
    for spent in earlier:
        asked = spent.effect.call
        if asked is None:
            continue
        answer = facts.view.completion(asked.index)
        if answer is None or answer.index > call.index:
            return True
    return False


CHECK = Check(id=ID, run=_run, needs=frozenset(("tools",)))
