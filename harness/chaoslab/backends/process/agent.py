"""The agent under test as the supervisor sees it: a command that is started, given tasks, asked
how they ended, and stopped.

Nothing here tries anything again on the agent's behalf. What a dead process was doing is handed
out again by the supervisor, or, where the contract says that the agent resumes by itself, only
watched.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from chaoslab.backends.common.hub import Process
from chaoslab.backends.process import done as endings
from chaoslab.backends.process.children import Child, signal_strays
from chaoslab.backends.process.holes import fill_all, fill_json, free_port, of_task
from chaoslab.backends.process.http import reachable, request
from chaoslab.core.errors import AgentBroke
from chaoslab.serve.api import task_json
from chaoslab.serve.holes import filled
from chaoslab.world.api import Outcome, Task, World

if TYPE_CHECKING:
    from chaoslab.backends.process.setting import Setting

_POLL_S: Final = 0.03
_TRIES_MAX: Final = 5


class CommandAgent:
    """One incarnation: a process group started from the slot's command."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._target = setting.target
        self.queue: asyncio.Queue[Task | str] = asyncio.Queue()
        self.waiting: dict[str, asyncio.Future[Outcome]] = {}
        self.said_ready: asyncio.Future[Sequence[str]] = asyncio.Future()
        self._child: Child | None = None
        self._stopping = False
        self.restarted = False
        self.holes: dict[str, str] = {}
        self.env: dict[str, str] = {}

    # -- life

    async def start(self, world: World, /) -> None:
        """Starts the command and waits until it is ready. AgentBroke where it does not get so."""
        setting, target = self._setting, self._target
        process = setting.lab.process(world.process)
        assert process is not None
        self.process = process
        setting.lab.agents[process.id] = self
        self.holes = setting.holes_of(process.id) | {"port": str(free_port())}
        self.env = setting.env_of(process.id, self.holes)
        index = process.slot % max(1, len(target.commands))
        process.takes_tasks = index == 0 or target.submit.how == "queue"
        if not target.commands:
            return  # only `submit = { run = … }` starts anything
        self.restarted = not setting.first_start(process.region, process.slot)
        commands = target.restart if target.restart and self.restarted else target.commands
        line = self._on_line if target.submit.how == "stdin" else None
        self._child = await self._spawn(commands[index], stdin=line is not None, on_line=line)
        setting.hub.live.create_task(self._watch(self._child, process))
        await self._until_ready(self._child)

    async def _spawn(self, argv: Sequence[str], **options: Any) -> Child:
        child = await Child.start(
            fill_all(argv, self.holes), self.env, self._setting.cwd, **options
        )
        self._setting.hub.children.setdefault(self.process.id, []).append(child)
        return child

    async def _until_ready(self, child: Child) -> None:
        target, until = self._target, asyncio.get_running_loop().time()
        until += target.ready_ms / 1000
        while child.running:
            if target.ready == "ports":
                if self.said_ready.done():
                    return
            elif not target.ready:
                if target.submit.how != "post" or not self.process.takes_tasks:
                    return
                if await reachable(filled(target.submit.url, self.holes)):
                    return
            elif not self.process.takes_tasks or await reachable(
                filled(target.ready, self.holes), http=True
            ):
                return
            if asyncio.get_running_loop().time() > until:
                raise AgentBroke(
                    f"the agent was not ready within {target.ready_ms} ms; it said: "
                    f"{child.last_words() or 'nothing'}",
                    hint="see `ready` and `ready_ms` in [agent]",
                )
            await asyncio.sleep(_POLL_S)
        await child.drained()
        raise AgentBroke(
            f"the agent's command ended before it was ready, with {_code(child)}; it said: "
            f"{child.last_words() or 'nothing'}",
            hint="start the command by hand",
        )

    async def _watch(self, child: Child, process: Process) -> None:
        """A process that ends by itself is a death like any other."""
        await child.wait()
        if process.alive and process.ready and not self._stopping:
            await child.drained()
            self._setting.exited(process, child, _code(child))

    def started(self, recovers: Sequence[str], offers: Sequence[str]) -> None:
        """The lab's own runner says that its agent has started, and what it offers."""
        if "release" in offers:
            # Only now it is `Releasable`: an operator cannot release what knows no release.
            self.release = self._release
        if not self.said_ready.done():
            self.said_ready.set_result(recovers)

    async def _release(self, session: str, /) -> None:
        self.queue.put_nowait(session)

    async def recover(self) -> list[str]:
        """The tasks that a restarted agent finishes by itself: those that it had accepted."""
        if self._target.ready == "ports":
            return list(self.said_ready.result())
        named = []
        for name in self._setting.accepted:
            work = self._setting.supervisor.work[name]
            if work.outcome is None:
                named.append(name)
                if self._target.done.how != "reply":
                    self._setting.hub.live.create_task(self._watch_task(work.task))
        return named

    async def _watch_task(self, task: Task) -> None:
        outcome = await self._ended(task)
        if self.process.alive:
            self._setting.supervisor.reported(self.process, outcome)

    async def stop(self) -> None:
        """SIGTERM, a grace, SIGKILL."""
        self._stopping = True
        children = self._setting.hub.children.get(self.process.id, [])
        for child in children:
            child.signal(signal.SIGTERM)
        signal_strays(self._setting.hub.run, self.process.id, signal.SIGTERM)
        running = [asyncio.ensure_future(child.wait()) for child in children]
        if running:
            _, late = await asyncio.wait(running, timeout=self._target.stop_grace_ms / 1000)
            if late:
                self._setting.lab.note(
                    f"{self.process.id} did not end within {self._target.stop_grace_ms} ms of "
                    "SIGTERM and was killed"
                )
        for child in children:
            child.close()

    # -- tasks

    async def handle(self, task: Task, /) -> Outcome:
        """Hands a task to the process and waits for its end."""
        how = self._target.submit.how
        holes = self.holes | of_task(task)
        if await self._setting.leaked(task, holes):
            raise AgentBroke("state of an earlier execution is still there")
        if how == "run":
            return await self._run_once(task, holes)
        if how == "post":
            reply = await self._post(task, holes)
        else:
            reply = await self._wait_for_reply(task)
        if how != "queue":
            self.took(task)
        return reply if self._target.done.how == "reply" else await self._ended(task)

    def took(self, task: Task, /) -> None:
        """The agent has the task. What only waits in the queue it does not know, and after a kill
        it is handed out again, whoever resumes."""
        self._setting.accepted[task.id] = None

    async def _wait_for_reply(self, task: Task) -> Outcome:
        """By queue or standard input: the reply comes when it comes, where it is waited for."""
        target, reply = self._target, asyncio.get_running_loop().create_future()
        self.waiting[task.id] = reply
        if target.submit.how == "queue":
            self.queue.put_nowait(task)
        elif self._child is not None:
            self._child.send(json.dumps(task_json(task)).encode() + b"\n")
        if target.done.how != "reply":
            return Outcome(task=task.id, status="completed")
        try:
            outcome: Outcome = await reply
            return outcome
        finally:
            self.waiting.pop(task.id, None)

    def _on_line(self, line: bytes) -> None:
        """A line on the agent's standard output: an outcome, or anything else, which is passed
        over."""
        try:
            raw = json.loads(line)
        except ValueError:
            return
        if isinstance(raw, dict) and isinstance(raw.get("task"), str):
            self._setting.lab.outcome(
                self.process.id, endings.outcome_from(raw["task"], raw, self._target.done)
            )

    async def _post(self, task: Task, holes: dict[str, str]) -> Outcome:
        submit = self._target.submit
        body = task_json(task) if submit.body is None else fill_json(submit.body, holes)
        headers = {k: filled(v, holes) for k, v in submit.headers.items()}
        answer = await request(
            "POST",
            filled(submit.url, holes),
            body=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "X-Chaoslab-Task": task.id, **headers},
            timeout_s=self._target.timeout_ms / 1000,
        )
        return endings.outcome_of_answer(task.id, answer, self._target.done)

    async def _run_once(self, task: Task, holes: dict[str, str]) -> Outcome:
        """The agent is a command of its own for each task."""
        target = self._target
        argv = target.resume if target.resume and task.delivery > 1 else target.submit.argv
        env = self.env | {"CHAOSLAB_TASK": task.id, "CHAOSLAB_SESSION": task.session}
        child = await Child.start(fill_all(argv, holes), env, self._setting.cwd)
        self._setting.hub.children.setdefault(self.process.id, []).append(child)
        code = await child.wait()
        await child.drained()
        child.close()
        if target.done.how != "reply" and code == 0:
            return await self._ended(task)
        tries = self._setting.tries[task.id] = self._setting.tries.get(task.id, 0) + (code != 0)
        if code and tries < _TRIES_MAX:
            raise RuntimeError(f"the command ended with {_code(child)}: {child.last_words()}")
        return endings.outcome_of_exit(task.id, code, bytes(child.out), child.last_words())

    async def _ended(self, task: Task) -> Outcome:
        """Asks, by query or by address, until the task has ended."""
        holes = self.holes | of_task(task)
        while True:
            found = await endings.ask(
                task.id, self._target, holes, self._setting.cwd, self._setting.unended
            )
            if found is not None:
                return found
            await asyncio.sleep(_POLL_S)

    async def inspect(self) -> Any:
        """What the inspect command prints; None where there is none."""
        if not self._target.inspect:
            return None
        return await self._setting.json_of(self._target.inspect, self.holes, self.env)


def _code(child: Child) -> str:
    code = child.process.returncode
    if code is None:
        return "no exit code"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
