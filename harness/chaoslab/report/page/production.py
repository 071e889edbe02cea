"""How to look for a bug in production: by its key, its operation, and a query.

A bug that the lab found may have happened to customers already. The hints say where to look, as
near to the team's own words as the contract allows, and which names in them are only guesses. They
never ask anybody to paste a sensitive value into a search field.

>>> quoted('a "b"')
'"a \\\\"b\\\\""'
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from chaoslab.check.wording import ordinal
from chaoslab.contract import ToolContract
from chaoslab.contract.markers import field_of
from chaoslab.core.visible import visible
from chaoslab.history import Op
from chaoslab.report.page import queries
from chaoslab.report.page.scene import Scene
from chaoslab.report.page.searches import search_of
from chaoslab.report.page.shown import shown
from chaoslab.report.page.tries import WORDS, requests_for

_VALUE_MAX: Final = 200
_WORDS_MAX: Final = 1_200
_KEYS_MAX: Final = 12
_FIELDS_MAX: Final = 6

# Which query finds what, by check and code, or by check and anomaly.
_QUERIES: Final[Mapping[str, tuple[str, ...]]] = {
    "effects.delivery/duplicate-effect": ("duplicates", "two-keys"),
    "effects.delivery/missing-effect": ("missing",),
    "effects.delivery/unexpected-effect": ("denied",),
    "keys.lineage/key-changed": ("two-keys", "duplicates"),
    "keys.lineage/key-reused": ("two-actions",),
    "keys.lineage": ("duplicates",),
    "lineage.complete/dangling-intent": ("missing",),
    "lineage.complete": ("denied",),
    "outcome.honest/claimed-not-done": ("missing",),
    "outcome.honest/wrong-ref": ("missing",),
    "outcome.honest": ("denied",),
    "recovery.converges/extra": ("duplicates",),
    "recovery.converges/missing": ("missing",),
    "recovery.deterministic": ("duplicates", "missing"),
}
_FINDS: Final[Mapping[str, str]] = {
    "duplicates": "Actions that stand more than once in the ledger of {tool}.",
    "two-keys": "Actions of {tool} that came under two keys: the ledger may look right where the "
    "service refused the second, and is wrong where it did not.",
    "two-actions": "Keys of {tool} that were used for two actions: the second was refused, or "
    "taken for the first and never done.",
    "missing": "Actions of {tool} that your agent's records call done and the ledger does not "
    "have.",
    "denied": "Actions that the ledger of {tool} has, and that your agent's records call failed or "
    "do not know.",
    "late": "Actions of {tool} that were committed after your agent had reported how they ended.",
}
_WITH_RECORDS: Final = frozenset(("missing", "denied", "late"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """One way to look for a bug. `code` may be empty, where words say all."""

    kind: Literal["key", "operation", "query"]
    words: str
    code: str = ""


def hints_of(scene: Scene, /) -> tuple[Hint, ...]:
    """The hints for one bug: keys, operation, then queries of ledger, traces or logs."""
    violation = scene.violation
    found: list[Hint] = []
    wanted = _wanted(scene)
    tool = scene.contract.tool(violation.tool) if violation.tool else None
    if tool is not None and scene.actions:
        if wanted or violation.check.startswith("limits.attempts"):
            found += _keys(scene, tool)
        found.append(_operation(scene, tool))
    if tool is not None:
        found += _ledger_queries(scene, tool, wanted)
    search = search_of(scene)
    if search is not None:
        found.append(Hint(kind="query", words=search[0], code=search[1]))
    if tool is not None and (wanted or violation.check.startswith("limits.")):
        found.append(_traces(scene, tool))
    mask = scene.mask  # once more over the whole: names of fields may come out of a history
    return tuple(replace(h, words=mask.text(h.words), code=mask.text(h.code)) for h in found)


def _wanted(scene: Scene) -> tuple[str, ...]:
    violation = scene.violation
    if not violation.tool:
        return ()
    for name in (violation.code, violation.anomaly):
        found = _QUERIES.get(f"{violation.check}/{name}")
        if found is not None:
            break
    else:
        found = _QUERIES.get(violation.check, ())
    keyed = scene.contract.tool(violation.tool).keys
    found = tuple(one for one in found if keyed or not one.startswith("two-"))
    return (*found, "late") if found and "late" not in found and _came_late(scene) else found


def _came_late(scene: Scene) -> bool:
    """Whether an effect of the action came after its task had been reported."""
    facts = scene.facts
    for key in scene.actions:
        for effect in facts.effects_for(key):
            task = facts.tasks.get(effect.task)
            outcome = None if task is None else task.outcome
            first = effect.commits[0]
            if outcome is None or first.index in facts.late:
                continue  # when a row was made that was only read later, nobody knows
            if outcome.index < first.index:
                return True
    return False


# -- the key


def _keys(scene: Scene, tool: ToolContract) -> Iterator[Hint]:
    """The keys as they were seen, and what a right one is made of."""
    tries = [op for op in requests_for(scene.facts, scene.actions) if not op.get("lookup")]
    if not tries:
        return
    name = shown(scene.mask, tool.name)
    keys = {op.key for op in tries if op.key is not None}
    markers = {op.marker for op in tries}
    what = "one action" if len(markers) == 1 else f"{len(markers)} actions"
    if not keys and not tool.keys:
        said = f"{name} takes no key (see the contract), so its service cannot recognise a repeat."
    elif not keys:
        said = f"{name} takes keys, and was asked without one, so nobody can recognise a repeat."
    elif len(keys) > len(markers):
        said = (
            f"{len(keys)} keys for {what}: in production a search for one of them shows only a "
            "part of the story, so search by the operation as well."
        )
    elif len(keys) < len(markers):
        said = f"{_count(len(keys), 'key')} for {what}: a search for it shows both."
    else:
        said = f"{_count(len(keys), 'key')} for {what}. Search the service's log for it."
    advice = _right_key(scene, tool)
    lines = [_key_line(scene, op) for op in tries[:_KEYS_MAX]]
    if len(tries) > _KEYS_MAX:
        lines.append(f"… and {len(tries) - _KEYS_MAX} more requests")
    yield Hint(kind="key", words=f"{said} {advice}".strip(), code="\n".join(lines))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _key_line(scene: Scene, op: Op) -> str:
    key = "(no key)" if op.key is None else shown(scene.mask, op.key, most=_VALUE_MAX)
    answer = scene.view.completion(op.index)
    word = WORDS["" if answer is None else answer.type]
    nth = f"{ordinal(op.attempt)} try" if op.attempt else "a request"
    marker = shown(scene.mask, op.marker)
    return f"{key}   {nth} of {marker} by {shown(scene.mask, op.process or 'the agent')}, {word}"


def _right_key(scene: Scene, tool: ToolContract) -> str:
    for one in scene.run.entry.get("key_advice") or ():
        if one.get("tool") == tool.name and one.get("best"):
            return shown(scene.mask, str(one.get("words", "")), most=_WORDS_MAX)
    if not tool.keys:
        return ""
    fields = ", ".join(shown(scene.mask, f) for f in tool.identity_fields)
    of = f"the task and {fields}" if fields else "the task and the step in it"
    return (
        f"A right key is made of {of}, and of nothing that changes between two tries: no time, no "
        "number of a try, no process, no region."
    )


# -- the operation


def _operation(scene: Scene, tool: ToolContract) -> Hint:
    """What to search for where there is no key, or another one."""
    lines = [f"tool = {shown(scene.mask, tool.name)}"]
    if tool.match:
        lines.append(f"request = {shown(scene.mask, tool.match)}")
    if tool.key_at:
        lines.append(f"key in = {shown(scene.mask, tool.key_at.replace(':', ' ', 1))}")
    args = _example_args(scene, tool.name)
    fields = [f for f in tool.identity_fields if field_of(args, f) is not None]
    for field in fields or sorted(args)[:_FIELDS_MAX]:
        value = shown(scene.mask, field_of(args, field), most=_VALUE_MAX)
        lines.append(f"{shown(scene.mask, field)} = {value}")
    if not args:
        marker = next((m for name, m in scene.actions if name == tool.name), "")
        lines.append(f"action = {shown(scene.mask, marker)}")
    by = "its identity fields"
    if not tool.identity_fields:
        by = "its arguments (the contract names no identity field)"
    return Hint(
        kind="operation",
        words=f"An action of {shown(scene.mask, tool.name)} is recognised by {by}, whatever its "
        "key. The values are those of the example; take a customer's instead.",
        code="\n".join(lines),
    )


def _example_args(scene: Scene, tool: str) -> Mapping[str, Any]:
    """The arguments of the action, also from the run without faults where it was never asked for,
    and from the ledger where a Wasm guest asked in words of its own."""
    for facts in (scene.facts, scene.other):
        if facts is None:
            continue
        asked = [op for op in requests_for(facts, scene.actions) if op.f == f"tools.{tool}"]
        done = [op for op in facts.tool_commits if (op.f[6:], op.marker) in scene.actions]
        for op in (*asked, *done):
            args = op.get("args")
            if isinstance(args, Mapping) and args:
                return args
    return {}


# -- the ledger


def _ledger_queries(scene: Scene, tool: ToolContract, wanted: tuple[str, ...]) -> Iterator[Hint]:
    fields = sorted(_example_args(scene, tool.name))
    ledger = queries.ledger_for(tool, fields)
    if not ledger.identity:
        return
    for kind in wanted:
        words = _FINDS[kind].replace("{tool}", shown(scene.mask, tool.name))
        yield Hint(
            kind="query",
            words=f"{words} {_caveats(tool, ledger, kind)}".strip(),
            code=_statement(kind, ledger, tool.name),
        )


def _statement(kind: str, ledger: queries.Ledger, tool: str) -> str:
    if kind == "duplicates":
        return queries.duplicates(ledger)
    if kind == "two-keys":
        return queries.two_keys(ledger)
    if kind == "two-actions":
        return queries.two_actions(ledger)
    if kind == "missing":
        return queries.missing(ledger, tool)
    if kind == "denied":
        return queries.denied(ledger, tool)
    return queries.late(ledger, tool)


def _caveats(tool: ToolContract, ledger: queries.Ledger, kind: str) -> str:
    """Which names in a query nobody gave, and what has to be put in by hand."""
    said = []
    if tool.effects is not None and tool.effects.sql:
        said.append("The inner statement is the one of your contract.")
        open_ = queries.holes(tool)
        if open_:
            said.append(f"Put values of yours for {', '.join(open_)}, or leave that condition out.")
    if ledger.guessed:
        names = ", ".join(visible(name) for name in ledger.guessed)
        said.append(f"Guessed names: {names}; your table and columns may be called otherwise.")
    if kind in _WITH_RECORDS:
        said.append(
            f"{queries.RECORDS} stands for the table where your agent notes what it has done."
        )
    if kind == "late":
        said.append("created_at and ended_at are guesses as well.")
    if not tool.identity_fields:
        said.append("Without identity_fields in the contract all arguments were taken.")
    return " ".join(said)


# -- the traces


def quoted(text: str, /) -> str:
    """A text as a filter of traces wants it."""
    return json.dumps(visible(text), ensure_ascii=False)


def _traces(scene: Scene, tool: ToolContract) -> Hint:
    tries = requests_for(scene.facts, scene.actions)
    answers = [scene.view.completion(op.index) for op in tries]
    errors = sorted({str(a.get("error")) for a in answers if a is not None and a.get("error")})
    lines = [
        'gen_ai.operation.name = "execute_tool"',
        f"gen_ai.tool.name = {quoted(scene.mask.text(tool.name))}",
    ]
    words = f"In your traces: the calls of {shown(scene.mask, tool.name)}, by conversation. "
    if errors:
        lines.append("error.type is set")
        seen = shown(scene.mask, ", ".join(errors))
        words += f"Here a try ended with: {seen}. Look for such a call and what came after it. "
    if len(tries) > 1:
        most = scene.run.contract.limits.attempts_per_operation_max
        usual = f" (at most {most} were promised)" if most is not None else ""
        words += f"More than one call for the same action{usual} is what it looks like. "
    lines.append("group by gen_ai.conversation.id")
    words += (
        "These are OpenTelemetry's names for generative AI, which are not final; the form of a "
        "filter depends on your tracing tool."
    )
    return Hint(kind="query", words=words, code="\n".join(lines))
