r"""What one fault-free run shows of an agent's tools: from its history to the lines of a contract.

Proposed is what can be seen: which requests are actions, which parts of a path are ids, which
fields say what the action is about (their values stand in the task), and where a key stood.
What only a human can say (what is promised, where effects are read) is a comment, and what stands
beside it is the weakest sensible thing, so that the lines load as they are.

>>> from chaoslab.history import Op
>>> ops = [
...     Op(index=0, time_ns=0, type="event", f="task.submit", task="s1-t1",
...        value={"prompt": "Refund o-7.", "data": {"order": "o-7"}}),
...     Op(index=1, time_ns=1, type="invoke", f="network.request", task="s1-t1", marker="x",
...        value={"method": "POST", "url": "billing/v1/refunds", "body": '{"order_id":"o-7"}'})]
>>> (tool,) = seen_tools(View(ops), ["billing"])
>>> tool.name, tool.match, tool.identity
('refund', 'POST billing/v1/refunds', ('body.order_id',))
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from chaoslab.contract.tool_rules import METHODS
from chaoslab.history import Op, View, tool_of

READS: Final = ("GET", "HEAD", "OPTIONS")
_READING: Final = re.compile(r"(get|list|search|find|read|fetch|query|lookup|describe)(?![a-z])")
_UUID: Final = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.I)
_HEX: Final = re.compile(r"(?=.*[0-9])(?=.*[a-f])[0-9a-f]{8,}", re.I)
_PREFIXED: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*([-_:.#][A-Za-z0-9]+)*[-_:.#](?=\w*[0-9])\w+")
_VERSION: Final = re.compile(r".*(^|[-_.])v[0-9]+", re.I)
_WORD: Final = re.compile(r"[\w.@#:-]*\w")
# Fields that say which thing an action is about, by their names.
_IDENTITY: Final = re.compile(
    r"(^|_)(id|ref|reference|number|no|code|sku|email|iban|account|order|customer|ticket|invoice"
    r"|payment|user|name|slug|uuid)$"
)
_KEY: Final = re.compile(r"(idempotency|idem|request|dedup\w*|client_request)_?(key|id|token)$")
_LONG: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A tool as its requests show it. `match` is empty for a tool that the lab serves; `keyed`:
    how many of its `requests` had a key; `key_body` is the field of the body that looks like one;
    `reads`: it only asks."""

    name: str
    match: str = ""
    requests: int = 0
    keyed: int = 0
    identity: tuple[str, ...] = ()
    key_body: str = ""
    reads: bool = False
    args: Mapping[str, Any] = field(default_factory=dict)


# -- reading a history


def seen_tools(
    view: View, services: Collection[str], /, *, taken: Collection[str] = ()
) -> tuple[Seen, ...]:
    """What the agent called: requests to its services, and tools by their names; those that only
    read come last. `taken` are names that a request must not get."""
    words = _Words(view)
    found: dict[str, list[_Request]] = {}
    for op in view:
        if op.type == "invoke" and not op.get("lookup"):
            request = _request(op, services, words)
            if request is not None and request.tool not in taken and _wrapped(view, op):
                request = replace(request, match=f"python {request.tool}")
            if request is not None and _writable(request.match):
                found.setdefault(request.match or f" {request.tool}", []).append(request)
    out: list[Seen] = []
    for _, requests in sorted(found.items(), key=lambda one: bool(one[1][0].match)):
        out.append(_seen(requests, words, [*taken, *(one.name for one in out)]))
    return tuple(sorted(out, key=lambda one: one.reads))


def _wrapped(view: View, op: Op) -> bool:
    """Whether a call of a tool was one of a Python function in the agent: what the lab serves
    answers with a reference."""
    answer = view.completion(op.index)
    told = answer is not None and answer.type == "ok" and answer.get("ref") is None
    return told and op.f.startswith("tools.")


def _writable(match: str) -> bool:
    """Whether a contract could name such a request at all."""
    kind, _, rest = match.partition(" ")
    if kind == "python":
        return all(part.isidentifier() for part in rest.split("."))
    if kind == "mcp":
        return not re.search(r"\s", rest) and not rest.endswith("/")
    return not match or (kind in METHODS and not re.search(r"\s", rest))


def offered_tools(view: View, /) -> tuple[str, ...]:
    """The functions that the agent offered to the model, in order."""
    invokes = (op for op in view.named("model.complete") if op.type == "invoke")
    return tuple(dict.fromkeys(str(name) for op in invokes for name in op.get("tools") or ()))


def called_functions(view: View, /) -> tuple[str, ...]:
    """The functions that the model asked for, in order."""
    answers = (op for op in view.named("model.complete") if op.type == "ok")
    calls = (call for op in answers for call in op.get("tool_calls") or ())
    return tuple(dict.fromkeys(str(call.get("name")) for call in calls))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    task: str
    tool: str
    match: str
    args: Mapping[str, Any]
    key: str | None = None
    reads: bool = False


