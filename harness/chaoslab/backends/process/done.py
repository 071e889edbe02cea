"""How a task of an unmodified agent ended: from its reply, its database, or an address of its own.

What the agent says is data. A reply with a `status` that the lab knows is taken at its word, which
the checks then compare with the ledgers; anything else counts as completed if it looks like
success.

>>> outcome_from("t1", {"status": "done", "answer": 7}, Done()).status
'completed'
>>> outcome_of_exit("t1", 1, b"", "boom").reason
'boom'
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from chaoslab.backends.process.http import Reply, request
from chaoslab.contract.markers import field_of
from chaoslab.contract.target import Done, Target
from chaoslab.core.errors import LabError
from chaoslab.core.jsons import Json
from chaoslab.serve.floats import without_floats
from chaoslab.serve.holes import filled
from chaoslab.serve.sql import query
from chaoslab.world.api import STATUSES, Claim, Outcome, Status
from chaoslab.world.errors import ConnectionReset

_ANSWER_MAX: Final = 4_000
_ABSENT: Final = re.compile(r"unable to open database file|no such table|does not exist")


def status_of(said: object, done: Done, /) -> Status | None:
    """A status of ours for a word of theirs; None where it is neither an end nor known."""
    if isinstance(said, str):
        word = said.lower()
        if word in done.completed:
            return "completed"
        if word in done.failed:
            return "failed"
        if word in STATUSES:
            return cast(Status, word)
    return None


def outcome_from(task: str, raw: Mapping[str, Any], done: Done, /) -> Outcome:
    """An outcome from JSON that an agent sent."""
    claims = raw.get("claims")
    found = [
        Claim(tool=c["tool"], marker=c["marker"], ref=c.get("ref"))
        for c in (claims if isinstance(claims, list) else [])
        if isinstance(c, dict)
        and isinstance(c.get("tool"), str)
        and isinstance(c.get("marker"), str)
        and isinstance(c.get("ref"), (str, type(None)))
    ]
    status = status_of(field_of(raw, done.field), done)
    return Outcome(
        task=task,
        status=status or "completed",
        answer=_bounded(raw.get("answer")),
        claims=tuple(found),
        reason=str(raw.get("reason") or "")[:_ANSWER_MAX],
    )


def outcome_of_answer(task: str, reply: Reply, done: Done, /) -> Outcome:
    """An outcome from an HTTP answer."""
    text = reply.body.decode("utf-8", "replace")
    if reply.status >= 500:
        raise ConnectionReset(f"the agent answered {reply.status}: {text[:300]}")
    try:
        raw = json.loads(text)
    except ValueError:
        if reply.json:
            raise ConnectionReset(f"what the agent answered is no JSON: {text[:200]}") from None
        raw = {"answer": text}
    if not isinstance(raw, dict):
        raw = {"answer": raw}
    if reply.status >= 400:
        raw = {"reason": f"{reply.status}: {text[:300]}", **raw, "status": "failed"}
    elif "answer" not in raw:
        raw = {**raw, "answer": {k: v for k, v in raw.items() if k not in ("claims", "status")}}
    return outcome_from(task, raw, done)


def outcome_of_exit(task: str, code: int, out: bytes, words: str, /) -> Outcome:
    """An outcome from a command's exit code and what it printed."""
    text = out.decode("utf-8", "replace").strip()
    last = text.splitlines()[-1] if text else ""
    try:
        raw = json.loads(last)
    except ValueError:
        raw = None
    if code == 0 and isinstance(raw, dict) and "status" in raw:
        return outcome_from(task, raw, Done())
    if code == 0:
        return Outcome(task=task, status="completed", answer=text[-_ANSWER_MAX:])
    return Outcome(task=task, status="failed", reason=words)


async def ask(
    task: str, target: Target, holes: Mapping[str, str], cwd: Path, unended: dict[str, str], /
) -> Outcome | None:
    """Whether the task has ended, asked once. `unended` gets, by task, what was seen instead."""
    done = target.done
    if done.how == "sql":
        return await _by_sql(task, target, holes, cwd, unended)
    url = filled(done.url, holes)
    try:
        reply = await request("GET", url, timeout_s=2)
    except ConnectionReset:
        unended[task] = f"{url} did not answer"
        return None  # the agent is just being restarted
    unended[task] = f"{url} answered {reply.status}, and no end of the task"
    if reply.status != 200:
        return None
    try:
        raw = json.loads(reply.body)
    except ValueError:
        return None
    if not isinstance(raw, dict) or status_of(field_of(raw, done.field), done) is None:
        return None
    return outcome_from(task, raw, done)


async def _by_sql(
    task: str, target: Target, holes: Mapping[str, str], cwd: Path, unended: dict[str, str]
) -> Outcome | None:
    database = filled(target.database, holes)
    if not database:
        raise LabError(
            "the query of `done` has no database to ask",
            hint='add database = "{state}/app.db" (or where yours is) to [agent]',
        )
    try:
        rows = await asyncio.to_thread(query, database, target.done.sql, holes, cwd)
    except Exception as error:
        if _ABSENT.search(str(error)):
            unended[task] = f"the query of `done` failed: {error} ({database})"
            return None  # the agent has not made it yet
        raise LabError(
            f"the query of `done` failed: {str(error).partition(chr(10))[0]}",
            value=target.done.sql,
            hint="run it by hand against the agent's database",
        ) from None
    if not rows:
        unended[task] = "the query of `done` returned no row"
        return None
    row = without_floats(rows[0])
    said = row.get("status", row.get("state"))
    return outcome_from(task, {"status": said, "answer": row.get("answer")}, target.done)


def _bounded(answer: Any) -> Json:
    found = without_floats(answer)
    text = json.dumps(found)
    return found if len(text) <= _ANSWER_MAX else text[:_ANSWER_MAX]
