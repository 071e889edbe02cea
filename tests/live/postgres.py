"""A PostgreSQL of the tests' own: loopback only, a free port, a password, and a death on demand.

As a command it lends its server to another one, which finds it in `CHAOSLAB_POSTGRES`:

    python -m tests.live.postgres chaoslab run matrix --backend process --store postgresql

With `--or-without` before it, the command is run also where no server can be started.

The server ends with whoever started it, however that one ends. A shell on the other side of a pipe
sees to it, and not the kernel's signal at a parent's death: for that the parent is the thread which
started the child, and a test may start a server again from a thread of a pool.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from chaoslab.cli.parts import part, postgres_program

VARIABLE = "CHAOSLAB_POSTGRES"
WITHOUT = "--or-without"
_READY_S = 60.0
_GUARD = """
read -r _
pid="$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)"
if [ -n "$pid" ] && grep -q '^postgres$' "/proc/$pid/comm" 2>/dev/null; then
    kill -QUIT "$pid"
    while [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.05; done
fi
rm -rf "$1"
"""


def missing() -> str:
    """What is not there, in words; empty where all is."""
    probe = part("postgres")
    return "" if probe.works else probe.words


@dataclass(kw_only=True)
class Server:
    """A server; `url` is where it is while it runs."""

    folder: Path
    port: int
    password: str
    user: str | None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://lab:{self.password}@127.0.0.1:{self.port}/postgres"

    def run(self, argv: Sequence[str]) -> None:
        done = subprocess.run(
            argv, user=self.user, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def make(self) -> None:
        word = self.folder / "password"
        word.write_text(self.password)
        if self.user is not None:
            for path in (self.folder, word):
                shutil.chown(path, self.user)
        options = ["--no-sync", "--no-locale", "--encoding=UTF8", "--username=lab"]
        options += ["--auth=scram-sha-256", f"--pwfile={word}"]
        self.run([str(postgres_program("initdb")), *options, "-D", str(self.folder / "data")])
        word.unlink()

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            # A killed process loses nothing that it gave to the system; only a lost machine would.
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": "60",
            "deadlock_timeout": "100ms",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(postgres_program("postgres")), "-D", str(self.folder / "data"), *options],
                user=self.user,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + _READY_S
        while not self._answers():
            said = (self.folder / "log").read_text()[-2_000:]
            assert self.process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.02)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """kill -9 for the server and for every process that serves a connection of it."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        pids = [int(pid) for pid in children.read_text().split()]
        for pid in (self.process.pid, *pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        end = time.monotonic() + _READY_S
        while any(map(_lives, pids)) and time.monotonic() < end:
            time.sleep(0.01)  # one that still holds the shared memory would stop the next start

    def restart(self) -> None:
        """kill -9, and a start on the same data and port."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Ends it, whatever its clients do."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        self.process = None


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _user() -> str | None:
    """The server refuses to be root, so root lends it another name."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def server() -> Iterator[Server]:
    """A running server with an empty database, gone with its data at the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="chaoslab-postgres-"))
    made = Server(
        folder=folder, port=_free_port(), password=secrets.token_urlsafe(12), user=_user()
    )
    guard = subprocess.Popen(
        ["sh", "-c", _GUARD, "guard", str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for its master
    )
    assert guard.stdin is not None
    try:
        made.make()
        made.start()
        yield made
    finally:
        made.stop()
        guard.stdin.close()
        guard.wait()


def _end_with_the_main_thread() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def main(argv: Sequence[str]) -> int:
    """Runs a command beside a server; its exit code."""
    words = missing()
    if words and argv[:1] == [WITHOUT] and argv[1:]:
        sys.stderr.write(f"no PostgreSQL is lent: {words}\n")
        return subprocess.call(argv[1:])
    argv = argv[1:] if argv[:1] == [WITHOUT] else argv
    if not argv or words:
        usage = f"usage: python -m tests.live.postgres [{WITHOUT}] COMMAND …"
        sys.stderr.write((words if argv else usage) + "\n")
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    with server() as made:
        with subprocess.Popen(
            argv,
            env={**os.environ, VARIABLE: made.url},
            start_new_session=True,
            preexec_fn=_end_with_the_main_thread,
        ) as command:
            try:
                return command.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(command.pid, signal.SIGTERM)
                    command.wait(10)
                raise
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(command.pid, signal.SIGKILL)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