def _request(op: Op, services: Collection[str], words: _Words) -> _Request | None:
    tool = tool_of(op)
    if tool and op.f.startswith("tools."):
        args = op.get("args")
        args = args if isinstance(args, Mapping) else {}
        return _Request(task=op.task, tool=tool, match="", args=args, key=op.key)
    method, url = str(op.get("method", "")), str(op.get("url", ""))
    where, _, query = url.partition("?")
    service, slash, path = where.partition("/")
    if op.f != "network.request" or service not in services or not slash:
        return None
    body = _parsed(op.get("body"))
    if method == "MCP":
        args = body if isinstance(body, Mapping) else {}
        return _Request(
            task=op.task,
            tool=path,
            match=f"mcp {service}/{path}",
            args=args,
            reads=bool(_READING.match(path.lower())),
        )
    pattern, named = _pattern(path, words.of(op.task))
    asked = {name: one[0] if len(one) == 1 else one for name, one in parse_qs(query).items()}
    args = {"path": named, "query": asked, "body": body}
    return _Request(
        task=op.task,
        tool=_last_word(pattern),
        match=f"{method} {service}/{pattern}",
        args={name: value for name, value in args.items() if value},
        reads=method in READS,
    )


def _parsed(body: object) -> Any:
    if not isinstance(body, str) or not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        form = parse_qs(body)
        return {name: one[0] if len(one) == 1 else one for name, one in form.items()} or body


def _pattern(path: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """A path with its ids as `{id}`, `{id2}`, …, and what stood there."""
    parts: list[str] = []
    named: dict[str, str] = {}
    for part in path.split("/"):
        text = unquote(part)
        if text and (looks_like_id(text) or text in known):
            name = "id" if not named else f"id{len(named) + 1}"
            named[name] = text
            parts.append(f"{{{name}}}")
        else:
            parts.append(part)
    return "/".join(parts), named


def looks_like_id(text: str, /) -> bool:
    """Whether a text looks like the name of one thing among many: a number, a UUID, or a prefix
    with a number.

    >>> [looks_like_id(t) for t in ("42", "o-s1-t1", "cus_9fX", "refunds", "v1", "api-v2", "s3")]
    [True, True, True, False, False, False, False]
    """
    if text.isdigit() or _UUID.fullmatch(text) or _HEX.fullmatch(text):
        return True
    return bool(_PREFIXED.fullmatch(text)) and not _VERSION.fullmatch(text)


def _last_word(pattern: str) -> str:
    words = [p for p in pattern.split("/") if p and not p.startswith("{")]
    word = words[-1] if words else "root"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


class _Words:
    """What each task is about: the values in its data, and the words of its prompt that look like
    ids, as far as they are not the same in all tasks."""

    def __init__(self, view: View) -> None:
        self._of: dict[str, set[str]] = {}
        for op in view.named("task.submit"):
            said = {w for w in _WORD.findall(str(op.get("prompt", ""))) if looks_like_id(w)}
            self._of[op.task] = said | set(_texts(op.get("data")))
        if len(self._of) > 1:
            shared = set.intersection(*self._of.values())
            self._of = {task: words - shared for task, words in self._of.items()}
        self._all = set().union(*self._of.values()) if self._of else set()

    def of(self, task: str) -> Collection[str]:
        """The words of a task; of a request of which nobody knows the task, those of all."""
        return self._of.get(task, self._all)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _texts(part)


def _seen(requests: Sequence[_Request], words: _Words, taken: Collection[str]) -> Seen:
    first = requests[0]
    http = first.match.partition(" ")[0] in METHODS
    fields = [p for p in dict(_leaves(first.args)) if p.startswith("body.") or not http]
    key = next((path for path in fields if _is_key(path, requests)), "")
    key_body = key.removeprefix("body.") if http else key
    return Seen(
        name=_name(first.tool, first.match, taken) if first.match else first.tool,
        match=first.match,
        requests=len(requests),
        keyed=sum(one.key is not None for one in requests),
        identity=_identity(requests, words, {key}),
        key_body=key_body,
        reads=first.reads,
        args=first.args,
    )


def _name(word: str, match: str, taken: Collection[str]) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", word.lower()).strip("_") or "tool"
    method = match.partition(" ")[0].lower()
    choices = [plain, f"{method}_{plain}", *(f"{plain}_{n}" for n in range(2, len(taken) + 3))]
    return next(name for name in choices if name not in taken)


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every text and number in an object, by its dotted path."""
    for name, part in value.items():
        at = f"{path}.{name}" if path else str(name)
        if isinstance(part, Mapping):
            yield from _leaves(part, at)
        elif isinstance(part, (str, int)) and not isinstance(part, bool):
            yield at, part


def _is_key(path: str, requests: Iterable[_Request]) -> bool:
    """Whether a field is a key by its name; its values are then never those of the action."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", path.rpartition(".")[2]).lower().replace("-", "_")
    return bool(_KEY.search(name)) and all(path in dict(_leaves(r.args)) for r in requests)


