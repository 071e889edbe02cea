"""A conversation in the lab's words, built from any vendor's.

The vendors refuse a transcript in which a tool call has no result, or a result no call. An agent
that was killed between the two and resumes from what it had saved sends exactly that, so the lab
refuses it as well: to be lenient here would hide a session that nobody can continue.

>>> t = Transcript(at_once=True)
>>> t.say("user", "refund order 7", "messages[0]")
>>> t.call("c1", "refund", {"order": 7})
>>> t.say("user", "are you there?", "messages[2]")
Traceback (most recent call last):
...
chaoslab.serve.models.wire.Malformed: before messages[2] these tool calls have no result: c1; \
next: put a result for each tool call right after the message that made it
"""

from __future__ import annotations

from typing import Any

from chaoslab.serve.models.wire import Items, Malformed, Object, inside, objects, string


class Transcript:
    """Messages in the making. `at_once`: results must follow their calls immediately."""

    def __init__(self, *, at_once: bool) -> None:
        self._at_once = at_once
        self._messages: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}
        self._open: dict[str, None] = {}

    def say(self, role: str, content: str, where: str) -> None:
        """A message of the system, the user or the assistant."""
        if self._at_once:
            self._closed(f"before {where}")
        self._messages.append({"role": role, "content": content})

    def call(self, id: str, name: str, args: Object) -> None:
        """A tool call; it belongs to the assistant's message just before, if there is one."""
        if not self._messages or self._messages[-1]["role"] != "assistant":
            self._messages.append({"role": "assistant", "content": ""})
        made = self._messages[-1].setdefault("tool_calls", [])
        made.append({"id": id, "name": name, "args": args})
        self._names[id] = name
        self._open[id] = None

    def result(self, id: str, content: str | Object, where: str) -> None:
        """What a tool said; objects are errors."""
        if id not in self._names:
            raise Malformed(
                f"{where} is the result of a tool call that no message before it made",
                value=id,
                allowed=", ".join(self._names) or "nothing, since no tool was called",
                hint="send the assistant's message with the call along",
                param=where,
            )
        self._open.pop(id, None)
        name = self._names[id]
        self._messages.append({"role": "tool", "id": id, "name": name, "content": content})

    def done(self, where: str) -> Items:
        """All of it."""
        self._closed(f"in {where}")
        return tuple(self._messages)

    def _closed(self, where: str) -> None:
        if self._open:
            after = " right after the message that made it" if self._at_once else ""
            raise Malformed(
                f"{where} these tool calls have no result: {', '.join(self._open)}",
                hint=f"put a result for each tool call{after}",
                param=where.rpartition(" ")[2],
            )


def texts(messages: Items) -> tuple[str, ...]:
    """What users said.

    >>> texts(({"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}))
    ('hello',)
    """
    return tuple(m["content"] for m in messages if m["role"] == "user")


def call_ids(messages: Items) -> tuple[str, ...]:
    """The ids of all tool calls, in order."""
    return tuple(c["id"] for m in messages for c in m.get("tool_calls", ()))


def tool_names(body: Object, /, *, nested: bool = False) -> tuple[str, ...]:
    """The names of the tools that a request offers. What the vendor's own servers would run
    has a type and no name; the lab's model never asks for it.

    >>> tool_names({"tools": [{"type": "function", "name": "refund"}, {"type": "web_search"}]})
    ('refund',)
    >>> tool_names({"tools": [{"type": "function", "function": {"name": "refund"}}]}, nested=True)
    ('refund',)
    """
    names = []
    for index, tool in enumerate(objects(body.get("tools") or [], "tools")):
        where = f"tools[{index}]"
        if nested:
            kind = string(tool, "type", where)
            names.append(string(inside(tool, kind, where), "name", f"{where}.{kind}"))
        elif "name" in tool or tool.get("type") == "function":
            names.append(string(tool, "name", where))
    return tuple(names)
