"""A provider on loopback with scripted answers, for tests: it notes what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]


@dataclass
class FakeProvider:
    """`answer` gives status and body (JSON, or bytes as they are) for a request's body."""

    answer: Callable[[Mapping[str, Any]], Reply]
    url: str = ""
    bodies: list[Mapping[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


def said(text: str) -> Reply:
    """An answer in words."""
    message = {"role": "assistant", "content": text}
    return 200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


def called(name: str, args: Mapping[str, Any], id: str) -> Reply:
    """An answer that asks for a tool."""
    made = {"name": name, "arguments": json.dumps(args)}
    call = {"id": id, "type": "function", "function": made}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return 200, {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}


@contextmanager
def provider(answer: Callable[[Mapping[str, Any]], Reply]) -> Iterator[FakeProvider]:
    """Serves until the block ends."""
    fake = FakeProvider(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.bodies.append(body)
            fake.headers.append(dict(self.headers.items()))
            fake.paths.append(self.path)
            status, answer = fake.answer(body)
            raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
