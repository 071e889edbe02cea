"""For which task a request is made, where the agent does not say.

An unmodified agent passes no task id, so the lab looks at what it does pass, in this order: the
task that it names; a tool call id that the model gave out for a task; the prompt of a task in what
the model is asked; the values that only one task has in what a tool is asked; and, where only one
task is open, that one. What fits several tasks belongs to nobody: a wrong name would make a wrong
verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chaoslab.backends.common.hub import NOBODY, Doing
from chaoslab.contract import Contract
from chaoslab.contract.markers import field_of
from chaoslab.core.jsons import Json
from chaoslab.serve.api import Hint
from chaoslab.world.api import Task
from chaoslab.world.cast import Cast

_SHORT = 3  # shorter texts are in everything


class Attribution:
    """See the module."""

    def __init__(self, cast: Cast, contract: Contract) -> None:
        self._tasks: dict[str, Task] = {t.id: t for ts in cast.sessions.values() for t in ts}
        self._contract = contract
        self._calls: dict[str, str] = {}
        self._words = {
            script.task: _texts(dict(script.values)) | _texts(dict(self._tasks[script.task].data))
            for script in cast.scripts
        }

    def gave(self, call: str, task: str) -> None:
        """The model gave out a tool call id for a task."""
        self._calls[call] = task

    def doing(self, hint: Hint, held: Iterable[str]) -> Doing:
        """The task of a request; `held` are the open tasks of the process that asks."""
        open_tasks = [name for name in held if name in self._tasks]
        for found in (
            [hint.task] if hint.task in self._tasks else [],
            [self._calls[c] for c in reversed(hint.calls) if c in self._calls][:1],
            self._by_prompt(hint.texts),
            self._by_values(hint, open_tasks),
            open_tasks,
        ):
            if len(found) == 1:
                task = self._tasks[found[0]]
                return Doing(task.id, task.session, task.tenant)
        return self._session_of(hint, open_tasks)

    def _session_of(self, hint: Hint, open_tasks: list[str]) -> Doing:
        sessions = {self._tasks[name].session for name in open_tasks}
        if len(sessions) != 1:
            return NOBODY
        task = self._tasks[open_tasks[0]]
        return Doing("", task.session, task.tenant)

    def _by_prompt(self, texts: tuple[str, ...]) -> list[str]:
        """The task whose prompt the latest text quotes; of two that fit, the longer one."""
        for text in reversed(texts):
            found = [t for t in self._tasks.values() if t.prompt and t.prompt in text]
            if found:
                longest = max(len(t.prompt) for t in found)
                return [t.id for t in found if len(t.prompt) == longest]
        return []

    def whose(self, tool: str, args: Mapping[str, Json], held: Iterable[str] = ()) -> list[str]:
        """The tasks that the identity fields of a tool call fit, open ones first."""
        line = self._contract.tool(tool)
        values = [field_of(args, path) for path in line.identity_fields] or [dict(args)]
        words = _texts(values)
        if not words:
            return []
        fitting = [name for name, known in self._words.items() if words <= known]
        return [name for name in fitting if name in set(held)] or fitting

    def planned(self, tool: str, marker: str) -> bool:
        """Whether an action is one that a task of this execution is about."""
        parts = [p.replace("~1", "/").replace("~0", "~") for p in marker.split("/")]
        words = _texts(parts)
        return bool(words) and any(words <= known for known in self._words.values())

    def _by_values(self, hint: Hint, open_tasks: list[str]) -> list[str]:
        return self.whose(hint.tool, hint.args, open_tasks) if hint.tool else []


def _texts(value: object) -> set[str]:
    """All texts and numbers in a value."""
    if isinstance(value, str):
        return {value} if len(value) >= _SHORT else set()
    if isinstance(value, Mapping):
        return {text for item in value.values() for text in _texts(item)}
    if isinstance(value, (list, tuple)):
        return {text for item in value for text in _texts(item)}
    return {str(value)} if type(value) is int and abs(value) >= 100 else set()
