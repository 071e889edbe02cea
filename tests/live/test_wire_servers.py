"""Where servers come from, and how they end: with their block, with their starter, by hand."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.live.wires import LONG_S, wired
from tests.require import need

from chaoslab.core.errors import ChaosError, LabError, UsageError
from chaoslab.links.client import Links
from chaoslab.links.servers import at, embedded, original, stand

HARNESS = Path(__file__).resolve().parents[2] / "harness"
ENV = {**os.environ, "PYTHONPATH": str(HARNESS)}
KINDS = pytest.mark.parametrize("kind", ["embedded", "original"])


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + LONG_S
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return true()


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


@KINDS
def test_a_server_ends_with_its_block(kind: str) -> None:
    if kind == "original":
        need("toxiproxy")
    with pytest.raises(ZeroDivisionError), stand(kind) as links:
        line = links.create("a", "127.0.0.1:1")
        address = links.address
        assert listens(address) and listens(line.address)
        raise ZeroDivisionError
    assert not listens(address) and not listens(line.address)


HOLDER = """
import sys, threading
from chaoslab.links.servers import stand
found = {}
def enters():
    found["server"] = stand(sys.argv[1])
    sys.stdout.write(found["server"].__enter__().address + "\\n")
starter = threading.Thread(target=enters)
starter.start()
starter.join()
sys.stdout.flush()
sys.stdin.read()
"""


@KINDS
def test_a_server_ends_with_the_process_that_started_it_and_not_with_its_thread(kind: str) -> None:
    if kind == "original":
        need("toxiproxy")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENV,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        address = holder.stdout.readline().strip()
        time.sleep(0.2)  # the thread has ended; were the server tied to it, it would end now
        assert listens(address)
        holder.send_signal(signal.SIGKILL)
        assert until(lambda: not listens(address))


def test_two_servers_at_the_same_time_from_several_threads() -> None:
    wrong: list[BaseException] = []

    def works(links: Links, name: str) -> None:
        try:
            for n in range(5):
                with wired(links, f"{name}-{n}") as wire:
                    wire.line.add("latency", latency=n)
                    assert wire.line.toxics()["latency_downstream"]["attributes"]["latency"] == n
        except BaseException as error:
            wrong.append(error)

    with embedded() as one, embedded() as two:
        threads = [
            threading.Thread(target=works, args=(links, name))
            for links, name in ((one, "one"), (two, "two"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG_S)
        assert not wrong
        assert not names(one) and not names(two)


def names(links: Links) -> list[str]:
    return sorted(links.say(lambda library: library.Toxiproxy().proxies()))


def test_of_a_server_that_runs_only_what_is_ours_is_touched() -> None:
    with embedded() as theirs:
        before = theirs.create("theirs", "127.0.0.1:1")
        before.add("latency", latency=1)
        before.cut()
        with at(f"http://{theirs.address}") as ours:
            line = ours.create("ours", "127.0.0.1:1")
            line.add("latency", latency=1)
            line.cut()
            ours.reset()
            assert line.toxics() == {} and listens(line.address)
            assert names(theirs) == ["ours", "theirs"]
            with pytest.raises(LabError, match="already exists"):
                ours.create("theirs", "127.0.0.1:1")
        assert names(theirs) == ["theirs"]
        assert list(before.toxics()) == ["latency_downstream"] and not listens(before.address)


def test_what_is_wrong_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(LabError, match="does not answer"), at(nobody):
        pass
    with pytest.raises(UsageError, match="not there"), original("no-such-program"):
        pass
    with pytest.raises(LabError, match="did not start"), original(sys.executable):
        pass
    with embedded() as links:
        line = links.create("a", "127.0.0.1:1")
        for wrong, words in (
            (lambda: links.create("a/b", "127.0.0.1:1"), "cannot stand in an address"),
            (lambda: links.create("b", "127.0.0.1:1", links.address), "500: listen tcp .* in use"),
            (lambda: links.create("b", ""), "400: missing required field: upstream"),
            (lambda: line.add("sand"), "no such toxic: got 'sand'"),
            (lambda: line.add("latency", latency_ms=5), "no such attribute.*allowed: latency, j"),
            (lambda: line.add("latency", stream="up"), "no such stream"),
            (lambda: line.remove("x"), "404: toxic not found"),
        ):
            with pytest.raises(ChaosError, match=words):
                wrong()
        assert line.toxics() == {}


def test_a_server_that_hangs_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        links = Links(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2)
        with pytest.raises(LabError, match=r"does not answer \(ReadTimeout\)"):
            links.version()


def test_the_environment_s_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with embedded() as links:
        assert "chaoslab" in links.version()


def descriptors(links: Links) -> int:
    """Of the server's process, which is found by the port on which it listens."""
    _, _, port = links.address.rpartition(":")
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = (row[9] for row in table if row[1].endswith(f":{int(port):04X}") and row[3] == "0A")
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            targets = [os.readlink(one) for one in folder.iterdir()]
            if f"socket:[{inode}]" in targets:
                return len(targets)
    raise AssertionError("nobody listens there")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_connection_leaves_anything_however_it_ends() -> None:
    with embedded() as links:
        links.version()
        assert until(lambda: descriptors(links) < 20)
        before = descriptors(links)
        for toxics in ENDINGS:
            with wired(links) as wire:
                for type, numbers in toxics:
                    for stream in ("upstream", "downstream"):
                        wire.line.add(type, stream=stream, **numbers)
                for n in range(8):
                    client, served = wire.both()
                    sockets = [client, served] if n % 2 else [served, client]
                    if n % 4 < 2:
                        sockets[0].sendall(bytes(1000))
                    if n % 3 == 0:
                        sockets[0].shutdown(socket.SHUT_WR)
                    if n < 4:
                        linger = struct.pack("ii", 1, 0)
                        sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    if n < 6:
                        for sock in sockets:
                            sock.close()
                wire.stack.close()
                # Where nothing passes the end does not either, until somebody lets it.
                if toxics != [("bandwidth", {"rate": 0})]:
                    assert until(lambda: descriptors(links) <= before + 1), toxics
        assert until(lambda: descriptors(links) <= before)


