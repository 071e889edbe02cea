"""Where a transcript stands in its plan, found by walking the tool results since the prompt.

A model has no memory but the transcript, so nothing is kept between two answers. Steps that stand
in one answer are a group; the plan goes on when each of them has a result that ends it. An error
ends a step, or reopens it, as its reaction says.

>>> from chaoslab.scenario.model import Step
>>> plan = (Step(tool="refund", args={}), Step(tool="notify", args={}))
>>> Progress.of(plan, [{"role": "tool", "content": '{"ref": "r"}'}], "").open
[1]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from chaoslab.core.jsons import Json
from chaoslab.scenario.model import Reaction, Step
from chaoslab.world.transcript import asked, calls_in, failure, result_id

_Raw: TypeAlias = Mapping[str, Any]


class Progress:
    """See the module. `open` are the steps that the next answer asks for; `gave_up`: the model
    wants no more of it."""

    def __init__(self, plan: Sequence[Step]) -> None:
        self._plan = plan
        self._tries: dict[int, int] = {}
        self._again: dict[int, Reaction] = {}
        self._before: dict[int, _Raw | None] = {}
        self._next = 0
        self.gave_up = False
        self._begin_group()

    @classmethod
    def of(
        cls, plan: Sequence[Step], messages: Sequence[Mapping[str, Any]], pattern: str, /
    ) -> Progress:
        """The state after a transcript that begins with the task's prompt."""
        progress = cls(plan)
        for round in _rounds(messages):
            progress._waiting = list(progress.open)
            for message, call in round:
                progress._result(message, call, failure(message, pattern))
        return progress

    def tries(self, step: int, /) -> int:
        """How often a step was repeated."""
        return self._tries.get(step, 0)

    def again(self, step: int, /) -> Reaction | None:
        """How a step is repeated, if it is."""
        return self._again.get(step)

    def before(self, step: int, /) -> Mapping[str, Json] | None:
        """The arguments of a step's last call, as the transcript has them."""
        call = self._before.get(step)
        return None if call is None else asked(call).args

    def _begin_group(self) -> None:
        first = self._next
        self._next += 1 if first < len(self._plan) else 0
        while self._next < len(self._plan) and self._plan[self._next].parallel:
            self._next += 1
        self.open = list(range(first, self._next))
        self._waiting = list(self.open)
        self._fresh = True

    def _result(self, message: _Raw, call: _Raw | None, code: str | None) -> None:
        if self._fresh:  # an agent that went on after all is not held to what was before
            self.gave_up, self._fresh = False, False
        if not self.open:  # nothing was asked for any more
            self.gave_up = code is not None
            return
        step = self._waiting[0]
        if len(self._waiting) > 1:
            name = str(message.get("name", "")) if call is None else asked(call).name
            step = next((s for s in self._waiting if self._plan[s].name == name), step)
        self._waiting.remove(step)
        self._before[step] = call
        reaction = None if code is None else self._plan[step].reaction(code)
        repeat = reaction in ("retry", "ask-again")
        if reaction is not None and repeat and self.tries(step) < self._plan[step].retries_max:
            self._tries[step] = self.tries(step) + 1
            self._again[step] = reaction
        else:
            self.open.remove(step)
            self.gave_up |= reaction is not None and reaction != "carry-on"
        if not self.open:
            self._begin_group()
        elif not self._waiting:
            self._waiting = list(self.open)


def _rounds(messages: Sequence[_Raw]) -> Iterator[list[tuple[_Raw, _Raw | None]]]:
    """The tool results between two other messages, each with the call that it answers.

    Results of one answer come in any order, and after a restart some come twice; what counts is
    the call, so they are put into the order of the calls, the last one of each.
    """
    calls: dict[str, _Raw] = {}
    results: list[_Raw] = []
    for message in messages:
        role = message.get("role")
        if role == "tool":
            results.append(message)
            continue
        if results:
            yield _in_order(results, calls)
            results = []
        if role == "assistant":
            calls = {c["id"]: c for c in calls_in(message) if isinstance(c.get("id"), str)}
            calls.pop("", None)
    if results:
        yield _in_order(results, calls)


def _in_order(results: Sequence[_Raw], calls: Mapping[str, _Raw]) -> list[tuple[_Raw, _Raw | None]]:
    known = {result_id(m): m for m in results}
    rest: list[tuple[_Raw, _Raw | None]] = [(m, None) for m in results if result_id(m) not in calls]
    return [(known[id], call) for id, call in calls.items() if id in known] + rest
