"""The agent under test as commands, and the services around it: what `[agent]`, `[services.*]` and
`effects = {…}` of a contract say.

Texts may have holes that the lab fills for each process that it starts: `{model}`, `{anthropic}`,
`{tools}`, `{mcp}`, `{memory}`, `{queue}` and `{services.NAME}` are addresses of the lab, `{port}` a
free port, `{state}` an empty folder that outlives a restart but not the execution, `{run}` the
name of the execution, `{seed}`, `{process}`; in what belongs to one task also `{task}`,
`{session}`, `{tenant}`, `{prompt}` and `{data}` (JSON).

>>> Target(commands=(("python", "agent.py"),)).submit.how
'queue'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from chaoslab.contract.stores import SQLITE, StoreAt
from chaoslab.core.jsons import Json

SubmitHow = Literal["post", "stdin", "queue", "run"]
DoneHow = Literal["reply", "sql", "poll"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """How a task reaches the agent.

    `post`: an HTTP POST to `url`, of `body` with its holes filled, or of the whole task as JSON.
    `stdin`: one JSON line to the first command. `queue`: the agent fetches it from the lab's
    queue. `run`: `argv` is started for each task, which ends with it.
    """

    how: SubmitHow = "queue"
    url: str = ""
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How the lab learns that a task has ended.

    `reply`: by the answer to the submission (HTTP reply, line on standard output, exit code, or
    what is put into the queue). `sql`: the query returns a row; a column `status` or `state`
    says how it ended. `poll`: a GET of `url` answers 200, and the `field` of its JSON (a dotted
    path) is one of `completed` or `failed`.
    """

    how: DoneHow = "reply"
    sql: str = ""
    url: str = ""
    field: str = "status"
    completed: tuple[str, ...] = ("completed", "done", "succeeded", "success")
    failed: tuple[str, ...] = ("failed", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The agent as one or several commands, each a process group of its own.

    The first command gets the tasks. `ready` is a URL that must answer below 500 before it does;
    empty: the process lives. `restart` replaces the commands after a kill, `resume` is run for a
    task that is handed out again (with `submit = {run}`). Before each execution `template`, a
    file or what is in a folder, is copied into `{state}`, and `reset` is run; `inspect` is run at
    its end: it prints JSON, the agent's own state. `silence_ms`: a request that a
    fault leaves without an answer ends after this long with a broken connection, if the agent
    has not given up before. `speed`: how much faster than real time the lab's clock runs, for
    agents that take their time from the lab. `store`: where the regions keep memory.
    `toxiproxy`: which server stands in every line of the regions; none where it is empty.
    `containers`: the regions of the world are containers, not processes; the agent itself is never
    one. It is asked for by `--backend docker` and is no line of a contract.
    """

    commands: tuple[tuple[str, ...], ...]
    env: Mapping[str, str] = field(default_factory=dict)
    pass_env: tuple[str, ...] = ()
    cwd: str = ""
    submit: Submit = Submit()
    done: Done = Done()
    ready: str = ""
    restart: tuple[tuple[str, ...], ...] = ()
    resume: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()
    template: str = ""
    inspect: tuple[str, ...] = ()
    database: str = ""
    timeout_ms: int = 60_000
    ready_ms: int = 20_000
    stop_grace_ms: int = 2_000
    silence_ms: int = 5_000
    linger_ms: int = 500
    speed: int = 1
    containers: bool = False
    store: StoreAt = SQLITE
    toxiproxy: str = ""

    @property
    def wall_ms_max(self) -> int:
        """What an execution takes at most, if nothing hangs that is the lab's own."""
        return (
            2 * self.timeout_ms + 3 * self.ready_ms + self.stop_grace_ms + self.linger_ms + 20_000
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A service of the team's own, to which the lab forwards.

    `url`: an HTTP service; `mcp`: an MCP server over streamable HTTP; `mcp_command`: one over
    standard input and output. `start` is a command that the lab starts for each execution, with
    the same holes as the agent's. `hosts` lists what may be reached beyond loopback.
    """

    name: str
    url: str = ""
    mcp: str = ""
    mcp_command: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ready: str = ""
    database: str = ""
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectSource:
    """Where the effects of a tool are read: exactly one of `sql`, `get`, `tool`, `command` and
    `function` is given.

    Each gives rows. `ref` and `key` name the columns (or JSON fields) of an effect's reference
    and of its key; where they are absent, the first column and one of `idem_key`,
    `idempotency_key`, `key`. `path` leads to the list of rows in the JSON that `get` answers;
    `tool` is `service/tool` over MCP with `args`; `function` is `path.py:name`. Within
    `settle_ms` after the end a late effect is still seen.
    """

    sql: str = ""
    database: str = ""
    get: str = ""
    path: str = ""
    tool: str = ""
    args: Mapping[str, Json] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    function: str = ""
    ref: str = ""
    key: str = ""
    settle_ms: int = 300