def _identity(
    requests: Sequence[_Request], words: _Words, without: Collection[str]
) -> tuple[str, ...]:
    """The fields that say which action it is: their values stand in the task of every request,
    and they look like the name of a thing. Amounts and free text do not count, since a model
    that is asked again words them anew."""
    paths = [p for p in dict(_leaves(requests[0].args)) if p not in without]
    telling, other = [], []
    for path in paths:
        values = [dict(_leaves(one.args)).get(path) for one in requests]
        if None in values or any(len(str(v)) > _LONG or " " in str(v) for v in values):
            continue
        named = path.startswith("path.") or bool(_IDENTITY.search(_snake(path)))
        known = all(str(v) in words.of(r.task) for v, r in zip(values, requests, strict=True))
        alike = all(isinstance(v, str) and looks_like_id(v) for v in values)
        if known and (named or alike):
            telling.append(path)
        elif known and all(isinstance(v, str) for v in values):
            other.append(path)
    return tuple(telling or other)


def _snake(path: str) -> str:
    last = path.rpartition(".")[2]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", last).lower().replace("-", "_")


# -- writing lines


def quoted(text: str, /) -> str:
    """A TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def listed(texts: Iterable[str], /) -> str:
    """A TOML list of strings.

    >>> listed(["python", "my agent.py"])
    '["python", "my agent.py"]'
    """
    return "[" + ", ".join(quoted(text) for text in texts) + "]"


def tool_lines(tool: Seen, /) -> list[str]:
    """The `[tools.NAME]` table of a tool that was seen."""
    lines = [tool_head(tool.name)]
    if tool.match:
        lines.append(f"match = {quoted(tool.match)}")
    lines += _key_lines(tool)
    if tool.identity:
        lines.append(f"identity_fields = {listed(tool.identity)}")
    else:
        sent = _printable(", ".join(dict(_leaves(tool.args)))) or "nothing"
        lines.append("# TODO: which fields say which action it is? Without them all of them do.")
        lines.append(f"# Sent were: {sent}.")
        lines.append('# identity_fields = ["…"]')
    lines += promise_lines(keys=bool(tool.key_body) or bool(tool.keyed))
    if tool.match:
        lines += effect_lines(tool)
    return lines


def tool_head(name: str, /) -> str:
    """The head of a tool's table.

    >>> tool_head("refund"), tool_head("pay.card")
    ('[tools.refund]', '[tools."pay.card"]')
    """
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", name)
    return f"[tools.{name if bare else quoted(name)}]"


def _printable(text: str) -> str:
    """What may stand in a comment, which ends with its line."""
    return "".join(c if c.isprintable() else " " for c in text)


def _key_lines(tool: Seen) -> list[str]:
    if tool.key_body:
        return [f"keys = {{ body = {quoted(tool.key_body)} }}"]
    if tool.keyed:
        return ["keys = true"]
    if not tool.match:
        return ["# No key was sent. `keys = true`: the tool takes them."]
    kind = tool.match.partition(" ")[0]
    place = {"mcp": 'meta = "…"', "python": 'body = "…"'}.get(kind, 'header = "Idempotency-Key"')
    return [
        "# TODO: does the service recognise a repeat by a key? If so, where does it stand?",
        f"# keys = {{ {place} }}",
    ]


def promise_lines(*, keys: bool) -> list[str]:
    """The promise: nobody but the team can give one, so the weakest stands."""
    others = '"exactly-once"' if keys else '"at-most-once", or with keys "exactly-once"'
    return [
        f"# TODO: what do you promise? This is the weakest; stronger: {others}.",
        'promise = "at-least-once"',
    ]


def effect_lines(tool: Seen, /) -> list[str]:
    """Where the effects of a tool might be read, as comments."""
    kind, _, where = tool.match.partition(" ")
    service, _, path = where.partition("/")
    lines = [
        "# TODO: where does it stand what was done? Without a source nobody can say whether an",
        "# action happened twice. One of:",
        f"# {_printable(sql_line(tool.identity))}",
    ]
    if kind == "mcp":
        lines.append(f'# effects = {{ tool = "{service}/…" }}')
    elif kind != "python":
        path = path.partition("/{")[0]
        lines.append(f'# effects = {{ get = "{{services.{service}}}/{path}", path = "…" }}')
    return [*lines, '# effects = { command = ["…"] }  # prints one JSON object a line']


def sql_line(identity: Sequence[str], /) -> str:
    """A query for the effects of a tool, as far as it can be known from outside.

    >>> sql_line(["body.order_id"])
    'effects = { sql = "select id, order_id from …", database = "…" }'
    """
    columns = ", ".join(["id", *(path.rpartition(".")[2] for path in identity or ["…"])])
    asked = f"{columns} from …"
    return f'effects = {{ sql = "select {asked}", database = "…" }}'
