"""Where an agent in a process of its own lives for one execution: addresses, environment, folder,
and what becomes of it when it ends by itself."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from chaoslab.backends.common.hub import Process
from chaoslab.backends.common.supervisor import Supervisor
from chaoslab.backends.process import done as endings
from chaoslab.backends.process.agent import CommandAgent
from chaoslab.backends.process.children import PROCESS, RUN, STATE, Child
from chaoslab.backends.process.holes import fill_all
from chaoslab.backends.process.hub import LiveHub
from chaoslab.backends.process.lab import LiveLab
from chaoslab.contract.target import Target
from chaoslab.core.errors import LabError
from chaoslab.core.resources import resource_path
from chaoslab.serve.holes import filled
from chaoslab.world.api import Task

# What a command needs to run at all. Everything else (credentials above all) stays outside,
# unless `pass_env` names it.
_ENV: Final = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SYSTEMROOT",
    "VIRTUAL_ENV",
)
_EXITS_MAX: Final = 6


class Setting:
    """See the module. It is also the source of agents: `create` makes one incarnation."""

    name = "command"

    def __init__(self, target: Target, hub: LiveHub, *, cwd: Path, state: Path) -> None:
        self.target, self.hub, self.cwd, self.state = target, hub, cwd, state
        self.address = ""
        self.services: dict[str, str] = {}  # ports of started services, by name
        self.accepted: dict[str, None] = {}
        self.tries: dict[str, int] = {}
        self.unended: dict[str, str] = {}  # by task, why it was not taken for ended at last
        self._started: dict[tuple[str, int], int] = {}
        self._exits = 0
        self.lab: LiveLab
        self.supervisor: Supervisor

    def create(self) -> CommandAgent:
        """A new incarnation."""
        return CommandAgent(self)

    def first_start(self, region: str, slot: int) -> bool:
        """Whether a slot is started for the first time; asked once per start."""
        count = self._started[(region, slot)] = self._started.get((region, slot), 0) + 1
        return count == 1

    def holes_of(self, process: str) -> dict[str, str]:
        """The addresses of the lab for one incarnation, and the names of the execution."""
        base = f"{self.address}/{self.hub.run}/{process}"
        holes = {
            "lab": base,
            "model": f"{base}/model/v1",
            "anthropic": f"{base}/model",
            "tools": f"{base}/tools",
            "mcp": f"{base}/mcp",
            "memory": f"{base}/memory",
            "queue": f"{base}/queue",
            "state": str(self.state),
            "run": self.hub.run,
            "token": self.hub.run,
            "seed": str(self.hub.spec.seed),
            "process": process,
        }
        for name, upstream in self.lab.contract.services.items():
            kind = "mcp-services" if upstream.mcp or upstream.mcp_command else "services"
            holes[f"services.{name}"] = f"{base}/{kind}/{name}"
        return holes

    def env_of(self, process: str, holes: Mapping[str, str]) -> dict[str, str]:
        """The environment of one incarnation."""
        env = self.plain_env()
        paths = [str(resource_path("fixtures/shim"))]
        if self.target.ready == "ports":  # the lab's own runner needs the lab's own package
            paths.append(str(Path(__file__).resolve().parents[3]))
        env |= {
            PROCESS: process,
            "CHAOSLAB_URL": holes["lab"],
            "OPENAI_BASE_URL": holes["model"],
            "OPENAI_API_KEY": self.hub.run,
            "ANTHROPIC_BASE_URL": holes["anthropic"],
            "ANTHROPIC_API_KEY": self.hub.run,
            "NO_PROXY": "127.0.0.1,localhost",
        }
        env |= {name: filled(text, holes) for name, text in self.target.env.items()}
        env["PYTHONPATH"] = os.pathsep.join([*filter(None, [env.get("PYTHONPATH", "")]), *paths])
        return env

    def plain_env(self) -> dict[str, str]:
        """What every command gets."""
        names = (*_ENV, *self.target.pass_env)
        env = {name: os.environ[name] for name in names if name in os.environ}
        return env | {RUN: self.hub.run, STATE: str(self.state)}

    def exited(self, process: Process, child: Child, how: str) -> None:
        """A process ended by itself: it is dead, and whatever it left behind with it."""
        self._exits += 1
        words = child.last_words()
        self.lab.note(f"{process.id} ended by itself with {how}" + (f": {words}" if words else ""))
        if self._exits > _EXITS_MAX:
            said = words or "it said nothing"
            self.hub.broke.append(f"the agent ends again and again by itself, with {how}: {said}")
        self.hub.kill(process, f"ended by itself with {how}")

    async def leaked(self, task: Task, holes: Mapping[str, str]) -> bool:
        """Whether a task has ended before it was handed out for the first time."""
        if self.target.done.how == "reply" or task.delivery > 1:
            return False
        if await endings.ask(task.id, self.target, holes, self.cwd, {}) is None:
            return False
        self.hub.broke.append(
            f"state of an earlier execution is still there: {task.id} had ended before it was "
            "handed out; next: let [agent] keep its state below {state}, or name a `reset` command"
        )
        return True

    async def json_of(
        self, argv: Sequence[str], holes: Mapping[str, str], env: Mapping[str, str]
    ) -> Any:
        """What a command prints, as JSON. LabError where it fails or prints something else."""
        child = await self.command(argv, holes, env, "inspect")
        try:
            return json.loads(bytes(child.out))
        except ValueError as error:
            raise LabError(
                f"the inspect command did not print JSON: {error}", value=list(argv)
            ) from None

    async def command(
        self, argv: Sequence[str], holes: Mapping[str, str], env: Mapping[str, str], what: str
    ) -> Child:
        """Runs a command of the contract to its end. LabError where it fails."""
        child = await Child.start(fill_all(argv, holes), env, self.cwd)
        try:
            code = await asyncio.wait_for(child.wait(), self.target.timeout_ms / 1000)
            await child.drained()
        except TimeoutError:
            code = None
        finally:
            child.close()
        if code != 0:
            how = "did not end in time" if code is None else f"ended with exit code {code}"
            raise LabError(
                f"the {what} command {how}: {child.last_words() or 'it said nothing'}",
                value=list(argv),
                hint="run it by hand",
            )
        return child
