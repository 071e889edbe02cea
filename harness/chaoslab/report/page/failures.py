"""Everything that one failure's card on the page says: one bug, one card.

It is written for whoever is on call at three in the morning and has never seen this agent: what
broke, how we know it (the ledger), what led to it (each try), who is affected, how to see it again,
how to look for it in production, and what to change. All of it is read from the campaign's files,
so a report can be made again, on another machine, from what is left of them.

>>> replay_command("reports/latest", "matrix-timeout--my agent--s0")
"chaoslab replay 'reports/latest/matrix-timeout--my agent--s0'"
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chaoslab.check.because import story
from chaoslab.check.drawing import draw
from chaoslab.check.facts import OpKey
from chaoslab.check.graph import lineage
from chaoslab.check.texts import advice
from chaoslab.core.visible import visible
from chaoslab.report.page.ledgers import LedgerRow, LedgerTable, ledger_of
from chaoslab.report.page.material import Material, RunFiles
from chaoslab.report.page.production import Hint, hints_of
from chaoslab.report.page.scene import Joined, Scene, scene_of
from chaoslab.report.page.shown import shown
from chaoslab.report.page.tries import TryRow, requests_for, tries_of, tries_words

FAILURES_MAX: Final = 60
FOCUS_MAX: Final = 400
_NAMED_MAX: Final = 6
_LIVES: Final = ("process.kill", "process.start", "process.pause", "process.resume")
_NAMES: Final = re.compile(r"[\w.:/-]*\w")
_LAST: Final = ("expected", "planted")

__all__ = [
    "FAILURES_MAX",
    "Failure",
    "Hint",
    "LedgerRow",
    "LedgerTable",
    "TryRow",
    "failures_of",
    "replay_command",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One bug with what shows it. Where the files of its example are gone, `run` is None or not
    present, `trouble` says so, and only what results.json holds is left."""

    bug: Mapping[str, Any]
    run: RunFiles | None = None
    ledger: LedgerTable | None = None
    tries: tuple[TryRow, ...] = ()
    tries_words: str = ""
    affected: tuple[str, ...] = ()
    todo: str = ""
    scenario_text: str = ""
    replay: str = ""
    production: tuple[Hint, ...] = ()
    lineage: Mapping[str, Any] = field(default_factory=dict)
    focus: tuple[int, ...] = ()
    trouble: str = ""


def failures_of(
    material: Material, /, *, most: int = FAILURES_MAX, folder: str | None = None
) -> list[Failure]:
    """The failures of a campaign in the order of its bugs, expected ones last.

    `folder` is the campaign's as a person would type it; without it, it is told from where the
    command runs.
    """
    bugs: list[Mapping[str, Any]] = list(material.results.get("bugs") or ())
    bugs.sort(key=lambda bug: bug.get("state") in _LAST)
    bugs = bugs[:most]
    typed = folder if folder is not None else _typed(material.folder)
    # Bugs of one run are told one after the other, so that its histories are joined once.
    order = sorted(range(len(bugs)), key=lambda n: (str(bugs[n]["example"]), str(bugs[n]["where"])))
    joined, found = Joined(), {}
    for n in order:
        found[n] = _failure(material, joined, bugs[n], typed)
    return [found[n] for n in range(len(bugs))]


def _failure(material: Material, joined: Joined, bug: Mapping[str, Any], typed: str) -> Failure:
    todo = bug.get("todo") or advice(
        str(bug["check"]), str(bug["code"]), str(bug.get("anomaly") or "")
    )
    replay = replay_command(typed, str(bug["example"]))
    try:
        run = material.run(str(bug["example"]))
    except KeyError:
        gone = "the run that shows it is not in these results"
        return Failure(bug=bug, todo=str(todo), replay=replay, trouble=gone)
    scene = scene_of(joined, run, bug)
    told: dict[str, Any] = {
        "bug": bug,
        "run": run,
        "todo": str(todo),
        "replay": replay,
        "scenario_text": visible(run.mask.text(run.scenario_text), lines=True),
    }
    if scene is None:
        why = visible(run.trouble) or f"its history {bug['where']}.jsonl is not there"
        return Failure(**told, trouble=why)
    return Failure(
        **told,
        ledger=ledger_of(scene),
        tries=tries_of(scene),
        tries_words=tries_words(scene),
        affected=_affected(scene),
        production=hints_of(scene),
        lineage=lineage_of(scene),
        focus=focus_of(scene),
    )


# -- the command


def replay_command(folder: str, run: str, /) -> str:
    """The command that shows a run again, fit for a shell."""
    return f"chaoslab replay {shlex.quote(f'{folder}/{run}')}"


