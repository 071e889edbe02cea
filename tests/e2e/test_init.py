"""`chaoslab init` and `chaoslab doctor --agent`, from an empty folder on."""

from __future__ import annotations

import json
import re
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chaoslab.cli import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]
COMMAND = f'"{sys.executable}" agent.py'
AGENT = '''\
"""Looks an order up and refunds it; run once for each task, with the prompt as its last word."""

import json
import os
import re
import re
import sys
import urllib.request

order = re.search(r"o-[\\w-]+", sys.argv[-1]).group()
base = os.environ["BILLING_URL"]
with urllib.request.urlopen(f"{base}/v1/orders/{order}") as reply:
    owed = json.load(reply)["cents"]
body = json.dumps({"order_id": order, "cents": owed, "why": sys.argv[-1]}).encode()
headers = {"Content-Type": "application/json", "Idempotency-Key": f"refund-{order}"}
urllib.request.urlopen(urllib.request.Request(f"{base}/v1/refunds", body, headers)).close()
print(f"refunded {owed} for {order}")
'''


@pytest.fixture
def chaoslab(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """The command in that folder, in this process: most of a command's time is its start."""
    monkeypatch.chdir(here)

    def run(*arguments: str, **more: str) -> Done:
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return Done(returncode=code, stdout=out, stderr=err)

    return run


class Billing(BaseHTTPRequestHandler):
    """A service of the team's own: answers orders, takes refunds."""

    def do_GET(self) -> None:
        self.say({"cents": 700})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.say({"id": "re_1"})

    def say(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def billing() -> Iterator[str]:
    """The service's address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Billing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_agent_in_python_is_written_and_holds(here: Path, chaoslab: Run) -> None:
    done = chaoslab("init", "--python")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in here.iterdir()) == ["agent.py", "chaoslab.toml"]
    assert "chaoslab run timeout-after-commit --agent agent.py:make_agent" in done.stdout
    agent = ("--agent", "agent.py:make_agent")
    ran = chaoslab("run", "timeout-after-commit", *agent, "--seed", "0")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (run,) = json.loads((here / "reports" / "latest" / "results.json").read_text())["runs"]
    assert run["verdict"] == "valid" and run["contract"] == here.name
    looked = chaoslab("doctor", *agent)
    assert looked.returncode == 0, looked.stderr
    assert "no recover: every task without an outcome is handed out again" in looked.stdout
    assert "refund: 2 times, always with a key" in looked.stdout
    assert "memory.atomic          halves of two versions" in looked.stdout


def test_what_is_there_is_kept(here: Path, chaoslab: Run) -> None:
    (here / "agent.py").write_text("mine")
    for arguments in (("--python",), ("--command", "x")):
        (here / "chaoslab.toml").write_text("mine too")
        done = chaoslab("init", *arguments)
        assert done.returncode == 2
        assert "is there already, and nothing was written" in done.stderr
        assert (here / "chaoslab.toml").read_text() == "mine too"
        assert (here / "agent.py").read_text() == "mine"
        assert chaoslab("init", *arguments, "--force").returncode == 0
        assert tomllib.loads((here / "chaoslab.toml").read_text())["format"] == 1
        (here / "agent.py").write_text("mine")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "allowed: one of --command"),
        (("--python", "--command", "x"), "allowed: one of --command"),
        (("--command", "'"), "--command cannot be split"),
        (("--command", " "), "--command is empty"),
        (("--command", "x", "--submit", "smoke"), "allowed: run, queue, stdin, or the URL"),
        (("--command", "x", "--service", "a"), "a service is given wrongly: got 'a'"),
        (("--command", "x", "--service", "a=https://api.example.com"), "beyond this machine"),
    ],
)
def test_what_is_given_wrongly(
    here: Path, chaoslab: Run, arguments: tuple[str, ...], said: str
) -> None:
    done = chaoslab("init", *arguments)
    assert done.returncode == 2 and said in done.stderr, done.stderr
    assert list(here.iterdir()) == []


def test_services_come_from_the_environment(here: Path, chaoslab: Run) -> None:
    done = chaoslab(
        "init", "--command", "node agent.js", "--submit", "http://127.0.0.1:{port}/tasks",
        CRM_URL="http://127.0.0.1:9001/mcp", AWAY_URL="https://api.example.com",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    raw = tomllib.loads((here / "chaoslab.toml").read_text())
    assert raw["services"]["crm"] == {"mcp": "http://127.0.0.1:9001/mcp"}
    assert "AWAY_URL" not in raw["agent"]["env"]
    assert raw["agent"]["env"]["CRM_URL"] == "{services.crm}"
    assert raw["agent"]["command"] == ["node", "agent.js"]
    assert raw["agent"]["submit"] == {"post": "http://127.0.0.1:{port}/tasks"}


def test_one_run_writes_the_tools_and_the_doctor_adds_the_rest(
    here: Path, chaoslab: Run, billing: str
) -> None:
    pytest.importorskip("uvicorn")
    (here / "agent.py").write_text(AGENT)
    done = chaoslab("init", "--command", COMMAND, "--discover", BILLING_URL=billing)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "POST billing/v1/refunds: 2 times, [tools.refund]" in done.stdout
    assert "GET billing/v1/orders/{id}: 2 times, only reads" in done.stdout
    path = here / "chaoslab.toml"
    raw = tomllib.loads(path.read_text())
    assert raw["tools"] == {
        "refund": {
            "match": "POST billing/v1/refunds",
            "identity_fields": ["body.order_id"],
            "promise": "at-least-once",
        }
    }

    looked = chaoslab("doctor", "--agent", "chaoslab.toml")
    assert looked.returncode == 0, looked.stdout + looked.stderr
    for line in (
        "tasks reach it each as a process of its own",
        "2 of 2 tasks ended: 2 completed",
        "refund: 2 times, always with a key, nobody says where its effects stand",
        "the lab's model: never asked",
        "effects.delivery       no action happens twice, and none that is claimed is missing: "
        "nobody says where the effects of refund stand",
        'keys = { header = "Idempotency-Key" }',
        'effects = { sql = "select id, order_id from …", database = "…" }',
    ):
        assert line in looked.stdout, line


def test_an_agent_that_does_not_start_is_told_and_the_file_stays(here: Path, chaoslab: Run) -> None:
    pytest.importorskip("uvicorn")
    (here / "agent.py").write_text("raise SystemExit('no BILLING_URL')")
    done = chaoslab("init", "--command", COMMAND, "--submit", "queue", "--discover")
    assert done.returncode == 4
    assert "chaoslab.toml is written, but nothing could be discovered" in done.stderr
    assert "no BILLING_URL" in done.stderr


def test_an_agent_that_does_not_get_through_is_told_with_what_is_known(
    chaoslab: Run, bad_agent: Callable[[str], str]
) -> None:
    agent = bad_agent(
        "class Mine(Plain):\n"
        "    async def start(self, world):\n"
        "        raise RuntimeError('no BILLING_URL')\n"
        "def make_agent():\n"
        "    return Mine()\n"
    )
    looked = chaoslab("doctor", "--agent", agent)
    assert looked.returncode == 4
    assert "nothing was run, so what it calls is not known" in looked.stdout
    assert "It could not be run: " in looked.stdout and "no BILLING_URL" in looked.stdout


def test_the_doctor_tells_of_tasks_that_failed(here: Path, chaoslab: Run) -> None:
    (here / "agent.py").write_text("raise SystemExit('no such account')")
    assert chaoslab("init", "--command", "python agent.py").returncode == 0
    looked = chaoslab("doctor", "--agent", "chaoslab.toml")
    assert looked.returncode == 4
    # Which of the two ends first is a matter of timing.
    assert re.search(r"2 failed; s[12]-t1 failed: no such account", looked.stdout), looked.stdout
    assert "2 of its tasks failed without any fault" in looked.stdout


def test_the_doctor_refuses_what_it_cannot_read(here: Path, chaoslab: Run) -> None:
    (here / "chaoslab.toml").write_text('format = 1\n[agent]\ncomand = "x"\n')
    done = chaoslab("doctor", "--agent", "chaoslab.toml")
    assert done.returncode == 2 and "did you mean command?" in done.stderr
    (here / "chaoslab.toml").write_text("format = 1\n")
    done = chaoslab("doctor", "--agent", "chaoslab.toml", "--contract", "x.toml")
    assert done.returncode == 2 and "a file that is a contract itself" in done.stderr
    done = chaoslab("doctor", "--agent", "chaoslab.toml")
    assert done.returncode == 2 and "names no agent" in done.stderr
