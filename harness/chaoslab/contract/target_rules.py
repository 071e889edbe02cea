"""Reads `[agent]` and `[services.NAME]`: the agent as commands, and the services around it.

>>> from chaoslab.core.tables import Problems
>>> problems = Problems("chaoslab.toml")
>>> raw = {"command": "python agent.py", "env": {"OPENAI_BASE_URL": "{modle}"}}
>>> target_from(Table({"agent": raw}, problems), {}, Path()).commands
(('python', 'agent.py'),)
>>> problems.lines[0].partition(";")[0]
"agent.env.OPENAI_BASE_URL: got '{modle}' (str) with the unknown hole {modle}"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from chaoslab.contract.holes import (
    PROCESS_HOLES,
    SERVICE_HOLES,
    TASK_HOLES,
    holes_in,
)
from chaoslab.contract.reading import (
    COMMAND,
    HTTP,
    Argv,
    Holes,
    argv,
    database,
    duration_ms,
    folder_at,
    is_json,
    split,
    sql,
    template_at,
    texts,
    url,
)
from chaoslab.contract.target import Done, Submit, Target, Upstream
from chaoslab.core.errors import shown
from chaoslab.core.jsons import Json
from chaoslab.core.tables import Table

_SUBMIT: Final = '"queue", "stdin", { post = URL } or { run = ["command", …] }'
_DONE: Final = '"reply", { sql = "select …" } or { poll = URL }'
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


# -- [agent]


def target_from(top: Table, services: Mapping[str, Upstream], folder: Path, /) -> Target | None:
    """The `[agent]` table; None where there is none."""
    if top.get("agent") is None:
        return None
    table = top.table("agent")
    base = Holes(PROCESS_HOLES, services)
    submit = _submit(table, base.and_tasks())
    commands = _commands(table, base, needed=submit.how != "run")
    restart = _restart(table, base, commands)
    target = Target(
        commands=commands,
        env=texts(table, "env", base),
        pass_env=table.strings("pass_env"),
        cwd=folder_at(table, folder),
        template=template_at(table, folder),
        submit=submit,
        done=_done(table, base.and_tasks()),
        ready=url(table, "ready", base),
        restart=restart,
        resume=argv(table, "resume", base.and_tasks()),
        reset=argv(table, "reset", base),
        inspect=argv(table, "inspect", base),
        database=database(table, folder, base),
        timeout_ms=duration_ms(table, "timeout", 60_000),
        ready_ms=table.integer("ready_ms", 20_000, least=1),
        stop_grace_ms=table.integer("stop_grace_ms", 2_000),
        silence_ms=table.integer("silence_ms", 5_000, least=1),
        linger_ms=table.integer("linger_ms", 500),
        speed=table.integer("speed", 1, least=1, most=1_000),
    )
    if target.resume and submit.how != "run":
        table.complain("resume", "is run for one task; allowed: only with submit = { run = […] }")
    if target.ready and not target.commands:
        table.complain("ready", "there is no process to wait for; allowed: only with a command")
    table.close()
    return target


def _commands(table: Table, holes: Holes, *, needed: bool) -> tuple[Argv, ...]:
    one = argv(table, "command", holes)
    many = table.get("commands")
    if "command" in table.raw and many is not None:
        table.complain("commands", "stands beside command; allowed: one of them")
    if many is None:
        if needed and "command" not in table.raw:
            table.complain("command", f"is missing; allowed: {COMMAND}, or commands = [[…], […]]")
        return (one,) if one else ()
    if not isinstance(many, list) or not many:
        table.complain("commands", f"got {shown(many)}; allowed: a list of commands")
        return ()
    return tuple(split(table, "commands", part, holes) for part in many)


def _restart(table: Table, holes: Holes, commands: tuple[Argv, ...]) -> tuple[Argv, ...]:
    raw = table.get("restart")
    if raw is None:
        return ()
    several = isinstance(raw, list) and any(isinstance(part, list) for part in raw)
    found = tuple(split(table, "restart", part, holes) for part in (raw if several else [raw]))
    if len(found) != len(commands):
        table.complain(
            "restart",
            f"has {len(found)} command(s) for the agent's {len(commands)}; allowed: as many, in "
            "the same order",
        )
    return found


def _submit(table: Table, holes: Holes) -> Submit:
    raw = table.get("submit")
    if raw is None or raw == "queue":
        return Submit()
    if raw == "stdin":
        return Submit(how="stdin")
    if not isinstance(raw, Mapping):
        table.complain("submit", f"got {shown(raw)}; allowed: {_SUBMIT}")
        return Submit()
    part = table.table("submit")
    if ("post" in raw) == ("run" in raw):
        part.complain("", f"got {shown(dict(raw))}; allowed: {_SUBMIT}")
    if "run" in raw:
        submit = Submit(how="run", argv=argv(part, "run", holes))
    else:
        body = part.get("body")
        if not is_json(body):
            part.complain("body", f"got {shown(body)}; allowed: what can be written as JSON")
        holes.check(part, "body", body)
        submit = Submit(
            how="post",
            url=url(part, "post", holes),
            body=cast(Json, body),
            headers=texts(part, "headers", holes),
        )
    part.close()
    return submit


def _done(table: Table, holes: Holes) -> Done:
    raw = table.get("done")
    if raw is None or raw == "reply":
        return Done()
    if not isinstance(raw, Mapping):
        table.complain("done", f"got {shown(raw)}; allowed: {_DONE}")
        return Done()
    part, plain = table.table("done"), Done()
    if ("sql" in raw) == ("poll" in raw):
        part.complain("", f"got {shown(dict(raw))}; allowed: {_DONE}")
    if "sql" in raw:
        done = Done(how="sql", sql=sql(part, "sql", holes))
        said, where = done.sql, "sql"
    else:
        done = Done(
            how="poll",
            url=url(part, "poll", holes),
            field=part.text("field", plain.field),
            completed=part.strings("completed", plain.completed),
            failed=part.strings("failed", plain.failed),
        )
        said, where = done.url, "poll"
        both = sorted({*done.completed} & {*done.failed})
        if both:
            part.complain("failed", f"{both[0]!r} stands in completed too; allowed: in one of them")
    if said and not {*TASK_HOLES} & {*holes_in(said)}:
        part.complain(
            where, f"got {shown(said)}, which says the same of every task; allowed: with {{task}}"
        )
    part.close()
    return done


# -- [services.NAME]


def services_from(group: Table, folder: Path, /) -> dict[str, Upstream]:
    """The `[services.NAME]` tables."""
    found = {}
    holes = Holes(SERVICE_HOLES)
    for name in group.raw:
        table = group.table(name)
        if not _NAME.fullmatch(name):
            group.complain(name, "a name of letters, digits, - and _ is allowed")
        mcp = table.raw.get("mcp")
        at_url = isinstance(mcp, str) and bool(HTTP.fullmatch(mcp))
        found[name] = Upstream(
            name=name,
            url=url(table, "url", holes),
            mcp=url(table, "mcp", holes) if at_url else "",
            mcp_command=() if at_url else argv(table, "mcp", holes),
            start=argv(table, "start", holes),
            env=texts(table, "env", holes),
            ready=url(table, "ready", holes),
            database=database(table, folder, holes),
            hosts=tuple(host.lower().removesuffix(".") for host in table.strings("hosts")),
        )
        for host in found[name].hosts:
            if not host or set(host) & set("/@*?#\\ "):
                table.complain("hosts", f"got {host!r} (str); allowed: plain host names")
        if ("url" in table.raw) == ("mcp" in table.raw):
            what = "has both url and mcp" if "url" in table.raw else "has neither url nor mcp"
            table.complain(
                "", f'{what}; allowed: one of url = "http://…", mcp = "http://…", mcp = ["command"]'
            )
        table.close()
    return found
