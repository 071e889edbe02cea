"""Proxies and toxics as values, and what the interface accepts of them.

>>> toxic = read_toxic('{"type": "latency", "attributes": {"latency": 80}}')
>>> toxic.name, toxic.stream, dict(toxic.attributes)
('latency_downstream', 'downstream', {'latency': 80, 'jitter': 0})
>>> read_toxic('{"type": "sand"}')
Traceback (most recent call last):
    ...
chaoslab.links.model.Refused: invalid toxic type
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from chaoslab.links.decode import (
    BodyError,
    Members,
    Value,
    fields,
    kind_of,
    members,
    number_text,
    parse,
)

T = TypeVar("T")

# Per type the name that the original gives it in complaints, the type of its numbers, and these.
ATTRIBUTES: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    "noop": ("NoopToxic", "int64", ()),
    "latency": ("LatencyToxic", "int64", ("latency", "jitter")),
    "bandwidth": ("BandwidthToxic", "int64", ("rate",)),
    "slow_close": ("SlowCloseToxic", "int64", ("delay",)),
    "timeout": ("TimeoutToxic", "int64", ("timeout",)),
    "reset_peer": ("ResetToxic", "int64", ("timeout",)),
    "slicer": ("SlicerToxic", "int", ("average_size", "size_variation", "delay")),
    "limit_data": ("LimitDataToxic", "int64", ("bytes",)),
}
STREAMS: Final = ("upstream", "downstream")
_PROXY: Final = {"name": "string", "listen": "string", "upstream": "string", "enabled": "bool"}
_TOXIC: Final = {"name": "string", "type": "string", "stream": "string", "toxicity": "float32"}
_LIST: Final = 'struct { toxiproxy.Proxy; Enabled *bool "json:\\"enabled\\"" }'


class Refused(Exception):
    """A request that is not done, with the status that says so."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A proxy as somebody wants it. `listen` may leave the port to the system with `:0`."""

    name: str
    listen: str
    upstream: str
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Toxic:
    """What is done to one direction of a proxy's connections, and to how many of them.

    `stream` is spelled as it was sent; `direction` is what it means.
    """

    name: str
    type: str
    stream: str
    toxicity: float
    attributes: Mapping[str, int]

    @property
    def direction(self) -> str:
        """`upstream`, from the client to the service, or `downstream`, back from it."""
        return self.stream.lower()


def not_found(what: str, /) -> Refused:
    """There is no such proxy or toxic."""
    return Refused(404, f"{what} not found")


def exists(what: str, /) -> Refused:
    """There is one of that name already."""
    return Refused(409, f"{what} already exists")


def _body(read: Callable[[], T]) -> T:
    """What was read, where the body could be."""
    try:
        return read()
    except BodyError as error:
        raise Refused(400, f"bad request body: {error}") from None


def read_proxy(body: str, /) -> Asked:
    """A proxy to be made."""
    found = _body(
        lambda: fields(
            members(parse(body), into="Go value of type toxiproxy.Proxy"), _PROXY, at="Proxy."
        )
    )
    return _complete(found)


def read_changes(body: str, now: Asked, /) -> Asked:
    """A proxy as it is to be from now on; its name stays."""
    found = _body(
        lambda: fields(
            members(parse(body), into="Go value of type toxiproxy.Proxy"), _PROXY, at="Proxy."
        )
    )
    return replace(
        now,
        listen=str(found.get("listen", now.listen)),
        upstream=str(found.get("upstream", now.upstream)),
        enabled=bool(found.get("enabled", now.enabled)),
    )


def read_proxies(body: str, /) -> Sequence[Asked]:
    """Proxies that are to be there; all are looked at before any is made."""
    value = _body(lambda: parse(body))
    if value is None:
        return ()
    if not isinstance(value, list) or isinstance(value, Members):
        said = kind_of(value)
        words = f"json: cannot unmarshal {said} into Go value of type []{_LIST}"
        raise Refused(400, f"bad request body: {words}")
    read = [_body(lambda one=one: _listed(one)) for one in value]  # type: ignore[misc]
    return [_complete(one, f" at proxy {n}") for n, one in enumerate(read, 1)]


