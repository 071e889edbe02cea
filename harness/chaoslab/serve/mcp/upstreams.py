"""Connections to the team's own MCP servers, over streamable HTTP or standard input and output.

A server that speaks over pipes is a child of the lab: started at the first call, once for the
whole execution, in a process group of its own, so that `close` leaves nothing of it behind. One
that speaks HTTP gets a connection for each process of the agent, as it would have had without
the lab: a session of the server's is never shared by two lives of an agent.

Results are handed on as they came; nothing is judged, completed or tried again here.

>>> upstreams = Upstreams({"crm": Upstream(name="crm", mcp="http://crm.example/mcp")})
>>> asyncio.run(upstreams.list("crm"))
Traceback (most recent call last):
...
chaoslab.core.errors.UsageError: the lab contacts nothing beyond this machine unasked: ...
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import IO, Any, Final, TypeVar

import anyio
import httpx2
import mcp_types as types
from mcp.client import Client
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter

from chaoslab.contract.target import Upstream
from chaoslab.core.errors import UsageError
from chaoslab.serve.loopback import check_address

T = TypeVar("T")

LINE_BYTES_MAX: Final = 16 << 20
PAGES_MAX: Final = 100
GRACE_MS: Final = 1_000
# What a child of the lab needs of the lab's own environment.
INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "SHELL", "SYSTEMROOT")
_ENDED: Final = ("Connection closed", "Session terminated")
# Results as they came: the package's own types would drop what they do not know.
_RAW: Final[Any] = TypeAdapter(dict[str, Any])
_headers: ContextVar[Mapping[str, str]] = ContextVar("headers", default={})  # noqa: B039


class Unreachable(Exception):
    """The request was never sent: there is no connection to the server."""


class Lost(Exception):
    """The connection ended while an answer was awaited."""


class Upstreams:
    """The servers of one execution. `environ` and `cwd` are for children, `stderr` is where they
    complain, `timeout_s` how long a server may take for a reply."""

    def __init__(
        self,
        services: Mapping[str, Upstream],
        /,
        *,
        environ: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stderr: int | IO[bytes] = asyncio.subprocess.DEVNULL,
        timeout_s: float = 30.0,
    ) -> None:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._services = dict(services)
        self._environ = dict(environ) if environ is not None else inherited
        self._cwd = cwd
        self._stderr = stderr
        self._timeout_s = timeout_s
        self._links: dict[tuple[str, str], asyncio.Task[_Link]] = {}
        self._children: dict[str, asyncio.subprocess.Process] = {}

    @property
    def pids(self) -> Mapping[str, int]:
        """The children by service; each leads a process group of the same number."""
        return {service: child.pid for service, child in self._children.items()}

    async def call(
        self,
        service: str,
        tool: str,
        args: Mapping[str, Any],
        meta: Mapping[str, Any],
        /,
        *,
        process: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The result of a tool as it came. MCPError for a JSON-RPC error, `Unreachable` and
        `Lost` as they say."""
        link = await self._link(service, process)
        request = types.CallToolRequest.model_validate(
            {"params": {"name": tool, "arguments": dict(args), "_meta": dict(meta)}}, by_name=False
        )
        token = _headers.set(dict(headers or {}))
        try:
            return await link.ask(lambda session: session.send_request(request, _RAW))
        finally:
            _headers.reset(token)

    async def list(self, service: str, /, *, process: str = "") -> list[dict[str, Any]]:
        """All tools of a server as they came; errors as for `call`."""
        link = await self._link(service, process)
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            request = types.ListToolsRequest(params=types.PaginatedRequestParams(cursor=cursor))
            page = await link.ask(_asking(request))
            found += page.get("tools", [])
            cursor = page.get("nextCursor")
            if not cursor:
                break
        return found

    async def close(self) -> None:
        """Ends all connections, and every process of the children's groups."""
        links, self._links = list(self._links.values()), {}
        for opening in links:
            if not opening.done():
                opening.cancel()
        for opened in await asyncio.gather(*links, return_exceptions=True):
            if isinstance(opened, _Link):
                await opened.close()
        children, self._children = list(self._children.values()), {}
        for child in children:
            await _end(child)

    async def _link(self, service: str, process: str) -> _Link:
        """The living connection to a service, opened where there is none."""
        upstream = self._services.get(service)
        if upstream is None or not (upstream.mcp or upstream.mcp_command):
            raise UsageError(
                "no such MCP service",
                value=service,
                allowed=", ".join(n for n, u in self._services.items() if u.mcp or u.mcp_command)
                or "none is declared",
                hint=f'add [services.{service}] with mcp = "http://127.0.0.1:PORT/mcp" '
                'or mcp = ["command", "argument"]',
            )
        at = (service, process if upstream.mcp else "")
        opening = self._links.get(at)
        if opening is None or (opening.done() and not _alive(opening)):
            if not upstream.mcp and service in self._children:
                raise Unreachable(f"the MCP server {service!r} has ended")
            opening = self._links[at] = asyncio.create_task(self._open(upstream))
        # Whoever gives up does not end the opening: the next call finds it done.
        return await asyncio.shield(opening)

    async def _open(self, upstream: Upstream) -> _Link:
        if upstream.mcp:
            check_address(upstream.mcp, upstream.hosts)
            transport: Any = _over_http(upstream.mcp, self._timeout_s)
        else:
            child = self._children[upstream.name] = await self._start(upstream)
            transport = _over_pipes(child)
        link = _Link(Client(transport, read_timeout_seconds=self._timeout_s, cache=None))
        await link.open(upstream.name, self._timeout_s)
        return link

    async def _start(self, upstream: Upstream) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *upstream.mcp_command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=self._stderr,
                env={**self._environ, **upstream.env},
                cwd=self._cwd,
                limit=LINE_BYTES_MAX,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise UsageError(
                f"the MCP server {upstream.name!r} cannot be started ({error})",
                value=list(upstream.mcp_command),
                allowed="a command that can be run",
                hint="try it by hand",
            ) from None