ENDINGS: list[list[tuple[str, dict[str, Any]]]] = [
    [],
    [("latency", {"latency": 5})],
    [("bandwidth", {"rate": 0})],
    [("timeout", {"timeout": 5})],
    [("timeout", {"timeout": 0})],
    [("reset_peer", {"timeout": 5})],
    [("limit_data", {"bytes": 10})],
    [("slow_close", {"delay": 5})],
    [("slicer", {"average_size": 9, "delay": 100}), ("latency", {"latency": 5})],
]


def test_more_connections_than_a_process_usually_may_have() -> None:
    few = 'ulimit -S -n 64; exec "$0" -m chaoslab.links'
    with subprocess.Popen(
        ["sh", "-c", few, sys.executable],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENV,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        with wired(Links(f"127.0.0.1:{port}")) as wire:
            for client, served in [wire.both() for _ in range(60)]:
                client.sendall(b"x")
                assert served.recv(1) == b"x"
        process.stdin.close()


@contextmanager
def command(*words: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "chaoslab", "toxiproxy", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENV,
        text=True,
        # Also where whoever started the tests ignores it, as a shell does in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "interrupted; all its proxies are closed"), (signal.SIGTERM, 0, "")],
)
def test_the_command_serves_until_it_is_ended(number: int, code: int, words: str) -> None:
    with command("--port", "0", "--seed", "7") as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)\n", line)
        assert found
        with stand(found[1]) as links:
            assert links.create("a", "127.0.0.1:1").port > 0
            process.send_signal(number)
            assert process.wait(LONG_S) == code
            links.forget(links.lines["a"])
        assert words in process.stderr.read()


def test_the_command_says_what_hinders_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, code, said in (
            (["--port", port], 4, f"address already in use: got '127.0.0.1:{port}'"),
            (["--host", "0.0.0.0"], 2, "loopback only: got '0.0.0.0'"),
            (["--host", "example.com"], 2, "loopback only"),
            (["--port", "65536"], 2, "no such port: got 65536"),
            (["--port", "x"], 2, "got 'x'; allowed: an integer of 0 or more"),
        ):
            with command(*words) as process:
                out, err = process.communicate(timeout=LONG_S)
                assert (process.returncode, out) == (code, "") and said in err


def test_the_embedded_server_says_its_port_and_ends_with_its_input() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "chaoslab.links", "--port", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENV,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        assert listens(f"127.0.0.1:{port}")
        process.stdin.close()
        assert process.wait(LONG_S) == 0