def _typed(folder: Path) -> str:
    """A folder as a person would type it: from the working folder on, where it lies in there."""
    try:
        return str(folder.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(folder)


# -- who is affected


def _affected(scene: Scene) -> tuple[str, ...]:
    """The tasks, sessions and customers that the breach is about, of how many in the run."""
    facts = scene.facts
    own = dict.fromkeys(op.task for op in scene.witness if op.task)
    for key in scene.actions:
        own.update(dict.fromkeys(sorted(facts.tasks_of(key))))
    # A task that was never handed out has no entry that could be in the witness.
    tasks = {**(scene.other.tasks if scene.other is not None else {}), **facts.tasks}
    if not scene.violation.tool:
        named = _NAMES.findall(scene.violation.explanation)
        own.update(dict.fromkeys(name for name in named if name in tasks))
    sessions = dict.fromkeys(op.session for op in scene.witness if op.session)
    tenants: dict[str, None] = {}
    for name in own:
        task = tasks.get(name)
        if task is None:
            continue
        if task.session:
            sessions[task.session] = None
        for submit in task.submits:
            if submit.get("tenant"):
                tenants[str(submit.get("tenant"))] = None
    known = {t.session for t in tasks.values() if t.session}
    rows = (
        ("task", list(own), len(tasks)),
        ("session", list(sessions), len(known | set(sessions))),
        ("customer", list(tenants), 0),
        ("action", [f"{tool} {marker}" for tool, marker in scene.actions], 0),
    )
    return tuple(_named(scene, noun, names, of) for noun, names, of in rows if names)


def _named(scene: Scene, noun: str, names: list[str], of: int) -> str:
    shown_names = ", ".join(shown(scene.mask, name) for name in names[:_NAMED_MAX])
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    count = f"{len(names)} of {of} {noun}s" if of else f"{len(names)} {noun}"
    plural = "" if of or len(names) == 1 else "s"
    return f"{count}{plural}: {shown_names}{more}"


# -- for the drawings


def focus_of(scene: Scene, /) -> tuple[int, ...]:
    """The entries that tell the story: those of the because-chain, everything that was asked for
    and done for the action, and which processes died or started meanwhile."""
    view, facts = scene.view, scene.facts
    first = [op.index for op in scene.witness]
    told = {*first, *story(view, scene.violation)}
    asked = requests_for(facts, scene.actions)
    numbers = {op.index for op in asked}
    for op in asked:
        told.add(op.index)
        answer = view.completion(op.index)
        if answer is not None:
            told.add(answer.index)
        told.update(commit.index for commit in facts.commits_of(op))
    told.update(op.index for op in view.named("nemesis.strike") if op.call in numbers)
    for key in scene.actions:
        entry = facts.operations.get(key)
        if entry is not None:
            told.update(op.index for op in (*entry.commits, *entry.absorbed, *entry.intents))
    if told:
        processes = {view[i].process for i in told} - {""}
        low, high = min(told), max(told)
        lives = [op for f in _LIVES for op in view.named(f) if low <= op.index <= high]
        told.update(op.index for op in lives if op.process in processes)
    rest = sorted(told - set(first))
    return tuple(sorted([*first, *rest][:FOCUS_MAX]))


def lineage_of(scene: Scene, /) -> dict[str, Any]:
    """The lineage graph of the actions in question, and of what compensates them."""
    if not scene.violation.tool or not scene.actions:
        return {"format": 1, "nodes": [], "edges": [], "anomalies": []}
    graph = lineage(scene.facts, scene.contract)
    keys = [key for key in _with_compensations(scene) if key in graph.threads]
    nodes, edges = draw([graph.threads[key] for key in keys])
    wanted = set(keys)
    anomalies = [a.to_json() for a in graph.anomalies if (a.tool, a.marker) in wanted]
    whole: dict[str, Any] = {"format": 1, "nodes": nodes, "edges": edges, "anomalies": anomalies}
    masked: Any = scene.mask.json(whole)
    return dict(masked)


def _with_compensations(scene: Scene) -> list[OpKey]:
    facts = scene.facts
    found = dict.fromkeys(scene.actions)
    refs = {effect.ref for key in scene.actions for effect in facts.effects_for(key)}
    for key in scene.actions:
        for effect in facts.effects_for(key):
            if effect.undone_by is not None:
                found[effect.undone_by.f[6:], effect.undone_by.marker] = None
    for key, effects in facts.effects.items():
        if any(effect.undoes in refs for effect in effects if effect.undoes):
            found[key] = None
    return list(found)
