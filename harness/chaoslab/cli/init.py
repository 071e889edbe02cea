"""`chaoslab init` and `chaoslab doctor --agent`: the first file, and what is still missing in it.

Neither asks anything: what cannot be known is a comment in the file, or a line of the answer, so
both can be run again and again, and in a script.

>>> submit_of("http://127.0.0.1:{port}/tasks")
'http://127.0.0.1:{port}/tasks'
"""

from __future__ import annotations

import argparse
import os
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from chaoslab.check import CHECK_IDS, TITLES
from chaoslab.contract.loader import contract_from
from chaoslab.core.errors import ChaosError, ContractError, LabError, UsageError
from chaoslab.core.resources import resource_path
from chaoslab.core.visible import visible
from chaoslab.history import View
from chaoslab.run.advice import Advice, advise
from chaoslab.run.calm import calm_view
from chaoslab.run.discover import quoted
from chaoslab.run.draft import Draft, named_services, proposed
from chaoslab.run.select import find_contract
from chaoslab.run.team import has_agent, is_team_file, load_team
from chaoslab.run.workers import Workers
from chaoslab.scenario import find_workload

FILE: Final = "chaoslab.toml"
AGENT: Final = "agent.py"
SHAPE: Final = "fixtures/agents/minimal"
SUBMITS: Final = ("run", "queue", "stdin")
# The file that a code host reads, and the packaged one that it is made from.
PIPELINES: Final = {
    "github": (".github/workflows/chaos.yml", "fixtures/ci/github-actions.yml"),
    "gitlab": (".gitlab-ci.yml", "fixtures/ci/gitlab-ci.yml"),
}


