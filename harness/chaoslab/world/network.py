"""Plain requests to the outside: a few known hosts, and a ledger of everything but reads."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from chaoslab.history import Recorder
from chaoslab.world.api import NetworkReply
from chaoslab.world.errors import BadRequest, ConnectionRefused
from chaoslab.world.request import Caller

KNOWN_HOSTS: Mapping[str, bytes] = {
    "kb.example": b'{"article":"Broken goods are refunded or replaced."}',
}


class NetworkService:
    """Answers for the hosts that exist; nobody listens anywhere else."""

    def __init__(self, recorder: Recorder, hosts: Mapping[str, bytes] = KNOWN_HOSTS) -> None:
        self._recorder = recorder
        self._hosts = hosts

    def apply(self, caller: Caller, method: str, url: str, body: bytes) -> NetworkReply:
        """One request. `ConnectionRefused` for a host that is not there."""
        try:
            host = urlsplit(url).hostname
        except ValueError as error:
            raise BadRequest(f"no URL: {url!r}") from error
        if host is None or host not in self._hosts:
            raise ConnectionRefused(f"nobody listens at {host}")
        if method.upper() in ("GET", "HEAD"):
            return NetworkReply(status=200, body=self._hosts[host])
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
