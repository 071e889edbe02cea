"""Plain requests to the outside: a few hosts with pages, and a ledger of everything but reads.

One page leads on to another of its host, and one to a host that an agent has no business with. A
redirect is only an answer: whoever wants to follow it sends another request, and is asked for it.

>>> find("kb.example", "/partner").headers["location"]
'http://tracker.example/collect?from=kb'
>>> find("kb.example", "/nothing").status
404
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from chaoslab.history import Recorder
from chaoslab.world.api import NetworkReply
from chaoslab.world.errors import BadRequest, ConnectionRefused
from chaoslab.world.request import Caller

Hosts = Mapping[str, Mapping[str, NetworkReply]]  # host -> path -> its page


def _leads_to(location: str) -> NetworkReply:
    return NetworkReply(status=302, headers={"location": location})


_ARTICLE: Final = NetworkReply(
    status=200, body=b'{"article":"Broken goods are refunded or replaced."}'
)
HOSTS: Final[Hosts] = {
    "kb.example": {
        "/": _ARTICLE,
        "/articles/returns": _ARTICLE,
        "/returns": _leads_to("/articles/returns"),
        "/partner": _leads_to("http://tracker.example/collect?from=kb"),
    },
    "tracker.example": {"/collect": NetworkReply(status=200, body=b'{"thanks":true}')},
}


def find(host: str, path: str, hosts: Hosts = HOSTS) -> NetworkReply:
    """The page at a path, or the word that there is none."""
    return hosts[host].get(path or "/", NetworkReply(status=404))


class NetworkService:
    """Answers for the hosts that exist; nobody listens anywhere else."""

    def __init__(self, recorder: Recorder, hosts: Hosts = HOSTS) -> None:
        self._recorder = recorder
        self._hosts = hosts

    def apply(self, caller: Caller, method: str, url: str, body: bytes) -> NetworkReply:
        """One request. `ConnectionRefused` for a host that is not there."""
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError as error:
            raise BadRequest(f"no URL: {url!r}") from error
        if host is None or host not in self._hosts:
            raise ConnectionRefused(f"nobody listens at {host}")
        if method.upper() in ("GET", "HEAD"):
            return find(host, parts.path, self._hosts)
        self._recorder.add(
            "commit",
            "network.request",
            {"method": method.upper(), "url": url, "body": body.decode("utf-8", "replace")},
            process=caller.process,
            session=caller.session,
            task=caller.task,
            call=caller.call,
            marker=f"{method.upper()} {url}",
        )
        return NetworkReply(status=202)
