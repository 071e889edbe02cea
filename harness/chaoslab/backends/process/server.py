"""The lab's HTTP face on a free port of loopback, for the time of one execution."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn

from chaoslab.backends.process.lab import LiveLab
from chaoslab.serve.app import App, Protocol
from chaoslab.serve.handlers import handlers


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(lab: LiveLab, servers: Any) -> AsyncIterator[str]:
    """Serves until the block ends; its address."""
    config = uvicorn.Config(
        App(lab, handlers(servers)),
        host="127.0.0.1",
        port=0,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await asyncio.wait({task}, timeout=3)
        task.cancel()
