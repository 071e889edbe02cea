"""Makes the recordings that `[tasks.NAME]` names: one execution without faults, in which a real
provider answers the agent, and each answer is kept.

The tasks run one after the other in one process group, so that a request which names no task still
has only one that it can belong to. The execution is not judged and its history is not kept. It runs
in this process, since the provider's key must not travel to another. Files appear at the end, or
not at all.

>>> quotes("Refund A-1.", [{"role": "user", "content": "Today: refund it.  Refund  A-1."}])
True
>>> quotes("Refund A-1.", [{"role": "system", "content": "Refund A-1."}])
False
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from chaoslab.backends.api import Answering, ExecutionEnd, ExecutionSpec
from chaoslab.backends.live import run_live
from chaoslab.contract.loader import raw_contract
from chaoslab.core.errors import ContractError, LabError, UsageError
from chaoslab.core.jsons import Json, canonical, digest
from chaoslab.core.resources import resource_path
from chaoslab.history import Nowhere
from chaoslab.run.plan import calm
from chaoslab.run.team import Team, is_team_file, load_team, over_tasks
from chaoslab.scenario import load_scenario
from chaoslab.world.api import ModelReply
from chaoslab.world.cast import Script, cast_of
from chaoslab.world.recording import Recording, append
from chaoslab.world.transcript import text_of

_SCENARIO: Final = "scenarios/matrix/timeout-after-commit.toml"
_FOLDER: Final = "recordings"
# A real model takes its time; a task of the lab's own takes none.
_TIMEOUT_MS: Final = 600_000
# An agent that asks without end spends somebody's money.
_REQUESTS_MAX: Final = 60
# Stands for a recording until there is one, so that the file can be read and held to every rule.
_PLACEHOLDER: Final[Json] = {"messages": [{"role": "user", "content": "?"}], "reply": {}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A recording that was written; `line` is what to add to `[tasks.KIND]`, "" where it stands
    there already."""

    kind: str
    path: Path
    answers: int
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What came of it; `notes` are for a person."""

    made: tuple[Made, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the recording of a kind goes, and where it lies until then; `line` as in Made."""

    path: Path
    scratch: Path
    line: str


def record(agent: str, answering: Answering, /, *, tasks: int = 1, force: bool = False) -> Recorded:
    """Records `tasks` tasks of each kind of a team's file, with the answers that `answering`
    gives. UsageError before anything runs; LabError where it did not get through."""
    raw = _table(agent)
    with tempfile.TemporaryDirectory(prefix="chaoslab-") as name:
        places = _places(raw, Path(agent).parent, Path(name))
        _check(places, force=force)
        spec = _spec(_team(agent, raw, places), agent, tasks)
        tape = _Tape(answering, _kinds(spec), {k: p.scratch for k, p in places.items()})
        end = run_live(spec, Nowhere(), answering=tape)
        if end.broke:
            raise LabError(f"nothing was recorded: {end.broke}")
        notes = (*end.notes, *tape.close(), *_unfinished(end))
        kept = {kind: place for kind, place in places.items() if tape.answers[kind]}
        _write({place.path: place.scratch.read_bytes() for place in kept.values()})
    return Recorded(
        made=tuple(
            Made(kind=kind, path=place.path, answers=tape.answers[kind], line=place.line)
            for kind, place in kept.items()
        ),
        notes=notes,
    )


def quotes(prompt: str, messages: Sequence[Mapping[str, Any]], /) -> bool:
    """Whether a user message contains a prompt; by that the lab's model finds the task later."""
    said = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
    return any(" ".join(prompt.split()) in " ".join(text.split()) for text in said)


class _Tape:
    """Hands requests on and keeps the answers, as a file of JSON lines for each kind of task.

    The same transcript gets the same answer for good: a recording has one for each, and an agent
    that did not wait for the first must not pay for a second.
    """

    def __init__(
        self,
        answering: Answering,
        scripts: Mapping[str, tuple[str, Script]],
        files: Mapping[str, Path],
    ) -> None:
        self._answering, self._scripts, self._files = answering, scripts, files
        self._asked: dict[str, asyncio.Task[ModelReply]] = {}
        self._taken: dict[str, list[Sequence[Mapping[str, Json]]]] = {}
        self._unquoted: dict[str, int] = {}
        self.answers = dict.fromkeys(files, 0)
        for path in files.values():
            path.write_bytes(b"")

    async def __call__(
        self, task: str, messages: Sequence[Mapping[str, Json]], tools: Sequence[str]
    ) -> ModelReply:
        name = digest([task, [dict(m) for m in messages], list(tools)])
        if name not in self._asked:
            if len(self._asked) >= _REQUESTS_MAX * len(self._scripts):
                raise LabError(
                    f"the agent asks its model without end: more than {_REQUESTS_MAX} times "
                    "for a task"
                )
            asked = asyncio.create_task(self._ask(task, messages, tools))
            # Whoever asked may have hung up; then nobody else takes an error.
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._asked[name] = asked
        return await asyncio.shield(self._asked[name])

    async def _ask(
        self, task: str, messages: Sequence[Mapping[str, Json]], tools: Sequence[str]
    ) -> ModelReply:
        reply = await self._answering(task, messages, tools)
        kind, script = self._scripts.get(task, ("", None))
        if script is None or not quotes(script.prompt, messages):
            self._unquoted[kind] = self._unquoted.get(kind, 0) + 1
            return reply
        append(self._files[kind], messages, reply, script.values)
        self.answers[kind] += 1
        self._taken.setdefault(task, []).append(messages)
        return reply

    def close(self) -> list[str]:
        """Notes about what was kept. LabError where nothing of a kind could be."""
        hint = "write `prompt` as the agent words it, then record again"
        for kind, answers in self.answers.items():
            if not answers and kind in self._unquoted:
                raise LabError(
                    f"nothing was recorded: no request for [tasks.{kind}] contains its prompt, by "
                    "which the lab's model would find it again",
                    hint=hint,
                )
        if not any(self.answers.values()):
            raise LabError(
                "nothing was recorded: the agent asked its model nothing",
                hint="its model must be at {model}, see OPENAI_BASE_URL",
            )
        notes = [f"[tasks.{k}] asked the model nothing" for k, n in self.answers.items() if not n]
        left = sum(self._unquoted.values())
        if left:
            notes.append(f"{left} requests contain no prompt of a task and were not kept; {hint}")
        return [*notes, *self._departed()]

    def _departed(self) -> Iterator[str]:
        """Where the recording does not say again what it was made from."""
        for task, transcripts in self._taken.items():
            kind, script = self._scripts[task]
            lines = _lines(self._files[kind])
            recording = Recording(lines, script.prompt, script.values)
            for messages in transcripts:
                found = recording.lookup(messages)
                if not isinstance(found, ModelReply):
                    yield f"{task} would not follow its own recording: {found.why}"
                    break


