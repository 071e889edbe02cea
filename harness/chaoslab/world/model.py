"""The scripted model: a function of (seed, transcript), as a real one would be with luck.

It reads what the agent sent and nothing else. The last user message that contains a task's
prompt says which plan applies; the tool results since then say which step comes next, and how the
model takes what went wrong. Each answer carries fresh tool call ids, and asked again it words free
text differently, because real models do and agents must not take either for an identity.

>>> from chaoslab.scenario.model import Step
>>> step = Step(tool="refund", args={"order": "A-1"}, on_error={"default": "retry"})
>>> script = Script(task="t", prompt="Refund A-1.", plan=(step,), answer="Done.", values={})
>>> model = ModelService(0, [script], rewords=True)
>>> said = [{"role": "user", "content": "Refund A-1."}, {"role": "tool", "content": "Error: busy"}]
>>> model.apply(said, ()).tool_calls[0].name
'refund'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from chaoslab.core.jsons import Json, digest
from chaoslab.core.rng import number
from chaoslab.world.api import ModelReply, ToolCall
from chaoslab.world.cast import Script, fill
from chaoslab.world.errors import BadRequest
from chaoslab.world.progress import Progress
from chaoslab.world.recording import Departure, Recording
from chaoslab.world.transcript import text_of

_WORDS = (
    "as agreed with the customer",
    "the customer asked for it",
    "after the customer's message",
    "the goods arrived broken",
    "with our apologies",
)
_SAID = re.compile(r"\b(\w+)\s*=\s*([^;\n]+)")
_STOP: Final = "One of the actions did not succeed; I stop here."
_LOST: Final = "There is no recorded answer to this conversation."


class ModelService:
    """All scripts of an execution behind one model.

    `departures` tells, by task, where its transcript first left the recording that it was to
    follow; `departed` says it in words for those that have no plan to fall back on, so that
    nothing can be concluded from what they did.
    """

    def __init__(self, seed: int, scripts: Iterable[Script], *, rewords: bool) -> None:
        self._seed = seed
        self._scripts = {s.prompt: s for s in scripts}
        self._rewords = rewords
        self._asked: dict[str, int] = {}
        self._found: dict[str, Script | None] = {}
        self._recordings: dict[str, Recording] = {}
        self.departures: dict[str, Departure] = {}
        self.departed: list[str] = []

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
            first, *rest = reply.tool_calls
            return ModelReply(tool_calls=(_spoil(first, mishap), *rest), finish="tool-calls")
        return reply

    def _answer(self, messages: Sequence[Mapping[str, Any]], name: str, nth: int) -> ModelReply:
        found = self._script(messages)
        if found is None:
            return ModelReply(text="I do not understand the request.")
        start, script = found
        if script.recording:
            recorded = self._recorded(messages, script)
            if recorded is not None:
                calls = tuple(
                    ToolCall(id=self._call_id(name, n), name=c.name, args=c.args)
                    for n, c in enumerate(recorded.tool_calls)
                )
                return ModelReply(text=recorded.text, tool_calls=calls, finish=recorded.finish)
            if not script.plan:
                return ModelReply(text=_LOST, finish="refusal")
        progress = Progress.of(script.plan, messages[start:], script.error_pattern)
        if progress.gave_up:
            return ModelReply(text=_STOP)
        if not progress.open:
            return ModelReply(text=script.answer)
        values: dict[str, Any] = {**script.values, "said": _said(messages)}
        calls = tuple(
            ToolCall(
                id=self._call_id(name, n),
                name=script.plan[step].name,
                args=self._args(script, step, values, nth, progress),
            )
            for n, step in enumerate(progress.open)
        )
        return ModelReply(tool_calls=calls, finish="tool-calls")

    def _call_id(self, name: str, nth: int) -> str:
        """A fresh id for the nth call of an answer."""
        full = f"{name}/{nth}" if nth else name
        return f"call_{number(self._seed, full, below=2**32):08x}"

    def _args(
        self, script: Script, step: int, values: dict[str, Any], nth: int, progress: Progress
    ) -> Mapping[str, Json]:
        """The arguments of a step: those of the call before where it is a plain retry."""
        again, before = progress.again(step), progress.before(step)
        templates = script.plan[step].args
        if again == "retry" and before is not None and before.keys() == templates.keys():
            return before
        turn = nth + progress.tries(step) if again == "ask-again" else nth
        args = self._worded(script, step, values, turn)
        if again == "ask-again" and args == before:
            args = self._worded(script, step, values, turn + 1)
        return args

    def _worded(
        self, script: Script, step: int, values: dict[str, Any], nth: int
    ) -> dict[str, Json]:
        where = f"{self._seed}/{script.task}/{step}"
        words = _WORDS[(number(self._seed, where, below=len(_WORDS)) + nth) % len(_WORDS)]
        values = {**values, "words": words}
        args = {k: fill(v, values) for k, v in script.plan[step].args.items()}
        if nth % 2 == 0:  # asked again, a model does not keep to an order either
            args = dict(reversed(args.items()))
        return args

    def _recorded(self, messages: Sequence[Mapping[str, Any]], script: Script) -> ModelReply | None:
        """The recorded answer; None where the transcript has left the recording."""
        if script.task not in self._recordings:
            self._recordings[script.task] = Recording(
                script.recording, script.prompt, script.values
            )
        found = self._recordings[script.task].lookup(messages)
        if isinstance(found, ModelReply):
            return found
        if script.task not in self.departures:
            self.departures[script.task] = found
            if not script.plan:
                self.departed.append(f"{script.task}: {found.why}")
        return None

    def _script(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, Script] | None:
        for index in range(len(messages) - 1, -1, -1):
            message = messages[index]
            if message.get("role") != "user":
                continue
            content = text_of(message.get("content"))
            if not content:
                continue
            if content not in self._found:
                self._found[content] = self._meant(content)
            script = self._found[content]
            if script is not None:
                return index, script
        return None

    def _meant(self, content: str) -> Script | None:
        """The script whose prompt stands in a text. White space counts only where it decides."""
        exact = self._scripts.get(content)
        if exact is not None:
            return exact
        for text, plain in ((content, str), (_squeezed(content), _squeezed)):
            found = [(plain(p), s) for p, s in self._scripts.items() if plain(p) in text]
            for prompt, script in found:
                # "order A-1" stands in "order A-10" too.
                if not any(prompt != p and prompt in p for p, _ in found):
                    return script
        return None


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _said(messages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    out: dict[str, str] = {}
    for message in messages:
        text = text_of(message.get("content"))
        if "=" in text:
            for key, value in _SAID.findall(text):
                out[key] = value.strip()
    return out


def _spoil(call: ToolCall, mishap: str) -> ToolCall:
    if mishap == "unknown-tool":
        return ToolCall(id=call.id, name=f"{call.name}_v2", args=call.args)
    return ToolCall(id=call.id, name=call.name, args={"arguments": '{"order": "'})
