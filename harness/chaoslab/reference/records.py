"""What the agent knows of a task, in the form in which it is stored.

A record must be enough to finish the task in another process, in another region, without the
`Task` object: so it keeps the prompt, the data and every step with its exact arguments. A step is
written as `intent` before anything is sent and as `done`, `uncertain` or `failed` after; what a
crash leaves behind is therefore always readable. A page is read first and written down after
(`done`, or `declined` where the rules forbid it), since reading it again does no harm.

>>> step = Step(tool="notify", marker="o-7/refunded", key=None, args={"order": "o-7"}, call="c1")
>>> record = TaskRecord(task="t1", session="s1", tenant="x", prompt="?", steps=[step])
>>> TaskRecord.from_json(record.to_json()) == record
True
>>> record.verdict(), replace(record, steps=[replace(step, state="done")]).verdict()
('uncertain', 'completed')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from chaoslab.world import Claim, Outcome, Status

StepState = Literal["intent", "done", "uncertain", "failed", "declined"]


@dataclass(slots=True, kw_only=True)
class Step:
    """One action, or the reading of one page. `tries` is how often it was, or was about to be,
    sent; `call` is the id that the model gave, kept so that the transcript can be told again word
    for word. `page` is what a page said; nothing was done there, so nothing is claimed."""

    tool: str
    marker: str
    key: str | None
    args: Mapping[str, Any]
    call: str
    state: StepState = "intent"
    tries: int = 1
    ref: str | None = None
    page: str | None = None
    why: str = ""


@dataclass(slots=True, kw_only=True)
class TaskRecord:
    """One task. `opening` are the messages the conversation began with, once it has begun."""

    task: str
    session: str
    tenant: str
    prompt: str
    profile: Mapping[str, str] = field(default_factory=dict)
    due_ms: int = 0
    policy: str = ""
    owner: str = ""
    opening: list[Mapping[str, Any]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    traps: int = 0
    outcome: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        whole = {name: getattr(self, name) for name in self.__dataclass_fields__}
        whole["steps"] = [
            {name: getattr(step, name) for name in step.__dataclass_fields__} for step in self.steps
        ]
        return whole

    @classmethod
    def from_json(cls, value: Any, /) -> TaskRecord:
        """From what `to_json` gave; further fields are let pass."""
        names = cls.__dataclass_fields__
        known = {name: item for name, item in value.items() if name in names}
        known["steps"] = [Step(**step) for step in value.get("steps", ())]
        return cls(**known)

    def step(self, tool: str, marker: str, /) -> Step | None:
        """The step of an action, whatever its wording."""
        return next((s for s in self.steps if (s.tool, s.marker) == (tool, marker)), None)

    def claims(self) -> tuple[Claim, ...]:
        """What is certainly done."""
        done = [s for s in self.steps if s.state == "done" and s.page is None]
        return tuple(Claim(tool=s.tool, marker=s.marker, ref=s.ref) for s in done)

    def verdict(self) -> Status:
        """The honest status of what the steps say: doubt outweighs failure."""
        states = {s.state for s in self.steps}
        if states & {"uncertain", "intent"}:
            return "uncertain"
        return "failed" if "failed" in states else "completed"

    def why(self) -> str:
        """In words, which steps did not go well."""
        bad = [s for s in self.steps if s.state != "done"]
        return "; ".join(f"{s.tool} {s.marker} is {s.state}: {s.why}" for s in bad)

    def with_outcome(self, outcome: Outcome, /) -> TaskRecord:
        """The record of the finished task."""
        kept = {"status": outcome.status, "answer": outcome.answer, "reason": outcome.reason}
        return replace(self, outcome=kept)

    def recorded_outcome(self) -> Outcome | None:
        """The outcome, once there is one: told the same to everybody who asks."""
        if self.outcome is None:
            return None
        return Outcome(task=self.task, claims=self.claims(), **self.outcome)