def _lines(path: Path) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _table(agent: str) -> Mapping[str, Any]:
    if not is_team_file(agent):
        raise UsageError(
            "only an agent in a process of its own can be recorded",
            value=agent,
            allowed="a .toml file with [agent]",
            hint="chaoslab init --command '…'",
        )
    raw = raw_contract(Path(agent))
    if raw is None:
        raise ContractError(f"{agent} has no [tool.chaoslab]", hint="write one there")
    return raw


def _tasks(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tables of tasks; what is none is complained about when the file is read."""
    tasks = raw.get("tasks")
    return tasks if isinstance(tasks, Mapping) else {}


def _places(raw: Mapping[str, Any], folder: Path, scratch: Path) -> dict[str, _Place]:
    out = {}
    for number, (kind, table) in enumerate(_tasks(raw).items()):
        named = table.get("recording") if isinstance(table, Mapping) else None
        given = named if isinstance(named, str) and named else ""
        name = given or f"{_FOLDER}/{kind}.jsonl"
        out[kind] = _Place(
            path=folder / name,
            scratch=scratch / f"{number}.jsonl",
            line="" if given else f"recording = {canonical(name)}",
        )
    return out


def _check(places: Mapping[str, _Place], *, force: bool) -> None:
    """UsageError where a file would be written over, by an earlier recording's or twice."""
    paths = [place.path for place in places.values()]
    there = [str(path) for path in paths if path.exists()]
    if there and not force:
        raise UsageError(
            f"{' and '.join(there)} is there already, and nothing was recorded",
            hint="--force writes over it",
        )
    twice = [str(path) for path in paths if paths.count(path) > 1]
    if twice:
        raise UsageError(
            "two kinds of task name the same recording", value=twice[0], hint="give each its own"
        )


def _team(agent: str, raw: Mapping[str, Any], places: Mapping[str, _Place]) -> Team:
    """The team's file, as if its recordings were there already."""
    tasks = dict(_tasks(raw))
    for kind, place in places.items():
        place.scratch.write_text(canonical(_PLACEHOLDER) + "\n", encoding="utf-8")
        if isinstance(tasks[kind], Mapping):
            tasks[kind] = {**tasks[kind], "recording": str(place.scratch)}
    return load_team(agent, {**raw, "tasks": tasks} if tasks else raw)


def _spec(team: Team, agent: str, tasks: int) -> ExecutionSpec:
    scenario = over_tasks(load_scenario(resource_path(_SCENARIO)), team)
    count = tasks * len(team.workload.kinds)
    use = replace(
        scenario.workload, sessions=1, tasks=count, mix=(), concurrent=False, deliveries=1
    )
    target = replace(team.target, timeout_ms=max(team.target.timeout_ms, _TIMEOUT_MS))
    return ExecutionSpec(
        scenario=calm(replace(scenario, workload=use)),
        workload=team.workload,
        contract=team.contract,
        agent=agent,
        seed=0,
        target=target,
    )


def _kinds(spec: ExecutionSpec) -> dict[str, tuple[str, Script]]:
    """The kind and the script of each task, by the task's id."""
    kinds = list(spec.workload.kinds)
    scripts = cast_of(spec.scenario, spec.workload, spec.seed).scripts
    return {one.task: (kinds[n % len(kinds)], one) for n, one in enumerate(scripts)}


def _unfinished(end: ExecutionEnd) -> list[str]:
    """The tasks that did not end well: what was recorded of them is what a model said then."""
    told = [op for op in end.ops if op.f == "task.outcome" and op.get("status") != "completed"]
    return [
        f"{op.task} ended as {op.get('status')}; look whether that is worth keeping" for op in told
    ]


def _write(files: Mapping[Path, bytes]) -> None:
    """Writes every file beside its place first, then puts all of them there."""
    ready: dict[Path, Path] = {}
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            ready[Path(name)] = path
            with os.fdopen(handle, "wb") as file:
                file.write(content)
        for new, path in ready.items():
            new.chmod(0o644)
            new.replace(path)
    except OSError as error:
        raise LabError(f"a recording cannot be written: {error}") from None
    finally:
        for new in ready:
            with suppress(OSError):
                new.unlink()
