"""What an agent hands back, checked before it is recorded, and where its errors come from."""

from __future__ import annotations

import traceback
from typing import Any

from chaoslab.core.errors import AgentBroke, UsageError
from chaoslab.core.jsons import Json, plain
from chaoslab.world.api import STATUSES, Claim, Outcome


def place(error: BaseException, /) -> str:
    """`file:line` where an error was raised, the agent's own frame if there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "chaoslab/backends" not in f.filename.replace("\\", "/")]
    last = (own or frames or [None])[-1]  # type: ignore[list-item]
    return f"{last.filename}:{last.lineno}" if last else "nowhere"


def outcome_json(outcome: Any, /) -> dict[str, Json]:
    """An outcome as the record keeps it. AgentBroke where it is no outcome."""
    if not isinstance(outcome, Outcome):
        raise AgentBroke(
            "the agent's handler did not return an Outcome",
            value=outcome,
            allowed="chaoslab.world.Outcome",
            hint="return Outcome(task=task.id, status=...)",
        )
    if not isinstance(outcome.task, str):
        raise AgentBroke("an outcome's task is no id", value=outcome.task, allowed="task.id")
    if not isinstance(outcome.status, str) or outcome.status not in STATUSES:
        raise AgentBroke(
            "an outcome has an unknown status", value=outcome.status, allowed=", ".join(STATUSES)
        )
    if not isinstance(outcome.claims, (tuple, list)):
        raise AgentBroke("an outcome's claims are no tuple", value=outcome.claims)
    claims: list[Json] = []
    for claim in outcome.claims:
        ok = isinstance(claim, Claim) and isinstance(claim.ref, (str, type(None)))
        if not ok or not isinstance(claim.tool, str) or not isinstance(claim.marker, str):
            raise AgentBroke(
                "an outcome has a claim that is none",
                value=claim,
                allowed="Claim(tool=text, marker=text, ref=text or None)",
            )
        claims.append({"tool": claim.tool, "marker": claim.marker, "ref": claim.ref})
    try:
        answer = plain(outcome.answer, where="answer")
        reason = plain(str(outcome.reason), where="reason")
        plain(claims, where="claims")
    except Exception as error:  # an agent's own types may raise anything when they are read
        text = str(error) if isinstance(error, UsageError) else type(error).__name__
        raise AgentBroke(f"an outcome cannot be recorded: {text}") from error
    return {"status": outcome.status, "answer": answer, "claims": claims, "reason": reason}
