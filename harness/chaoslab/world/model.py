"""The scripted model: a function of (seed, transcript), as a real one would be with luck.

It reads what the agent sent and nothing else. The first user message that contains a task's
prompt says which plan applies; the tool results since then say which step comes next. Each
answer carries a fresh tool call id, and asked again it words free text differently, because real
models do and agents must not take either for an identity.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chaoslab.core.jsons import Json, digest
from chaoslab.core.rng import number
from chaoslab.world.api import ModelReply, ToolCall
from chaoslab.world.cast import Script, fill
from chaoslab.world.errors import BadRequest

_WORDS = (
    "as agreed with the customer",
    "the customer asked for it",
    "after the customer's message",
    "the goods arrived broken",
    "with our apologies",
)
_SAID = re.compile(r"\b(\w+)\s*=\s*([^;\n]+)")


class ModelService:
    """All scripts of an execution behind one model."""

    def __init__(self, seed: int, scripts: Iterable[Script], *, rewords: bool) -> None:
        self._seed = seed
        self._scripts = {s.prompt: s for s in scripts}
        self._rewords = rewords
        self._asked: dict[str, int] = {}
        self._found: dict[str, Script | None] = {}

    def apply(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[str], mishap: str = ""
    ) -> ModelReply:
        """The answer to a transcript. `mishap` is a fault of the model's own kind."""
        if not messages:
            raise BadRequest("messages must not be empty")
        if mishap == "refusal":
            return ModelReply(text="I cannot help with that.", finish="refusal")
        seen = digest([dict(m) for m in messages])
        nth = self._asked[seen] = self._asked.get(seen, 0) + 1
        reply = self._answer(messages, f"{seen}/{nth}", nth if self._rewords else 1)
        if mishap == "truncated":
            return ModelReply(text=reply.text[: len(reply.text) // 2], finish="truncated")
        if mishap and reply.tool_calls:
            return ModelReply(
                tool_calls=(_spoil(reply.tool_calls[0], mishap),), finish="tool-calls"
            )
        return reply

    def _answer(self, messages: Sequence[Mapping[str, Any]], name: str, nth: int) -> ModelReply:
        found = self._script(messages)
        if found is None:
            return ModelReply(text="I do not understand the request.")
        start, script = found
        results = [m for m in messages[start:] if m.get("role") == "tool"]
        if results and _is_error(results[-1].get("content")):
            return ModelReply(text="One of the actions did not succeed; I stop here.")
        if len(results) >= len(script.plan):
            return ModelReply(text=script.answer)
        step = script.plan[len(results)]
        said = _said(messages)
        where = f"{self._seed}/{script.task}/{len(results)}"
        words = _WORDS[(number(self._seed, where, below=len(_WORDS)) + nth) % len(_WORDS)]
        values: dict[str, Any] = {**script.values, "said": said, "words": words}
        args = {k: fill(v, values) for k, v in step.args.items()}
        if nth % 2 == 0:  # asked again, a model does not keep to an order either
            args = dict(reversed(args.items()))
        call = ToolCall(
            id=f"call_{number(self._seed, name, below=2**32):08x}", name=step.tool, args=args
        )
        return ModelReply(tool_calls=(call,), finish="tool-calls")

    def _script(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, Script] | None:
        for index in range(len(messages) - 1, -1, -1):
            message = messages[index]
            content = message.get("content")
            if message.get("role") != "user" or not isinstance(content, str):
                continue
            if content not in self._found:
                self._found[content] = self._scripts.get(content) or next(
                    (s for prompt, s in self._scripts.items() if prompt in content), None
                )
            script = self._found[content]
            if script is not None:
                return index, script
        return None


def _said(messages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    out: dict[str, str] = {}
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            for key, value in _SAID.findall(content):
                out[key] = value.strip()
    return out


def _is_error(content: Json) -> bool:
    if isinstance(content, Mapping):
        return "error" in content
    return isinstance(content, str) and content.lstrip().startswith('{"error"')


def _spoil(call: ToolCall, mishap: str) -> ToolCall:
    if mishap == "unknown-tool":
        return ToolCall(id=call.id, name=f"{call.name}_v2", args=call.args)
    return ToolCall(id=call.id, name=call.name, args={"arguments": '{"order": "'})
