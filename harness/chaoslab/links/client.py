"""What the lab says to a Toxiproxy server, through `toxiproxy-python` alone.

That library keeps the server's address in a class, so that a process could speak to one server
only; it waits for ever, obeys the proxies of the environment, and has no word for an error of the
server but `KeyError`. Here each call holds a lock while the library is pointed at its server and
given a door of ours to the network, so that several servers can be spoken to, from any thread, and
whatever goes wrong is said in words.

    links = Links("127.0.0.1:8474")
    line = links.create("orders", "127.0.0.1:5432")   # connect to line.address instead
    line.add("latency", latency=80, jitter=20)
    line.cut()
"""

from __future__ import annotations

import json as json_
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from chaoslab.core.errors import LabError, UsageError
from chaoslab.links.model import ATTRIBUTES, STREAMS

T = TypeVar("T")

_TIMEOUT_S: Final = 10.0
_NAME: Final = re.compile(r"[\w.:@+-]{1,200}", re.ASCII)
_one_at_a_time: Final = threading.RLock()


def address_of(url: str, /) -> str:
    """`host:port` of `http://host:port` or of `host:port`.

    >>> address_of("http://127.0.0.1:8474/")
    '127.0.0.1:8474'
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or not parts.hostname or not port or parts.path.strip("/"):
        raise UsageError(
            "this is no address of a Toxiproxy server",
            value=url,
            allowed="http://HOST:PORT",
            hint="name the one on which its interface listens, such as http://127.0.0.1:8474",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port}"


class _Door:
    """What the library takes for the package `requests`, while it speaks for us."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._address, self._timeout_s = address, timeout_s

    def get(self, **what: Any) -> Any:
        return self._send("GET", **what)

    def post(self, **what: Any) -> Any:
        return self._send("POST", **what)

    def delete(self, **what: Any) -> Any:
        return self._send("DELETE", **what)

    def _send(self, method: str, **what: Any) -> Any:
        import requests  # noqa: PLC0415

        try:
            with requests.Session() as session:
                session.trust_env = False  # a proxy of the environment is not for loopback
                answer = session.request(method, timeout=self._timeout_s, **what)
        except requests.RequestException as error:
            raise LabError(
                f"the Toxiproxy server does not answer ({type(error).__name__})",
                value=f"http://{self._address}",
                hint="see whether it still runs",
            ) from None
        if answer.status_code >= 300 and answer.status_code not in (400, 404, 409):
            raise _refused(answer.content, answer.status_code, self._address)
        return answer