def _listed(value: Value) -> dict[str, str | bool | int | float]:
    found = members(value, into=f"Go value of type {_LIST}")
    enabled = {"enabled": found.pop("enabled")} if "enabled" in found else {}
    named = fields(found, _PROXY, at=".Proxy.")
    return named | fields(enabled, _PROXY, at=".")


def _complete(found: Mapping[str, str | bool | int | float], where: str = "") -> Asked:
    for needed in ("name", "upstream"):
        if not found.get(needed):
            raise Refused(400, f"missing required field: {needed}{where}")
    return Asked(
        name=str(found["name"]),
        listen=str(found.get("listen", "")),
        upstream=str(found["upstream"]),
        enabled=bool(found.get("enabled", True)),
    )


def read_toxic(body: str, /, *, taken: Sequence[str] = ()) -> Toxic:
    """A toxic to be added, where none of its name is there (`taken`)."""
    value = _body(lambda: members(parse(body), into="Go value of type toxics.ToxicWrapper"))
    found = _body(lambda: fields(value, _TOXIC, at="ToxicWrapper."))
    attributes = value.get("attributes")
    _body(
        lambda: members(
            attributes, into="Go struct field ToxicWrapper.attributes of type toxics.NoopToxic"
        )
    )
    type, stream = str(found.get("type", "")), str(found.get("stream", "downstream"))
    if stream.lower() not in STREAMS:
        raise Refused(400, "stream was invalid, can be either upstream or downstream")
    name = str(found.get("name", "")) or f"{type}_{stream}"
    if type not in ATTRIBUTES:
        raise Refused(400, "invalid toxic type")
    if name in taken:
        raise exists("toxic")
    return Toxic(
        name=name,
        type=type,
        stream=stream,
        toxicity=float(found.get("toxicity", 1.0)),
        attributes=dict.fromkeys(ATTRIBUTES[type][2], 0) | _numbers(type, attributes),
    )


def read_toxic_changes(body: str, now: Toxic, /) -> Toxic:
    """A toxic as it is to be from now on: what is not said stays."""
    value = _body(lambda: members(parse(body), into="Go value of type struct"))
    attributes = _numbers(now.type, value.get("attributes"))
    found = _body(lambda: fields(value, {"toxicity": "float32"}, at="."))
    return replace(
        now,
        toxicity=float(found.get("toxicity", now.toxicity)),
        attributes={**now.attributes, **attributes},
    )


def _numbers(type: str, value: Value) -> dict[str, int]:
    go, kind, names = ATTRIBUTES[type]
    found = _body(
        lambda: fields(
            members(value, into=f"Go struct field .attributes of type toxics.{go}"),
            dict.fromkeys(names, kind),
            at=f"{go}.attributes.",
        )
    )
    return {name: int(number) for name, number in found.items()}


def toxic_text(toxic: Toxic, /) -> str:
    """A toxic as the interface spells it."""
    return (
        f'{{"attributes":{encoded(toxic.attributes)},"name":{encoded(toxic.name)},'
        f'"type":{encoded(toxic.type)},"stream":{encoded(toxic.stream)},'
        f'"toxicity":{number_text(toxic.toxicity)}}}'
    )


def proxy_text(proxy: Asked, toxics: Sequence[Toxic], /) -> str:
    """A proxy with its toxics as the interface spells it."""
    shown = {
        "name": proxy.name,
        "listen": proxy.listen,
        "upstream": proxy.upstream,
        "enabled": proxy.enabled,
    }
    return f'{encoded(shown)[:-1]},"toxics":[{",".join(map(toxic_text, toxics))}]}}'


def encoded(value: object, /) -> str:
    """JSON without spaces, and safe to stand inside a web page, as the original writes it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        if sign in text:
            text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
