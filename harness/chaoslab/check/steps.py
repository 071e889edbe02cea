"""Where in its conversation with the model an agent stood when it asked a tool for something.

Read off the model's entries as they come: which tool calls its answers gave out, under which ids,
and how many tool results stood in the transcript that each of them answered. A prompt on record
lists only what is new since the one before (`extends`), so the transcript is put together again,
by process and task. Where a task has no model on record, its actions are counted instead, in the
order in which a process first asked for them.

>>> steps = Steps(Contract())
>>> ask = Op(index=0, time_ns=0, type="invoke", f="model.complete", task="t1", process="p1",
...          value={"messages": [{"role": "user"}, {"role": "tool"}], "extends": 0})
>>> steps.model(ask)
>>> steps.model(Op(index=1, time_ns=1, type="ok", f="model.complete", task="t1", call=0, value={
...     "tool_calls": [{"id": "call_7", "name": "pay", "args": {"order": "o-1"}}]}))
>>> steps.request(Op(index=2, time_ns=2, type="invoke", f="tools.pay", task="t1", marker="x",
...     value={"args": {"order": "o-1"}}), "t1", done=True)
('call_7', 't1/step-1')
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chaoslab.check.facts import rows_of
from chaoslab.contract import Contract, ToolContract
from chaoslab.contract.markers import field_of, marker_of
from chaoslab.history import Op

# So many of the latest tool calls of a task are looked through for the one behind a request.
_BACK_MAX: Final = 32


class _Given:
    """One tool call that the model gave out, and the step at which it did."""

    def __init__(self, raw: Mapping[str, Any], answer: int, step: int) -> None:
        args = raw.get("args")
        self.id = str(raw.get("id", ""))
        self.name = str(raw.get("name", ""))
        self.args: Mapping[str, Any] = args if isinstance(args, Mapping) else {}
        self.answer, self.step = answer, step
        self.done: dict[tuple[str, str], bool] = {}  # action -> whether it was carried out


class Steps:
    """Takes the entries of one history in their order."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._results: dict[tuple[str, str], list[int]] = {}  # (process, task) -> running count
        self._asked: dict[int, int] = {}  # prompt -> tool results in its transcript
        self._given: dict[str, list[_Given]] = {}
        self._step: dict[str, int] = {}  # task -> results behind the latest answer
        self._order: dict[tuple[str, str], dict[tuple[str, str], int]] = {}

    def model(self, op: Op, /) -> None:
        """An entry of the model's."""
        if op.type == "invoke":
            counts = self._results.setdefault((op.process, op.task), [])
            extends = op.get("extends")
            del counts[extends if type(extends) is int and extends > 0 else 0 :]
            for message in rows_of(op, "messages"):
                counts.append((counts[-1] if counts else 0) + _results_in(message))
            self._asked[op.index] = counts[-1] if counts else 0
        elif op.type == "ok" and op.task:
            step = self._step[op.task] = self._asked.get(op.call, 0)
            given = self._given.setdefault(op.task, [])
            for raw in rows_of(op, "tool_calls"):
                if isinstance(raw, Mapping):
                    given.append(_Given(raw, op.index, step))

    def request(self, op: Op, task: str, /, *, done: bool) -> tuple[str, str]:
        """The tool call id and the step of a request to a tool, each "" where nothing tells it.
        `done`: its answer says that it was carried out."""
        if not task:
            return "", ""
        action = (op.f[6:], op.marker)
        given = self._behind(op, task, action)
        if given is not None:
            given.done[action] = done
        if task in self._step:
            step = given.step if given is not None else self._step[task]
            return given.id if given is not None else "", f"{task}/step-{step}"
        order = self._order.setdefault((op.process, task), {})
        return "", f"{task}/action-{order.setdefault(action, len(order) + 1)}"

    def _behind(self, op: Op, task: str, action: tuple[str, str]) -> _Given | None:
        """The tool call of the latest fitting answer. Where one answer gave out the same call
        twice, the second counts once the first was carried out."""
        tool = self._contract.tool(action[0])
        found: _Given | None = None
        for given in reversed(self._given.get(task, [])[-_BACK_MAX:]):
            if found is not None and given.answer != found.answer:
                break
            if _fits(tool, op, given) and (found is None or not given.done.get(action)):
                found = given
        return found


def _results_in(message: Any) -> int:
    """How many tool results a message holds, in any of the usual shapes."""
    if not isinstance(message, Mapping):
        return 0
    if message.get("role") == "tool" or message.get("type") == "function_call_output":
        return 1
    content = message.get("content")
    blocks = content if isinstance(content, (list, tuple)) else ()
    return sum(isinstance(b, Mapping) and b.get("type") == "tool_result" for b in blocks)


def _fits(tool: ToolContract, op: Op, given: _Given) -> bool:
    """Whether a request carries out a tool call: it has the name and the marker, or the values of
    the identity fields, whatever both are called."""
    named = given.name == tool.name
    args = op.get("args")
    if not tool.identity_fields:
        if not named:
            return False
        asked = _leaves(given.args)
        return marker_of(tool, given.args) == op.marker or (bool(asked) and asked <= _leaves(args))
    if named and marker_of(tool, given.args) == op.marker:
        return True
    if not isinstance(args, Mapping):
        return False
    values = [_leaves(field_of(args, path)) for path in tool.identity_fields]
    known = _leaves(given.args)
    return all(values) and all(value <= known for value in values)


def _leaves(value: Any) -> set[str]:
    """Every text and number inside a value, as text."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item
        elif item is not None:
            found.add(str(item))
    return found