def _refused(content: bytes, status: int, address: str) -> LabError:
    try:
        words = str(json_.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        words = content[:200].decode("utf-8", "replace").strip() or "no words"
    return LabError(
        f"the Toxiproxy server refuses with {status}: {words}", value=f"http://{address}"
    )


@contextmanager
def _speaking(address: str, timeout_s: float) -> Iterator[Any]:
    """The library, pointed at a server, for nobody else until the block ends."""
    try:
        import toxiproxy  # noqa: PLC0415
        from toxiproxy import api, exceptions  # noqa: PLC0415
    except ImportError:
        raise UsageError(
            "faults on links are driven through toxiproxy-python, which is not installed",
            hint="pip install 'chaoslab[real]'",
        ) from None
    host, _, port = address.rpartition(":")
    consumer = api.APIConsumer
    with _one_at_a_time:
        before = consumer.host, consumer.port, api.requests
        consumer.host, consumer.port = host, int(port)
        api.requests = _Door(address, timeout_s)
        try:
            yield toxiproxy
        except (exceptions.NotFound, exceptions.InvalidToxic, exceptions.ProxyExists) as error:
            status = {"NotFound": 404, "InvalidToxic": 400}.get(type(error).__name__, 409)
            content = error.args[0] if error.args else b""
            raw = content if isinstance(content, bytes) else str(content).encode()
            raise _refused(raw, status, address) from None
        except (KeyError, TypeError, ValueError) as error:
            raise LabError(
                f"what answers is no Toxiproxy server ({type(error).__name__})",
                value=f"http://{address}",
                hint="see what listens there",
            ) from None
        finally:
            consumer.host, consumer.port, api.requests = before


class Line:
    """One proxy: whoever connects to `address` reaches `upstream`, as long as it is let."""

    def __init__(self, links: Links, proxy: Any) -> None:
        self._links, self._proxy = links, proxy
        self.name: str = proxy.name
        self.upstream: str = proxy.upstream
        self.address: str = proxy.listen

    @property
    def host(self) -> str:
        """The host to connect to."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to connect to."""
        return int(self.address.rpartition(":")[2])

    def add(
        self,
        type: str,
        *,
        stream: str = "downstream",
        toxicity: float = 1.0,
        name: str = "",
        **attributes: int,
    ) -> str:
        """Adds a toxic, on open connections as well; its name."""
        _check(type, stream, attributes)
        name = name or f"{type}_{stream}"
        _check_name(name)
        self._links.say(
            lambda library: self._proxy.add_toxic(
                type=type, stream=stream, toxicity=toxicity, name=name, attributes=attributes
            )
        )
        return name

    def change(self, name: str, *, toxicity: float | None = None, **attributes: int) -> None:
        """Changes a toxic: what is not said stays."""
        body: dict[str, Any] = {"attributes": attributes}
        if toxicity is not None:
            body["toxicity"] = toxicity
        path = f"/proxies/{self.name}/toxics/{name}"
        self._links.say(lambda library: library.api.APIConsumer.post(path, json=body))

    def remove(self, name: str) -> None:
        """Takes a toxic away."""
        self._links.say(lambda library: self._proxy.destroy_toxic(name))

    def toxics(self) -> Mapping[str, Mapping[str, Any]]:
        """The toxics by name, each with type, stream, toxicity and attributes."""
        found = self._links.say(lambda library: self._proxy.toxics())
        return {
            name: {
                "type": toxic.type,
                "stream": toxic.stream,
                "toxicity": toxic.toxicity,
                "attributes": toxic.attributes,
            }
            for name, toxic in found.items()
        }

    def cut(self) -> None:
        """Open connections end, and new ones are refused."""
        self._links.say(lambda library: self._proxy.disable())

    def mend(self) -> None:
        """It listens again, at the same address."""
        self._links.say(lambda library: self._proxy.enable())

    def delete(self) -> None:
        """Ends it for good."""
        self._links.say(lambda library: self._proxy.destroy())
        self._links.forget(self)


def _check(type: str, stream: str, attributes: Mapping[str, int]) -> None:
    if type not in ATTRIBUTES:
        raise UsageError("there is no such toxic", value=type, allowed=", ".join(ATTRIBUTES))
    if stream not in STREAMS:
        raise UsageError("there is no such stream", value=stream, allowed=", ".join(STREAMS))
    # The server would take an unknown attribute without a word, and do nothing.
    for name in attributes:
        if name not in ATTRIBUTES[type][2]:
            raise UsageError(
                f"the toxic {type} has no such attribute",
                value=name,
                allowed=", ".join(ATTRIBUTES[type][2]) or "none",
            )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            "this name cannot stand in an address",
            value=name,
            allowed="letters, digits and . _ : @ + -",
        )


class Links:
    """A Toxiproxy server, by its address. `shared`: others use it too, so only lines that were
    made here are ever touched."""

    def __init__(
        self, address: str, *, timeout_s: float = _TIMEOUT_S, shared: bool = False
    ) -> None:
        self.address = address_of(address)
        self._timeout_s, self._shared = timeout_s, shared
        self._lines: dict[str, Line] = {}

    def say(self, what: Callable[[Any], T], /) -> T:
        """Lets the library (which `what` gets) speak to this server."""
        with _speaking(self.address, self._timeout_s) as library:
            return what(library)

    @property
    def lines(self) -> Mapping[str, Line]:
        """The lines that were made here and not deleted, by name."""
        return dict(self._lines)

    def create(self, name: str, upstream: str, listen: str = "127.0.0.1:0") -> Line:
        """Makes a line to a service. With port 0 any free one is taken."""
        _check_name(name)
        made = self.say(
            lambda library: library.Toxiproxy().create(
                upstream=upstream, name=name, listen=listen, enabled=True
            )
        )
        line = Line(self, made)
        self._lines[name] = line
        return line

    def forget(self, line: Line, /) -> None:
        """It was deleted."""
        self._lines.pop(line.name, None)

    def reset(self) -> None:
        """No line is cut and no toxic is left; on a shared server that is so for ours only."""
        if not self._shared:
            self.say(lambda library: library.Toxiproxy().reset())
            return
        for line in self.lines.values():
            line.mend()
            for name in line.toxics():
                line.remove(name)

    def clear(self) -> None:
        """Deletes all lines that were made here."""
        for line in self.lines.values():
            line.delete()

    def version(self) -> str:
        """What the server says of itself. LabError where none answers."""
        answer: bytes = self.say(lambda library: library.api.APIConsumer.get("/version").content)
        return answer.decode("utf-8", "replace").strip()[:200]
