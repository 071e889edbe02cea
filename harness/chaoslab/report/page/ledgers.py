"""The ledger against the fault-free run's: the extra row, the missing row, the row that differs.

A tool's own ledger is what really happened; no reply and no log is better evidence. Rows are
compared by action (marker), never by reference or key, since those may differ where nothing is
wrong. A bug that is about no tool is shown by what it is about instead: see `endings`.

>>> from chaoslab.history import Op
>>> one = Effect(tool="pay", marker="o-1", ref="7", call=None, task="t1",
...              commits=[Op(index=4, time_ns=0, type="commit", f="tools.pay")])
>>> [(pair.mine is None, pair.other is None) for pair in _paired("o-1", [one, one], [one])]
[(False, False), (False, True)]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from chaoslab.check.facts import Effect, Facts
from chaoslab.contract.markers import field_of
from chaoslab.core.jsons import canonical
from chaoslab.report.page.endings import (
    items_of,
    memory_table,
    requests_table,
    sessions_table,
    tasks_table,
)
from chaoslab.report.page.rows import LedgerRow, LedgerTable, State, against, cell, fold, listing
from chaoslab.report.page.scene import Scene
from chaoslab.report.page.shown import seconds, shown

__all__ = ["LedgerRow", "LedgerTable", "ledger_of"]

_COLUMNS_MAX: Final = 5  # of arguments
_LATE: Final = "when it was read, at the end"
_NEVER: Final = "never"
# Checks about tasks, where they name no tool: how the tasks ended is then the evidence.
_OF_TASKS: Final = ("limits.tasks", "limits.recovery", "recovery.", "capacity.", "outcome.")
_OF_MEMORY: Final = ("memory.", "regions.")
_NO_LEDGER: Final = ("lifecycle.", "egress.")


def ledger_of(scene: Scene, /) -> LedgerTable | None:
    """The table that shows a bug; None where neither a tool, a task nor an item is in it."""
    table = _table(scene)
    return None if table is None else listing(table)


def _table(scene: Scene) -> LedgerTable | None:
    check = scene.violation.check
    tool = "" if check.startswith(_NO_LEDGER) else _tool_of(scene)
    if tool and _either(scene, tool):
        return _of_tool(scene, tool)
    if not scene.violation.tool and check.startswith(_OF_TASKS):
        return tasks_table(scene)
    if check.startswith("lifecycle."):
        return sessions_table(scene)
    if check == "egress.policy":
        return requests_table(scene)
    items = items_of(scene)
    if items and (check.startswith(_OF_MEMORY) or not tool):
        return memory_table(scene, items)
    return None


def _tool_of(scene: Scene) -> str:
    """The tool whose ledger is shown: the violation's own, or the one that its requests ended in,
    since a Wasm guest may commit through a tool of another name."""
    tool = scene.violation.tool
    if not tool or _either(scene, tool):
        return tool or (scene.actions[0][0] if scene.actions else "")
    for key in scene.actions:
        for effect in scene.facts.effects_for(key):
            return effect.tool
    return tool


def _either(scene: Scene, tool: str) -> bool:
    known = [facts for facts in (scene.facts, scene.other) if facts is not None]
    return tool in scene.contract.tools or any(_effects(facts, tool) for facts in known)


def _effects(facts: Facts, tool: str) -> dict[str, list[Effect]]:
    """The effects of a tool by marker, in the order of the ledger."""
    return {key[1]: found for key, found in facts.effects.items() if key[0] == tool}


# -- a tool


class _Pair(NamedTuple):
    """An effect and its counterpart in the other history; one of them may be missing. Fields that
    are `hidden` are neither shown nor compared."""

    marker: str
    mine: Effect | None
    other: Effect | None
    hidden: frozenset[str] = frozenset()

    def args(self) -> Mapping[str, Any]:
        """What was asked for here."""
        return _without(_args(self.mine), self.hidden)

    def other_args(self) -> Mapping[str, Any]:
        """What was asked for there."""
        return _without(_args(self.other), self.hidden)


def _without(args: Mapping[str, Any], hidden: frozenset[str]) -> Mapping[str, Any]:
    return {k: v for k, v in args.items() if k not in hidden} if hidden else args


def _of_tool(scene: Scene, tool: str) -> LedgerTable:
    mine = _effects(scene.facts, tool)
    others = {} if scene.other is None else _effects(scene.other, tool)
    alone = scene.other is None
    pairs = [
        pair
        for marker in {**mine, **others}
        for pair in _paired(marker, mine.get(marker, []), others.get(marker, []))
    ]
    pairs.sort(key=_place)
    hidden, telling_nothing = _hidden(scene, tool, pairs)
    pairs = [pair._replace(hidden=hidden) for pair in pairs]
    columns = _columns(scene, tool, pairs)
    undone = any(e is not None and not e.stands for pair in pairs for e in (pair.mine, pair.other))
    rows, left, differing = fold([_row(scene, pair, columns, undone, alone) for pair in pairs])
    heads = ["action", "reference", "key", *columns, "committed at", "asked by"]
    if undone:
        heads.append("stands")
    return LedgerTable(
        tool=shown(scene.mask, tool),
        title=f"The ledger of {shown(scene.mask, tool)} at the end{against(scene)}",
        compared=not alone,
        words=_words(scene, tool, pairs, bool(set(mine) & set(others))) + telling_nothing,
        columns=tuple(shown(scene.mask, head) for head in heads),
        rows=tuple(rows),
        more=left,
        more_differing=differing,
    )


def _paired(marker: str, mine: Sequence[Effect], others: Sequence[Effect]) -> list[_Pair]:
    """The effects of one action side by side; what stands is compared with what stands."""
    out = []
    for stands in (True, False):
        left = [e for e in mine if e.stands is stands]
        right = [e for e in others if e.stands is stands]
        for n in range(max(len(left), len(right))):
            one = left[n] if n < len(left) else None
            two = right[n] if n < len(right) else None
            out.append(_Pair(marker, one, two))
    return out


def _place(pair: _Pair) -> tuple[int, int]:
    """In the order of the ledger; what is missing stands where it would have been."""
    if pair.mine is not None:
        return (pair.mine.commits[0].index, 0)
    assert pair.other is not None, "a pair has at least one effect"
    return (pair.other.commits[0].index, 1)


def _args(effect: Effect | None) -> Mapping[str, Any]:
    found = {} if effect is None else effect.commits[0].get("args")
    return found if isinstance(found, Mapping) else {}


def _hidden(scene: Scene, tool: str, pairs: Sequence[_Pair]) -> tuple[frozenset[str], str]:
    """The fields of a team's own rows that are no arguments, and a sentence on them: columns that
    hold the reference or the key, and those, such as a time, which differ in every row."""
    if scene.contract.tool(tool).effects is None:
        return frozenset(), ""
    effects = [e for pair in pairs for e in (pair.mine, pair.other) if e is not None]
    names = {name for effect in effects for name in _args(effect)}
    names -= set(scene.contract.tool(tool).identity_fields)
    own = {name for name in names if all(_is_own(effect, name) for effect in effects)}
    both = [pair for pair in pairs if pair.mine is not None and pair.other is not None]
    always = set(names - own) if len(both) > 1 else set()
    for pair in both:
        always &= set(_differing(pair))
    said = ""
    if always:
        listed = ", ".join(cell(scene, name) for name in sorted(always))
        said = f" Not compared, since it is another in every row: {listed}."
    return frozenset(own | always), said


def _is_own(effect: Effect, name: str) -> bool:
    """Whether a field holds nothing but the reference or the key of the effect."""
    value = _args(effect).get(name)
    return value is None or str(value) in (effect.ref, effect.commits[0].key)


def _columns(scene: Scene, tool: str, pairs: Sequence[_Pair]) -> list[str]:
    """The arguments worth a column: what identifies the action, amounts, and what differs."""
    found = dict.fromkeys(scene.contract.tool(tool).identity_fields)
    numbers: dict[str, None] = {}
    differing: dict[str, None] = {}
    for pair in pairs:
        for name, value in {**pair.other_args(), **pair.args()}.items():
            if type(value) is int:
                numbers[name] = None
        if pair.mine is not None and pair.other is not None:
            differing.update(dict.fromkeys(_differing(pair)))
    # Where the marker is the one identity field, a column of it would say everything twice.
    told = [n for n in found if any(_identity(pair, n) != pair.marker for pair in pairs)]
    return [*told, *(n for n in {**numbers, **differing} if n not in found)][:_COLUMNS_MAX]


def _identity(pair: _Pair, name: str) -> str:
    value = field_of(pair.other_args() if pair.mine is None else pair.args(), name)
    return value if isinstance(value, str) else canonical(value)


def _differing(pair: _Pair) -> list[str]:
    """The arguments that are not the same on both sides."""
    one, two = pair.args(), pair.other_args()
    if one == two:
        return []
    return [
        name
        for name in sorted({**one, **two})
        if name not in one or name not in two or canonical(one[name]) != canonical(two[name])
    ]


def _row(scene: Scene, pair: _Pair, columns: Sequence[str], undone: bool, alone: bool) -> LedgerRow:
    effect = pair.mine if pair.mine is not None else pair.other
    assert effect is not None, "a pair has at least one effect"
    state: State = "same"
    if not alone:
        if pair.mine is None:
            state = "missing"
        elif pair.other is None:
            state = "extra"
        elif _differing(pair) or _other_key(scene, pair):
            state = "changed"
    commit = effect.commits[0]
    facts = scene.facts if pair.mine is not None or scene.other is None else scene.other
    key = commit.key or "(none)"
    if pair.other is not None and _other_key(scene, pair):
        key = f"{key} (was {pair.other.commits[0].key or '(none)'})"
    cells = [cell(scene, x) for x in (effect.marker, effect.ref)]
    cells.append(shown(scene.mask, key))
    cells += [_value_cell(scene, pair, name, state) for name in columns]
    at = _LATE if commit.index in facts.late else seconds(commit.time_ns)
    by = cell(scene, "/".join(x for x in (_process(effect), effect.task) if x) or "nobody known")
    cells += [_NEVER, f"{by} in {scene.other_name}"] if state == "missing" else [at, by]
    if undone:
        cells.append("yes" if effect.undone_by is None else f"undone by #{effect.undone_by.index}")
    own = pair.mine is not None
    numbers = {op.index for op in effect.commits} | _of_call(effect)
    return LedgerRow(
        cells=tuple(cells),
        state=state,
        op=commit.index if own else None,
        proof=own and bool(numbers & set(scene.violation.witness)),
    )


def _other_key(scene: Scene, pair: _Pair) -> bool:
    """Whether the keys differ where they should not: in two executions of the same choices. A run
    without faults may well have other keys."""
    if scene.violation.check != "recovery.deterministic":
        return False
    if pair.mine is None or pair.other is None:
        return False
    return pair.mine.commits[0].key != pair.other.commits[0].key


def _of_call(effect: Effect) -> set[int]:
    return set() if effect.call is None else {effect.call.index}


def _process(effect: Effect) -> str:
    return effect.commits[0].process or ("" if effect.call is None else effect.call.process)


def _value_cell(scene: Scene, pair: _Pair, name: str, state: State) -> str:
    args = pair.other_args() if pair.mine is None else pair.args()
    value = cell(scene, field_of(args, name))
    if state == "changed":
        before = cell(scene, field_of(pair.other_args(), name))
        if before != value:
            return f"{value} (was {before})"
    return value


def _words(scene: Scene, tool: str, pairs: Sequence[_Pair], common: bool) -> str:
    if scene.violation.where == "control":
        return "It is so without any fault, so there is no better run to compare it with."
    if scene.other is None:
        return "The fault-free run's is not there, so nothing can be compared."
    if not pairs:
        return "Both are empty."
    extra = sum(pair.other is None for pair in pairs)
    missing = sum(pair.mine is None for pair in pairs)
    if extra and missing and not common:
        return (
            "No action is in both: its markers are made anew in each run, so which row belongs to "
            "which cannot be told."
        )
    both = [pair for pair in pairs if pair.mine is not None and pair.other is not None]
    changed = [pair for pair in both if _differing(pair)]
    # Where data of others may have got in, no text is mere wording.
    strict = scene.violation.check.startswith(("isolation.", "memory."))
    reworded = [pair for pair in changed if not strict and _only_words(scene, tool, pair)]
    counts = {
        "too many": extra,
        "missing": missing,
        "with other values": len(changed) - len(reworded),
        "worded otherwise": len(reworded),
        "under another key": sum(_other_key(scene, pair) for pair in both),
    }
    said = [f"{n} {'row' if n == 1 else 'rows'} {what}" for what, n in counts.items() if n]
    if said:
        return f"{', '.join(said)}."
    if scene.violation.check.startswith("outcome."):
        return "The same rows. What was done is right; what the agent says of it is not."
    return "The same rows. Nothing was done too often, and nothing was left out."


def _only_words(scene: Scene, tool: str, pair: _Pair) -> bool:
    """Whether two rows differ in texts alone that do not identify the action: a model that is
    asked again words those anew."""
    identity = {path.partition(".")[0] for path in scene.contract.tool(tool).identity_fields}
    return all(
        name not in identity
        and isinstance(pair.args().get(name), str)
        and isinstance(pair.other_args().get(name), str)
        for name in _differing(pair)
    )
