"""Reads workloads: those packaged with the lab, and a team's own from the file of its contract.

Both say their tasks in the same words; they differ in where the tools come from. Whatever cannot
be filled, called or recorded is refused here, since at run time it would look like the agent's
fault.

>>> find_workload("support").kinds["refund"].plan[0].name
'refund'
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias, cast, get_args

from chaoslab.contract import Contract, ToolContract
from chaoslab.contract.loader import tool_from
from chaoslab.core.errors import ScenarioError, UsageError, shown
from chaoslab.core.jsons import Json, plain
from chaoslab.core.resources import resource_path
from chaoslab.core.tables import Problems, Table, load_toml
from chaoslab.scenario.model import Reaction, Service, Step, TaskKind, Workload

FORMAT = 1
HOLE: Final = re.compile(r"\{([a-z_.]+)\}")
REACTIONS: Final = get_args(Reaction)
FINISHES: Final = ("stop", "tool-calls", "truncated", "refusal")
RETRIES_MOST: Final = 100
# What every task has, and what stands below it; see `chaoslab.world.cast`.
VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "order": (),
    "task": (),
    "session": (),
    "customer": ("name", "email", "street", "city", "phone"),
    "canary": (),
    "attr": ("iban",),
    "amount_cents": (),
    "mark": ("street", "city", "phone"),
}
# What the model itself puts into the arguments of its calls.
SPOKEN: Final = ("said", "words")
# What a team may not say otherwise: the lab recognises things by it.
_FIXED: Final = ("task", "session", "canary", "attr", "mark", *SPOKEN)
# Of what no two tasks have the same.
_TELLS_APART: Final = ("order", "task", "mark")


def load_workload(path: Path, /) -> Workload:
    """The workload in a file. ScenarioError names every problem of the file at once."""
    problems = Problems(str(path))
    top = Table(load_toml(path, ScenarioError), problems)
    top.format_is(FORMAT)
    tools = top.table("tools")
    services = {name: _service(name, tools.table(name)) for name in tools.raw}
    workload = _workload(top, top.text("name", path.stem), services, path.parent)
    top.close()
    problems.raise_if_any(ScenarioError)
    return workload


def find_workload(name: str, /) -> Workload:
    """A packaged workload by name."""
    return load_workload(resource_path(f"fixtures/workloads/{name}.toml"))


def team_workload(raw: Mapping[str, Any], file: str, contract: Contract, /) -> Workload:
    """A team's own tasks, from the table of its contract; `file` is named in messages, and paths
    are taken from where it lies. The tools are those of the contract.

    >>> task = {"prompt": "Refund {order}.", "plan": [{"tool": "refund", "args": {}}]}
    >>> contract = Contract(name="shop", tools={"refund": ToolContract(name="refund")})
    >>> team_workload({"tasks": {"refund": task}}, "chaoslab.toml", contract).name
    'shop'
    """
    problems = Problems(file)
    top = Table(raw, problems)
    services = {name: Service(contract=tool) for name, tool in contract.tools.items()}
    workload = _workload(top, contract.name, services, Path(file).parent)
    for kind in workload.kinds.values():
        heads = {path.partition(".")[0] for path in holes(kind.prompt)}
        if (kind.plan or kind.recording) and heads.isdisjoint({*_TELLS_APART, *kind.values}):
            allowed = ", ".join(f"{{{n}}}" for n in (*_TELLS_APART[:2], *kind.values))
            top.complain(
                f"tasks.{kind.name}.prompt",
                f"got {shown(kind.prompt)}, by which the model cannot tell one task from another; "
                f"allowed: a text with one of {allowed}, or a value of [tasks.{kind.name}.values]",
            )
    problems.raise_if_any(ScenarioError)
    return workload


def holes(template: Json, /) -> Iterator[str]:
    """The holes of a template, in order.

    >>> list(holes({"a": "{order} of {customer.name}", "b": ["{words}"]}))
    ['order', 'customer.name', 'words']
    """
    if isinstance(template, str):
        yield from HOLE.findall(template)
    elif isinstance(template, Mapping):
        for value in template.values():
            yield from holes(value)
    elif isinstance(template, (list, tuple)):
        for value in template:
            yield from holes(value)


def _workload(top: Table, name: str, services: Mapping[str, Service], folder: Path) -> Workload:
    tasks = top.table("tasks")
    pattern = top.text("error_pattern")
    try:
        re.compile(pattern)
    except re.error as error:
        top.complain(
            "error_pattern", f"got {shown(pattern)}: {error}; allowed: a regular expression"
        )
        pattern = ""
    kinds = {n: _kind(n, tasks.table(n), services, folder) for n in tasks.raw}
    if not kinds:
        top.complain("tasks", "is missing; allowed: at least one [tasks.NAME]")
    return Workload(name=name, services=services, kinds=kinds, error_pattern=pattern)


def _service(name: str, table: Table) -> Service:
    if table.boolean("network"):
        table.close()  # no service, so nothing else can be said of one
        return Service(contract=ToolContract(name=name), network=True)
    duration = table.integer("duration_ms", 0)
    wasm = table.text("wasm")
    return Service(contract=tool_from(name, table), duration_ms=duration, wasm=wasm)


def _kind(name: str, table: Table, services: Mapping[str, Service], folder: Path) -> TaskKind:
    values = _own_values(table.table("values"))
    known = _known(values)
    kind = TaskKind(
        name=name,
        prompt=table.text("prompt", must=True),
        data=_template(table, "data", known),
        plan=tuple(_step(part, known, n) for n, part in enumerate(table.tables("plan"))),
        answer=table.text("answer", "Done."),
        values=values,
        recording=_recording(table, folder),
    )
    for key, text in (("prompt", kind.prompt), ("answer", kind.answer)):
        _check_holes(table, key, text, known)
    for step in kind.plan:
        if step.tool and step.tool not in services:
            allowed = ", ".join(services) or "none, since no tool is declared"
            table.complain("", f"its plan calls an unknown tool {step.tool!r}; allowed: {allowed}")
    table.close()
    return kind


# -- values

# The names that holes may have, and what may stand after the point; None: anything.
_Known: TypeAlias = Mapping[str, tuple[str, ...] | None]


def _own_values(table: Table) -> dict[str, tuple[Json, ...]]:
    out: dict[str, tuple[Json, ...]] = {}
    for name in table.raw:
        value = table.get(name)
        if name in _FIXED or not re.fullmatch(r"[a-z_]+", name):
            fixed = ", ".join(_FIXED)
            table.complain(name, f"no such name; allowed: a to z and _, but none of {fixed}")
        elif not isinstance(value, list) or not value:
            table.complain(name, f"got {shown(value)}; allowed: a list with at least one value")
        else:
            out[name] = tuple(_json(table, name, value) or ("",))
    return out


def _known(values: Mapping[str, tuple[Json, ...]]) -> _Known:
    known: dict[str, tuple[str, ...] | None] = dict(VALUES)
    for name, options in values.items():
        parts = [set(o) if isinstance(o, Mapping) else set() for o in options]
        known[name] = tuple(sorted(set.intersection(*parts)))
    return known


def _check_holes(table: Table, key: str, template: Json, known: _Known) -> None:
    for path in dict.fromkeys(holes(template)):
        head, _, rest = path.partition(".")
        below = known.get(head, ())
        if head in SPOKEN and head not in known:
            table.complain(key, f"{{{path}}} is only known in the args of a plan")
        elif head not in known or (rest and below is not None and rest not in below):
            names = [
                f"{n}.{part}" if part else n for n, ps in known.items() for part in ps or ("",)
            ]
            table.complain(key, f"{{{path}}} is not known; allowed: {', '.join(names)}")


def _template(table: Table, key: str, known: _Known) -> dict[str, Json]:
    """A sub-table of templates."""
    found = _json(table, key, dict(table.table(key).raw)) or {}
    _check_holes(table, key, found, known)
    return cast(dict[str, Json], found)


def _json(table: Table, key: str, value: object) -> Any:
    """The value as JSON; TOML also has floats and times, which no history can hold."""
    try:
        return plain(value, where=key)
    except UsageError as error:
        table.complain(key, str(error))
        return None


# -- plans


def _step(table: Table, known: _Known, number: int) -> Step:
    step = Step(
        tool=table.text("tool", must="call" not in table.raw),
        args=_template(table, "args", {**known, "words": (), "said": None}),
        call=table.text("call"),
        parallel=table.boolean("parallel"),
        on_error=_on_error(table),
        retries_max=table.integer("retries_max", 3, most=RETRIES_MOST),
    )
    if step.parallel and number == 0:
        table.complain("parallel", "the first step has none before it that it could join")
    table.close()
    return step


def _on_error(table: Table) -> dict[str, Reaction]:
    value = table.get("on_error")
    if value is None:
        return {}
    given = {"default": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not given:
        table.complain(
            "on_error",
            f"got {shown(value)}; allowed: {', '.join(REACTIONS)}, or a table of these by the "
            "error's code or default",
        )
        return {}
    for code, reaction in given.items():
        if reaction not in REACTIONS:
            where = "on_error" if isinstance(value, str) else f"on_error.{code}"
            table.complain(where, f"got {shown(reaction)}; allowed: {', '.join(REACTIONS)}")
    return {c: cast(Reaction, r) for c, r in given.items() if r in REACTIONS}


# -- recordings


def _recording(table: Table, folder: Path) -> tuple[Mapping[str, Json], ...]:
    name = table.text("recording")
    if not name:
        return ()
    path = folder / name
    try:
        lines = path.read_bytes().decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        table.complain("recording", f"{path} cannot be read: {why}; allowed: a file of JSON lines")
        return ()
    found = [_line(table, n, text) for n, text in enumerate(lines, start=1) if text.strip()]
    if not found:
        table.complain("recording", f"{path} is empty; allowed: at least one JSON line")
    return tuple(line for line in found if line is not None)


def _line(table: Table, number: int, text: str) -> Mapping[str, Json] | None:
    where = f"recording line {number}"
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        table.complain(where, f"is not JSON: {error}")
        return None
    if not isinstance(raw, dict):
        table.complain(where, f"got {shown(raw)}; allowed: an object with messages and reply")
        return None
    line = Table(raw, table.problems, f"{table.path}.{where}")
    messages, reply = line.tables("messages"), line.table("reply")
    if not messages:
        line.complain("messages", "is missing; allowed: a list of at least one message")
    reply.text("text")
    reply.text("finish", among=FINISHES)
    for call in reply.tables("tool_calls"):
        call.text("name", must=True)
        call.table("args")
        call.close()
    reply.close()
    line.close()
    return cast(Mapping[str, Json] | None, _json(table, where, raw))
