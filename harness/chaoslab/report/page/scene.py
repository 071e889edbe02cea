"""One violation with everything around it: what the parts of a failure are read from.

Ledger, tries, lineage and production hints of a bug all need the same things: the history in which
it was seen, the one to compare it with, and which actions it is about. They are found here, once.

>>> from chaoslab.history import Op, View
>>> view = View([Op(index=0, time_ns=0, type="invoke", f="tools.pay", marker="o-1"),
...              Op(index=1, time_ns=1, type="commit", f="tools.pay", marker="o-1", call=0)])
>>> broken = Violation(check="effects.delivery", code="duplicate-effect", subject="pay o-1",
...                    explanation="twice", witness=(1,), tool="pay")
>>> actions_of(Facts(view), broken)
(('pay', 'o-1'),)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaoslab.check.facts import Facts, OpKey
from chaoslab.check.masking import NO_MASK, Mask
from chaoslab.check.model import Violation
from chaoslab.contract import Contract
from chaoslab.history import Op, View, tool_of
from chaoslab.report.page.material import RunFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A violation in its run.

    `other` is what its history is compared with, and `other_name` says what that is: the
    fault-free run; the repetition where two repetitions differ; None where the fault-free run is
    the one that is broken, or is missing.
    """

    violation: Violation
    run: RunFiles
    facts: Facts
    other: Facts | None
    other_name: str
    actions: tuple[OpKey, ...]

    @property
    def view(self) -> View:
        """The history in which it was seen."""
        return self.facts.view

    @property
    def contract(self) -> Contract:
        """What was promised."""
        return self.facts.contract

    @property
    def mask(self) -> Mask:
        """Takes out what must not be seen."""
        return self.run.mask

    @property
    def witness(self) -> tuple[Op, ...]:
        """The entries that prove it."""
        return tuple(self.view[i] for i in self.violation.witness if 0 <= i < len(self.view))


class Joined:
    """The joined histories of one run, kept while bugs of the same run are told: a graph of a long
    history is dear, and several bugs often have one example."""

    def __init__(self) -> None:
        self._run: RunFiles | None = None
        self._facts: dict[str, Facts] = {}

    def facts(self, run: RunFiles, where: str, /) -> Facts | None:
        """One history of a run; None where it is not there any more."""
        if self._run is not run:
            self._run, self._facts = run, {}
        if where not in self._facts:
            view = run.view(where)
            if view is None:
                return None
            recorded = not run.entry.get("deterministic", True)
            self._facts[where] = Facts(view, run.contract, recorded=recorded)
        return self._facts[where]


def scene_of(joined: Joined, run: RunFiles, bug: Mapping[str, Any], /) -> Scene | None:
    """The scene of a bug in its example run; None where the history is not there any more."""
    where = str(bug["where"])
    facts = joined.facts(run, where)
    if facts is None:
        return None
    name, words = _other(run, where, str(bug["check"]))
    other = joined.facts(run, name) if name else None
    violation = violation_of(run.entry, bug)
    return Scene(
        violation=violation,
        run=run,
        facts=facts,
        other=other,
        other_name=words if other is not None else "",
        actions=actions_of(facts, violation, mask=run.mask),
    )


def _other(run: RunFiles, where: str, check: str) -> tuple[str, str]:
    """What a history is compared with: the name of the other one, and how people call it."""
    if where == "control":
        return "", ""
    if check == "recovery.deterministic":
        for name in run.wheres:
            if name.startswith("repeat") and name != where:
                return name, "the repetition"
    return "control", "the fault-free run"


def violation_of(entry: Mapping[str, Any], bug: Mapping[str, Any], /) -> Violation:
    """The violation of a run that a bug is told by. The bug itself does not say its subject."""
    witness = list(bug["witness"])
    rows = [*entry.get("violations", ()), *(entry.get("warnings") or ())]
    same = [v for v in rows if v["fingerprint"] == bug["fingerprint"]]
    exact = [v for v in same if v["where"] == bug["where"] and list(v["witness"]) == witness]
    found = (exact or same or [bug])[0]
    return Violation(
        check=str(bug["check"]),
        code=str(bug["code"]),
        subject=str(found.get("subject", "")),
        explanation=str(bug["explanation"]),
        witness=tuple(witness),
        tool=str(bug["tool"] or ""),
        anomaly=str(bug["anomaly"] or ""),
        where=str(bug["where"]),
    )


def actions_of(facts: Facts, violation: Violation, /, *, mask: Mask = NO_MASK) -> tuple[OpKey, ...]:
    """The actions that a violation is about: the one in its subject, and those in its witness.

    Results are masked when they are written, so a subject may hold a masked marker.
    """
    found: dict[OpKey, None] = {}
    tool, subject = violation.tool, violation.subject
    if tool and subject.startswith(f"{tool} "):
        marker = subject[len(tool) + 1 :]
        keys = {**facts.operations, **facts.claims}
        if (tool, marker) not in keys:
            same = [m for name, m in keys if name == tool and mask.text(m) == marker]
            marker = same[0] if same else marker
        found[tool, marker] = None
    for index in violation.witness:
        if not 0 <= index < len(facts.view):
            continue
        op = facts.view[index]
        request = op if op.type == "invoke" else facts.invoke_of(op)
        near = [op] if request is None else [op, request, *facts.commits_of(request)]
        for one in near:
            name = tool_of(one).removesuffix(".lookup")
            if one.type != "event" and name and one.marker and tool in ("", name):
                found[name, one.marker] = None
    return tuple(found)