class _Link:
    """One connection, held open by a task of its own, since the package ties a connection to the
    task that opened it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stop = asyncio.Event()
        self._opened = asyncio.Event()
        self._holding: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return self._holding is not None and not self._holding.done()

    async def open(self, service: str, timeout_s: float) -> None:
        """Connects. `Unreachable` where that fails."""
        holding = self._holding = asyncio.create_task(self._hold())
        opened = asyncio.create_task(self._opened.wait())
        try:
            await asyncio.wait(
                {holding, opened}, return_when=asyncio.FIRST_COMPLETED, timeout=timeout_s
            )
            if self._opened.is_set():
                return
            why = _why(holding) if holding.done() else f"no answer within {timeout_s} s"
        finally:
            opened.cancel()
            if not self._opened.is_set():
                holding.cancel()
                await asyncio.wait({holding})
        raise Unreachable(f"the MCP server {service!r} cannot be reached: {why}")

    async def ask(self, asking: Callable[[ClientSession], Awaitable[T]]) -> T:
        """One request; `Lost` where the connection ends first."""
        assert self._holding is not None, "opened before it is used"
        sending = asyncio.ensure_future(asking(self._client.session))
        try:
            await asyncio.wait({sending, self._holding}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not sending.cancelled():
                return sending.result()
        except MCPError as error:
            if error.message not in _ENDED:
                raise
            # What the package says for the server, once its connection is of no more use.
            await self.close()
        finally:
            sending.cancel()
        raise Lost(f"the connection to the MCP server ended: {_why(self._holding)}")

    async def close(self) -> None:
        """Ends the connection, whatever state it is in."""
        self._stop.set()
        if self._holding is not None:
            await asyncio.wait({self._holding})
            _why(self._holding)

    async def _hold(self) -> None:
        async with self._client as client:
            if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
                # Tells the package which arguments this server wants to see in headers.
                with suppress(MCPError):
                    await client.list_tools()
            self._opened.set()
            await self._stop.wait()


def _asking(
    request: types.ListToolsRequest,
) -> Callable[[ClientSession], Awaitable[dict[str, Any]]]:
    return lambda session: session.send_request(request, _RAW)


def _alive(opening: asyncio.Task[_Link]) -> bool:
    return not opening.cancelled() and opening.exception() is None and opening.result().alive


def _why(task: asyncio.Task[Any]) -> str:
    """The innermost reason why a connection ended."""
    if not task.done() or task.cancelled():
        return "it was closed"
    error = task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__} {error}".strip() if error is not None else "it was closed"


@asynccontextmanager
async def _over_http(url: str, timeout_s: float) -> AsyncIterator[Any]:
    """Streamable HTTP, past any proxy that the environment names, with the caller's headers."""

    async def add(request: httpx2.Request) -> None:
        for name, value in _headers.get().items():
            request.headers[name] = value

    async with (
        httpx2.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(timeout_s),
            event_hooks={"request": [add]},
        ) as client,
        streamable_http_client(url, http_client=client) as streams,
    ):
        yield streams


@asynccontextmanager
async def _over_pipes(child: asyncio.subprocess.Process) -> AsyncIterator[Any]:
    """One JSON-RPC message per line. Ends with the child's output; the child itself is not ours."""
    said, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, to_say = anyio.create_memory_object_stream[SessionMessage](0)
    assert child.stdin is not None and child.stdout is not None, "started with pipes"
    stdin, stdout = child.stdin, child.stdout

    async def read() -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with said:
                while line := await stdout.readline():
                    if line.strip():
                        await said.send(_parsed(line))
        tasks.cancel_scope.cancel()

    async def write() -> None:
        with suppress(OSError):
            async with to_say:
                async for one in to_say:
                    text = one.message.model_dump_json(by_alias=True, exclude_unset=True)
                    stdin.write(text.encode() + b"\n")
                    await stdin.drain()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(write)
        yield incoming, outgoing
        tasks.cancel_scope.cancel()


def _parsed(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _end(child: asyncio.subprocess.Process) -> None:
    """Closes a child's input, which asks it to end, and then kills what is left of its group."""
    if child.stdin is not None:
        child.stdin.close()
    await _ended(child)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    await _ended(child)
    # Whoever left the group may still hold the pipe: it is closed from this side, unread.
    child._transport.close()  # type: ignore[attr-defined]


async def _ended(child: asyncio.subprocess.Process) -> None:
    """Waits for a child, not for its pipes, which others may have inherited: so no `wait()`."""
    for _ in range(GRACE_MS // 10):
        if child.returncode is not None:
            return
        await asyncio.sleep(0.01)