def init(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab init`."""
    pipeline = _pipeline(arguments.ci)
    if pipeline and not arguments.command_line and not arguments.python:
        _write(pipeline, force=arguments.force)
        _say_pipeline(console, pipeline)
        return 0
    if bool(arguments.command_line) == arguments.python:
        raise UsageError(
            "init needs to know what kind of agent it is",
            allowed="one of --command '…' (an agent of your own) and --python (a new one)",
            hint="chaoslab init --command 'python agent.py'",
        )
    if arguments.python:
        return _python(arguments, console, pipeline)
    environment = dict(os.environ)
    services, env = (
        named_services(arguments.service, environment)
        if arguments.service
        else proposed(environment)
    )
    draft = Draft(
        name=Path.cwd().name or "agent",
        command=_command(arguments.command_line),
        submit=submit_of(arguments.submit),
        services=services,
        env=env,
    )
    _write({FILE: draft.text(), **pipeline}, force=arguments.force)
    _say(console, f"{FILE} is written.")
    _say_pipeline(console, pipeline)
    for name, at in services.items():
        _say(console, f"  service {name}: {at}")
    if arguments.discover:
        draft = draft.with_run(_seen(console))
        _write({FILE: draft.text()}, force=True)
        _say_found(console, draft)
    _say(
        console,
        f"What only you can decide is marked with TODO: {draft.text().count('TODO')} times.",
    )
    _say(console, f"Next: chaoslab doctor --agent {FILE}, then chaoslab run.")
    return 0


def _pipeline(host: str) -> dict[str, str]:
    """The file for a code host's pipeline, by its name; none without `--ci`."""
    if not host:
        return {}
    name, source = PIPELINES[host]
    return {name: resource_path(source).read_text(encoding="utf-8")}


def _say_pipeline(console: Console, pipeline: Mapping[str, str], *, adapter: str = "") -> None:
    for name in pipeline:
        _say(console, f"{name} is written: it runs chaoslab on every change and every night.")
        _say(console, "  What your agent needs to run is still to be added where the file says so.")
        if adapter:
            _say(console, f"  It tests {adapter}.")
        elif not _names_agent():
            _say(
                console,
                f"  {FILE} has no [agent] yet: add it, or name your adapter as AGENT in {name}.",
            )


def _names_agent() -> bool:
    """Whether the file here names the team's own agent."""
    try:
        return has_agent(Path(FILE))
    except ContractError:  # a damaged file is told by the first run; the pipeline is written
        return False


def submit_of(text: str, /) -> str:
    """`--submit`, checked."""
    if text in SUBMITS or text.startswith(("http://", "https://")):
        return text
    raise UsageError(
        "--submit is given wrongly",
        value=text,
        allowed="run, queue, stdin, or the URL to which tasks are posted",
    )


def _command(text: str) -> tuple[str, ...]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--command cannot be split: {error}", value=text) from None
    if not words:
        raise UsageError("--command is empty", value=text, hint="--command 'python agent.py'")
    return tuple(words)


def _python(arguments: argparse.Namespace, console: Console, pipeline: Mapping[str, str]) -> int:
    """A Python agent that holds, and its contract."""
    agent = resource_path(f"{SHAPE}.py").read_text(encoding="utf-8")
    contract = resource_path(f"{SHAPE}.toml").read_text(encoding="utf-8")
    contract = contract.replace('name = "minimal"', f"name = {quoted(Path.cwd().name)}")
    adapter = f"{AGENT}:make_agent"
    pipeline = {
        name: text.replace(f"AGENT: {FILE} ", f"AGENT: {adapter} ")
        for name, text in pipeline.items()
    }
    _write({AGENT: agent, FILE: contract, **pipeline}, force=arguments.force)
    _say(console, f"{AGENT} is written: a small agent that holds. {FILE} says what it promises.")
    _say_pipeline(console, pipeline, adapter=adapter)
    _say(console, f"Next: chaoslab run timeout-after-commit --agent {AGENT}:make_agent")
    return 0


def _write(texts: Mapping[str, str], *, force: bool) -> None:
    """Writes files into this folder, all or none; what is there is kept unless `force`."""
    there = [name for name in texts if Path(name).exists()]
    if there and not force:
        raise UsageError(
            f"{' and '.join(there)} is there already, and nothing was written",
            hint="--force writes over it"
            + (f"; chaoslab doctor --agent {FILE} says what to add to it" if FILE in there else ""),
        )
    for name, text in texts.items():
        if name == FILE:
            # A file that cannot be read is our own mistake, and must not replace one that can.
            contract_from(tomllib.loads(text), str(Path.cwd() / name), check_ids=CHECK_IDS)
    for name, text in texts.items():
        try:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"{name} cannot be written: {error.strerror}",
                value=str(Path.cwd()),
                hint="run it in a folder that you may write to",
            ) from None


def _seen(console: Console) -> View:
    _say(console, "Running it once without faults …")
    try:
        return calm_view(FILE)
    except LabError as error:
        told = "next: " in error.what
        raise LabError(
            f"{FILE} is written, but nothing could be discovered: {error.what}",
            hint=f"{'then' if told else 'mend the [agent] table, then'} chaoslab doctor "
            f"--agent {FILE}",
        ) from error


def _say_found(console: Console, draft: Draft) -> None:
    if not draft.seen:
        _say(console, "It called no service and no tool.")
    for one in draft.seen:
        what = "only reads" if one.reads else f"[tools.{one.name}]"
        _say(console, f"  {visible(one.match or one.name)}: {one.requests} times, {what}")
    if draft.offered:
        _say(console, f"It offered the model: {visible(', '.join(draft.offered))}.")
    if draft.offered and not draft.asked:
        _say(console, "The model asks for none of it as long as no [[tasks.first.plan]] says so.")


# -- doctor --agent


def doctor_agent(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab doctor --agent`."""
    agent: str = arguments.agent
    view, problem = None, ""
    if is_team_file(agent):
        if arguments.contract is not None:
            raise UsageError(
                "--contract is given beside a file that is a contract itself",
                value=arguments.contract,
                hint=f"chaoslab doctor --agent {agent}",
            )
        contract, offers = load_team(agent).contract, frozenset[str]()
    else:
        contract, _ = find_contract(agent, arguments.contract, find_workload("support"))
        workers = Workers()
        try:
            offers = workers.try_loading(agent)
        finally:
            workers.close()
    try:
        view = calm_view(agent, contract=arguments.contract)
    except ContractError:
        raise
    except ChaosError as error:
        problem = str(error)
    _show(console, advise(view, contract, offers))
    if problem:
        _say(console, f"\nIt could not be run: {visible(problem)}")
    elif failed := _failed(view):
        _say(
            console,
            f"\nIt did not get through: {failed} of its tasks failed without any fault; next: "
            "mend that first, since a run would call it broken before anything is struck",
        )
        return 4
    return 4 if problem else 0


def _failed(view: View | None) -> int:
    """How many tasks ended as failed."""
    ends = view.named("task.outcome") if view else ()
    return sum(bool(op.get("counted")) and op.get("status") == "failed" for op in ends)


def _show(console: Console, advice: Advice) -> None:
    _say(console, "What the agent offers:")
    for line in advice.offers:
        _say(console, f"  {visible(line)}")
    _say(console, "\nWhat cannot be judged:")
    for check, why in advice.unjudged:
        _say(console, f"  {check:<22} {TITLES[check]}: {visible(why)}")
    if not advice.unjudged:
        _say(console, "  nothing")
    _say(console, "\nWhat to add to the contract:")
    for one in advice.add:
        _say(console, f"  # {visible(one.why)}")
        for line in one.lines:
            _say(console, f"  {visible(line)}")
        _say(console, "")
    if not advice.add:
        _say(console, "  nothing that could be known from here")


def _say(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=True)
