"""The text of a first `chaoslab.toml`: what a person said, what the environment tells, and what a
fault-free run showed.

It is text and not a table, since its comments are half of it: each says what only a human can
decide. Without any edit it loads, and runs.

>>> draft = Draft(name="shop", command=("python", "agent.py"), submit="stdin")
>>> [line for line in draft.text().splitlines() if line and not line.startswith("#")][:5]
['format = 1', 'name = "shop"', '[agent]', 'command = ["python", "agent.py"]', 'submit = "stdin"']
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from chaoslab.core.errors import UsageError
from chaoslab.core.visible import visible
from chaoslab.history import View
from chaoslab.run.discover import (
    Seen,
    called_functions,
    listed,
    offered_tools,
    quoted,
    seen_tools,
    tool_lines,
)
from chaoslab.serve.loopback import check_address

# Variables by which agents find a model; the lab stands in for it.
MODELS: Final[Mapping[str, str]] = {
    "OPENAI_BASE_URL": "{model}",
    "OPENAI_API_BASE": "{model}",
    "ANTHROPIC_BASE_URL": "{anthropic}",
}
# Variables that are about this machine or about tools, not about the agent's services.
_NOT_SERVICES: Final = re.compile(
    r".*_PROXY|(OTEL|PIP|UV|NPM|CARGO|GO|DOCKER|CHAOSLAB|PYTEST|CONDA|GIT|JUPYTER)_?.*", re.I
)
_SUFFIX: Final = re.compile(
    r"(_(BASE|API|SERVICE|SERVER|HTTP|MCP))*_?(URL|URI|ENDPOINT|ADDR|HOST)$"
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

_HEAD: Final = """\
# What the lab needs to know of this agent. Every key is described in docs/reference/contract.md;
# `chaoslab doctor --agent chaoslab.toml` says what is still missing, and what to add.
format = 1
"""
_SUBMIT: Final = """\
# How a task reaches the agent: "queue" (it fetches tasks from {queue}), "stdin" (one JSON line to
# the command), { run = [...] } (a process for each task), { post = "http://127.0.0.1:{port}/…" }.
"""
_DONE: Final = """\
# How the lab learns that a task has ended. By default from the reply. Otherwise:
# done = { sql = "select state from runs where id = {task} and state in ('done', 'failed')" }
# done = { poll = "http://127.0.0.1:{port}/tasks/{task}" }
# database = "{state}/agent.db"
"""
# What an agent without services of its own may be given.
_LAB: Final = """\
# Tools that the lab serves, each a [tools.NAME] without `match`, over MCP or REST:
# MCP_URL = "{mcp}"
# TOOLS_URL = "{tools}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is known. `submit` is `run`, `queue`, `stdin` or a URL; `services` are addresses, or
    commands of MCP servers, by name; `env` is the agent's environment with its holes; `seen`,
    `offered` and `asked` come from a run: tools, functions that the agent offered to the model,
    functions that the model asked for."""

    name: str
    command: tuple[str, ...]
    submit: str = "run"
    services: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    seen: tuple[Seen, ...] = ()
    offered: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    def with_run(self, view: View, /) -> Draft:
        """The same, and what a fault-free run showed."""
        return replace(
            self,
            seen=seen_tools(view, self.services),
            offered=offered_tools(view),
            asked=called_functions(view),
        )

    def text(self) -> str:
        """The whole file."""
        parts = [
            _HEAD + f"name = {quoted(self.name)}\n",
            self._agent(),
            *(_service(name, at) for name, at in self.services.items()),
            *("\n".join(tool_lines(one)) + "\n" for one in self.seen if not one.reads),
            self._rest(),
            self._task(),
        ]
        return "\n".join(part for part in parts if part)

    def _agent(self) -> str:
        lines = ["[agent]"]
        if self.submit == "run":
            lines += [f"submit = {{ run = {listed((*self.command, '{prompt}'))} }}"]
        else:
            lines += [f"command = {listed(self.command)}"]
            url = self.submit if self.submit not in ("queue", "stdin") else ""
            lines += [
                f"submit = {{ post = {quoted(url)} }}" if url else f'submit = "{self.submit}"'
            ]
        lines += [*_SUBMIT.splitlines(), *_DONE.splitlines()]
        if self.env:
            lines += ["", "# What the agent finds in its environment beside PATH and the like."]
            lines += ["[agent.env]", *(f"{k} = {quoted(v)}" for k, v in self.env.items())]
            lines += _LAB.splitlines()
            if self.submit == "queue" and "{queue}" not in self.env.values():
                lines += ["# TODO: where does the agent look for its queue?"]
                lines += ['QUEUE_URL = "{queue}"']
        return "\n".join(lines) + "\n"

    def _rest(self) -> str:
        reads = [one.match or one.name for one in self.seen if one.reads]
        if not self.seen:
            return (
                "# A tool of your own services, as the lab recognises it among the requests:\n"
                "# [tools.refund]\n"
                '# match = "POST billing/v1/refunds"\n'
                '# keys = { header = "Idempotency-Key" }\n'
                '# identity_fields = ["body.order_id"]\n'
                '# promise = "exactly-once"\n'
                '# effects = { sql = "select id, idem_key, order_id from refunds", '
                'database = "billing.db" }\n'
            )
        if not reads:
            return ""
        told = "".join(f"#   {visible(match)}\n" for match in reads)
        return f"# These were asked too. They only read, so nothing is promised of them:\n{told}"

    def _task(self) -> str:
        lines = [
            "# TODO: a task as your agent gets it. Each has an {order} of its own, and there is",
            "# {customer.name} and the like; see docs/reference/scenario.md.",
            "[tasks.first]",
            'prompt = "Please take care of order {order}."',
            'answer = "Order {order} is taken care of."',
            'data = { order = "{order}" }',
        ]
        new = [name for name in self.offered if name not in self.asked]
        if new:
            lines += [
                "",
                "# TODO: what does the model do with it? The agent offered it these functions.",
                "# Each [[tasks.first.plan]] is one call, with the arguments that it passes.",
            ]
            for name in new:
                lines += [
                    "# [[tasks.first.plan]]",
                    f"# call = {quoted(name)}",
                    '# args = { order = "{order}" }',
                ]
        return "\n".join(lines) + "\n"


def _service(name: str, at: str) -> str:
    key, value = f"[services.{name}]", quoted(at)
    if not at.startswith(("http://", "https://")):
        return f"{key}\nmcp = {value}\n"
    if urlsplit(at).path.rstrip("/").endswith("/mcp"):
        return f"{key}\nmcp = {value}\n"
    return f"{key}\nurl = {value}\n"


# -- from the command line and the environment


def proposed(environment: Mapping[str, str], /) -> tuple[dict[str, str], dict[str, str]]:
    """The services that an environment names, and the variables by which the agent is to find
    them through the lab. Only addresses on this machine count; those with a password in them are
    left out, since a file is no place for it.

    >>> services, env = proposed({"BILLING_URL": "http://127.0.0.1:9000", "HOME": "/x"})
    >>> services, env["BILLING_URL"]
    ({'billing': 'http://127.0.0.1:9000'}, '{services.billing}')
    """
    services: dict[str, str] = {}
    env = {"OPENAI_BASE_URL": "{model}", "ANTHROPIC_BASE_URL": "{anthropic}"}
    for variable, value in sorted(environment.items()):
        if variable in MODELS:
            env[variable] = MODELS[variable]
        elif _local(value) and not _NOT_SERVICES.fullmatch(variable):
            short = service_name(variable)
            names = (short, _plain_name(variable), *(f"{short}-{n + 2}" for n in range(len(env))))
            name = next(n for n in names if services.get(n, value) == value)
            name = next((n for n, at in services.items() if at == value), name)
            services[name] = value
            env[variable] = f"{{services.{name}}}"
    return services, env


def service_name(variable: str, /) -> str:
    """The name of a service by its variable.

    >>> [service_name(v) for v in ("BILLING_URL", "CRM_API_BASE_URL", "KB_MCP_URL", "URL")]
    ['billing', 'crm', 'kb', 'url']
    """
    return _plain_name(_SUFFIX.sub("", variable) or variable)


def _plain_name(variable: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", variable.lower()).strip("-_") or "service"


def _local(value: str) -> bool:
    if not value.startswith(("http://", "https://")) or "@" in value or "{" in value:
        return False
    try:
        check_address(value, ())
    except UsageError:
        return False
    return not urlsplit(value).query


def named_services(
    given: Sequence[str], environment: Mapping[str, str], /
) -> tuple[dict[str, str], dict[str, str]]:
    """`NAME=URL` (or `NAME=command` of an MCP server) as given, and the variables for them: those
    of the environment that hold this address, else `NAME_URL`.

    >>> named_services(["crm=http://127.0.0.1:9001/mcp"], {})[1]["CRM_URL"]
    '{services.crm}'
    """
    services: dict[str, str] = {}
    env = {"OPENAI_BASE_URL": "{model}", "ANTHROPIC_BASE_URL": "{anthropic}"}
    for one in given:
        name, equals, at = one.partition("=")
        if not equals or not at or not _NAME.fullmatch(name):
            raise UsageError(
                "a service is given wrongly",
                value=one,
                allowed="NAME=http://127.0.0.1:PORT, or NAME=command of an MCP server",
            )
        if at.startswith(("http://", "https://")):
            check_address(at, ())
        services[name] = at
        known = [v for v, value in environment.items() if value == at]
        for variable in known or [re.sub(r"\W", "_", name).upper() + "_URL"]:
            env[variable] = f"{{services.{name}}}"
    return services, env
