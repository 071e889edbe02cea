"""An interpreter that has imported the package already, from which each command is forked.

Hundreds of commands are tried, and importing takes longer than most of what they do. A fork is a
process of its own all the same, with the folder, the environment and the output that it is given;
what a fresh interpreter would do otherwise is tried where processes are started by hand.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

_LOADED = ("chaoslab.cli.entry", "chaoslab.cli.sweep", "chaoslab.cli.stress")


class Forks:
    """The parent of all commands of one test process."""

    def __init__(self, env: Mapping[str, str]) -> None:
        command = [sys.executable, str(Path(__file__))]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=dict(env), stdin=pipe, stdout=pipe)
        self._answer()

    def run(
        self, arguments: tuple[str, ...], cwd: Path, env: Mapping[str, str], timeout: int
    ) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        with tempfile.TemporaryDirectory() as name:
            out, err = Path(name, "out"), Path(name, "err")
            asked = {"argv": arguments, "cwd": str(cwd), "env": dict(env), "timeout": timeout}
            asked |= {"out": str(out), "err": str(err)}
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()
            code = self._answer()["code"]
            said, complained = out.read_text("utf-8"), err.read_text("utf-8")
        if code is None:
            raise subprocess.TimeoutExpired(list(arguments), timeout, said, complained)
        return subprocess.CompletedProcess(["chaoslab", *arguments], code, said, complained)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Ends the parent."""
        self._process.communicate()


def _serve() -> None:
    for name in _LOADED:
        import_module(name)
    _tell({})
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(asked)
        _tell({"code": _end_of(pid, asked["timeout"])})


def _tell(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _end_of(pid: int, timeout: int) -> int | None:
    """The exit code; None where it had to be ended."""

    def late(number: int, frame: object) -> None:
        os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, late)
    signal.alarm(timeout)
    _, status = os.waitpid(pid, 0)
    left = signal.alarm(0)
    return os.waitstatus_to_exitcode(status) if left else None


def _become(asked: Mapping[str, Any]) -> None:
    """This process is the command from here on."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), descriptor)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
    sys.argv = ["chaoslab", *asked["argv"]]
    sys.path[0] = asked["cwd"]
    try:
        code = import_module("chaoslab.cli").main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
