"""What must be the same in every repetition of an execution on real processes, and what need not.

On the wall clock no two executions are the same, and that is no breach. Which of several tries
carried an effect, whether there was one more of them, and what number a database gave out are
matters of timing. What is not: how often each action stands at the end, how each task ended, and
how many keys an action needs. Of two repetitions one may have seen fewer of the keys than the
other, since it tried less often. One key for one action may be another one each time: it was made
at random and kept, and nobody can give a foreign process its random numbers again. Of several keys
that can not be said, so those must be the same, but for what may be done again anyway.

Where a death finds the other tasks is a matter of timing, too. One that it found between its note
of an action that cannot be recognised again and the answer to it ends as uncertain, if the agent is
honest, and as completed in the repetition in which it was found elsewhere.

>>> from chaoslab.contract import ToolContract
>>> from chaoslab.history import Op, View
>>> def run(key, ref):
...     return Facts(View([
...         Op(index=0, time_ns=0, type="invoke", f="tools.pay", marker="o-1", key=key),
...         Op(index=1, time_ns=1, type="commit", f="tools.pay", marker="o-1", call=0,
...            value={"ref": ref})]))
>>> list(unlike(Contract(), run("k1", "7"), run("k1", "8")))
[]
>>> list(unlike(Contract(), run("k1", "7"), run("k2", "7")))
[]
>>> pay = ToolContract(name="pay", keys=True, promise="exactly-once")
>>> list(unlike(Contract(tools={"pay": pay}), run("k1", "7"), run(None, "7")))
[(('keys', 'pay', 'o-1'), {'k1'}, {'no key'})]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chaoslab.check.facts import Facts, OpKey, requests_behind, rows_of
from chaoslab.contract import Contract, marker_of
from chaoslab.history import Op

Row = tuple[str, str, str]  # what, tool, marker or task
Difference = tuple[Row, set[str], set[str]]
_NO_KEY = "no key"


def counts_of(facts: Facts, contract: Contract, /) -> dict[OpKey, int]:
    """How often each action stands at the end. Compensations and what they undid are no goal."""
    return {
        key: len(
            requests_behind(
                [e for e in effects if e.stands and not e.undoes], contract.tool(key[0])
            )
        )
        for key, effects in facts.effects.items()
    }


def unlike(contract: Contract, one: Facts, two: Facts, /) -> Iterator[Difference]:
    """What differs between two executions with the same faults and may not."""
    for key in {**one.operations, **two.operations}:
        keys, others = _keys(one, key), _keys(two, key)
        kept = len(keys) == len(others) == 1 and _NO_KEY not in keys | others
        again = contract.tool(key[0]).promise == "at-least-once"
        if not (again or keys <= others or others <= keys or kept):
            yield ("keys", *key), keys, others
    excused = _found_elsewhere(contract, one, two)
    yield from _effects(contract, one, two, excused)
    for name in {**one.tasks, **two.tasks}:
        ends = [_status(f, name) for f in (one, two)]
        if ends[0] != ends[1] and name not in excused:
            yield ("outcome", "", name), {ends[0]}, {ends[1]}


def _status(facts: Facts, name: str) -> str:
    return facts.tasks[name].status if name in facts.tasks else ""


def _found_elsewhere(contract: Contract, one: Facts, two: Facts) -> set[str]:
    """The tasks that ended as completed in one execution, and as uncertain in the other, where a
    death has left one of their actions in doubt."""
    found = set()
    doubtful = {id(facts): _in_doubt(contract, facts) for facts in (one, two)}
    for name in one.tasks.keys() & two.tasks.keys():
        for here, there in ((one, two), (two, one)):
            ends = _status(here, name), _status(there, name)
            if ends == ("uncertain", "completed") and name in doubtful[id(here)]:
                found.add(name)
    return found


def _in_doubt(contract: Contract, facts: Facts) -> set[str]:
    """The tasks of which an action without a key was asked for, noted or begun by a process that
    died, and never answered: who is honest cannot say whether it has happened."""
    killed = {op.process for op in facts.view.named("process.kill")}
    begun: dict[OpKey, set[str]] = {}
    for op in facts.view.named("model.complete"):
        if op.type == "ok" and op.process in killed:
            for key in _asked_for(contract, op):
                begun.setdefault(key, set()).add(op.task)
    for key, entry in facts.operations.items():
        steps = (op for op in (*entry.intents, *entry.attempts) if op.process in killed)
        begun.setdefault(key, set()).update(op.task for op in steps)
        answers = (facts.view.completion(op.index) for op in entry.attempts)
        if any(op is not None and op.type in ("ok", "fail") for op in answers):
            del begun[key]
    unkeyed = (tasks for (tool, _), tasks in begun.items() if not contract.tool(tool).keys)
    return {task for tasks in unkeyed for task in tasks}


def _asked_for(contract: Contract, reply: Op) -> Iterator[OpKey]:
    """The actions that an answer of the model asks for."""
    for call in rows_of(reply, "tool_calls"):
        args = call.get("args") if isinstance(call, Mapping) else None
        if isinstance(args, Mapping):
            name = str(call.get("name", ""))
            yield name, marker_of(contract.tool(name), args)


def _effects(contract: Contract, one: Facts, two: Facts, excused: set[str]) -> Iterator[Difference]:
    first, second = counts_of(one, contract), counts_of(two, contract)
    unnamed: dict[str, list[OpKey]] = {}
    for key in {**first, **second}:
        tool = contract.tool(key[0])
        tasks = one.tasks_of(key) | two.tasks_of(key)
        if tasks and tasks <= excused and max(first.get(key, 0), second.get(key, 0)) <= 1:
            continue
        if not tool.identity_fields or not key[1]:
            # The marker is the wording, which may hold a time or a number: compare how many.
            unnamed.setdefault(key[0], []).append(key)
        elif not _alike(contract, one, two, [key], first.get(key, 0), second.get(key, 0)):
            yield ("effects", *key), {str(first.get(key, 0))}, {str(second.get(key, 0))}
    for name, keys in unnamed.items():
        here, there = (sum(counts.get(k, 0) for k in keys) for counts in (first, second))
        if not _alike(contract, one, two, keys, here, there):
            yield ("effects", name, keys[0][1]), {str(here)}, {str(there)}


def _alike(
    contract: Contract, one: Facts, two: Facts, keys: list[OpKey], here: int, there: int
) -> bool:
    if here == there:
        return True
    if contract.tool(keys[0][0]).promise == "at-least-once" and here and there:
        return True
    # Who ends as uncertain says that it may have happened or not: a request on its way when the
    # process died is either.
    tasks = {name for facts in (one, two) for key in keys for name in facts.tasks_of(key)}
    ends = [_status(f, n) for n in sorted(tasks) for f in (one, two)]
    return bool(ends) and set(ends) == {"uncertain"} and max(here, there) <= len(keys)


def _keys(facts: Facts, key: OpKey) -> set[str]:
    entry = facts.operations.get(key)
    tries = entry.attempts if entry is not None else ()
    return {_NO_KEY if op.key is None else op.key for op in tries}
