"""The conversation with the model.

The model only proposes; what is done, and under which key, is decided elsewhere. Two things about
a model matter here. Asked again it words things differently, so what it said is written down
before it is acted upon. And it may answer rubbish: an unknown tool, broken arguments, half a
sentence, a refusal. Asking has no effect on the world, so asking again is safe, within a bound.

The transcript is told from the record alone, so that a resumed conversation goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chaoslab.reference.errors import GaveUp, NotNow
from chaoslab.reference.records import Step
from chaoslab.reference.settings import Settings, pause_ms
from chaoslab.reference.toolbox import TOOLS, missing_args
from chaoslab.world import Indeterminate, ModelReply, RateLimited, Refused, ToolCall, World

_INSTRUCTIONS = "You work at a support desk. Use the tools; answer in one sentence when done."


def opening(prompt: str, profile: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """How a conversation begins. The profile is the stored one, whole, or is left out."""
    system = _INSTRUCTIONS
    if profile:
        lines = "; ".join(f"{name}={profile[name]}" for name in sorted(profile))
        system += f"\nProfile on record: {lines}"
    return [{"role": "system", "content": system}, {"role": "user", "content": prompt}]


def transcript(
    opening: Sequence[Mapping[str, Any]], steps: Sequence[Step]
) -> list[Mapping[str, Any]]:
    """What was said and done so far."""
    messages = list(opening)
    for step in steps:
        call = {"id": step.call, "name": step.tool, "args": dict(step.args)}
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append(
            {"role": "tool", "id": step.call, "name": step.tool, "content": _told(step)}
        )
    return messages


def _told(step: Step) -> str:
    told: dict[str, str | None]
    if step.state == "done":
        told = {"status": "done", "ref": step.ref}
        if step.page is not None:
            told = {"status": "done", "page": step.page}
    elif step.state == "declined":
        # Nothing went wrong: the model is to go on without it.
        told = {"status": "declined", "why": step.why}
    else:
        told = {"error": f"{step.state}: {step.why}"}
    return json.dumps(told, sort_keys=True)


class Dialogue:
    """The model of one process."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world, self._settings = world, settings

    async def ask(self, messages: Sequence[Mapping[str, Any]]) -> str | ToolCall:
        """The model's next word: a tool call that can be carried out, or the final text."""
        settings, problem = self._settings, ""
        answered = False
        for nth in range(1, settings.model_tries + 1):
            try:
                reply = await self._world.model.complete(
                    messages, tools=sorted(TOOLS), deadline_ms=settings.model_deadline_ms
                )
            except (Indeterminate, Refused) as error:
                problem, wait = f"the model cannot be asked: {error.code}", self._wait(error, nth)
                await self._world.clock.sleep(wait)
                continue
            problem = problem_of(reply)
            if not problem:
                return reply.tool_calls[0] if reply.tool_calls else reply.text
            answered = True
            self._world.report.log("the model's answer is no use", problem=problem)
        if answered:
            raise GaveUp(problem)
        raise NotNow(problem)

    def _wait(self, error: Exception, nth: int) -> int:
        settings = self._settings
        wait = pause_ms(
            nth,
            self._world.random,
            first_ms=settings.retry_first_ms,
            most_ms=settings.retry_most_ms,
        )
        asked = error.details.get("retry_after_ms") if isinstance(error, RateLimited) else None
        return max(wait, asked) if isinstance(asked, int) else wait


def problem_of(reply: ModelReply) -> str:
    """Why an answer cannot be used; "" where it can."""
    if reply.finish in ("truncated", "refusal"):
        return f"the model's answer ended in {reply.finish}"
    if not reply.tool_calls:
        return "" if reply.text else "the model said nothing"
    call = reply.tool_calls[0]
    tool = TOOLS.get(call.name)
    if tool is None:
        return f"the model asked for a tool that is not there: {call.name}"
    missing = missing_args(tool, call.args)
    return f"the model's arguments lack {', '.join(missing)}" if missing else ""
