"""One right agent, to which tasks come in every way and whose end shows in every way. With FRESH in
its environment it is wrong: each try has another key.

    modes_agent.py SUBMIT DONE         SUBMIT: post, stdin, queue, web (only answers polls)
    modes_agent.py once DONE TASK DATA [WORD]

What it knows it keeps below CHAOSLAB_STATE, or where KEEP says: what it has done, the end of each
task, and its environment.
"""

import json
import os
import sqlite3
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LAB = os.environ["CHAOSLAB_URL"]
STATE = Path(os.environ.get("KEEP") or os.environ["CHAOSLAB_STATE"])
SUBMIT, DONE = sys.argv[1:3]


def ask(method, path, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    kind = {"Content-Type": "application/json", **(headers or {})}
    asked = urllib.request.Request(f"{LAB}/{path}", data=data, method=method, headers=kind)
    patience_s = 20 if path.startswith("queue") else float(os.environ.get("PATIENCE_S", "20"))
    with urllib.request.urlopen(asked, timeout=patience_s) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def refund(name, data):
    body = {"order": f"o-{name}", "amount_cents": 5, **data}
    if (STATE / f"{name}.done").exists():
        return
    for number in range(8):
        key = f"refund-{name}"
        if "FRESH" in os.environ:  # wrong: a repeat is not known as one
            key += f"-{os.getpid()}-{number}"
        try:
            ask("POST", "tools/refund", body, {"Idempotency-Key": key})
            (STATE / f"{name}.done").touch()
            return
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (409, 429):
                raise
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("the lab does not answer")


def database():
    made = sqlite3.connect(STATE / "agent.db", timeout=10)
    made.execute("create table if not exists runs (id text primary key, state text)")
    return made


def ended(name):
    if DONE == "sql":
        with database() as there:
            there.execute("insert or ignore into runs values (?, 'done')", (name,))
    elif DONE == "poll":
        (STATE / f"{name}.json").write_text('{"result": {"phase": "finished"}}')


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        there = STATE / f"{self.path.strip('/')}.json"
        if self.path == "/health":
            self.answer(200, b"{}")
        elif there.exists():
            self.answer(200, there.read_bytes())
        else:
            self.answer(404, b"{}")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["X-Session"] == body["session"], dict(self.headers)
        name, data = body["what"]["name"], body["what"]["in"]
        if DONE == "reply":
            refund(name, data)
            self.answer(200, json.dumps({"status": "completed"}).encode())
        else:
            threading.Thread(target=lambda: (refund(name, data), ended(name))).start()
            self.answer(202, b"{}")

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def from_stdin():
    for line in sys.stdin:
        task = json.loads(line)
        refund(task["id"], task["data"])
        ended(task["id"])
        say("this is no outcome")
        if DONE == "reply":
            say(json.dumps({"task": task["id"], "status": "completed"}))


def from_queue():
    while True:
        try:
            task = ask("GET", "queue/next?wait_ms=10000")
        except OSError:
            time.sleep(0.05)
            continue
        if task is None:
            continue
        refund(task["id"], task["data"])
        ended(task["id"])
        if DONE == "reply":
            ask("POST", "queue/outcome", {"task": task["id"], "status": "completed"})


def main():
    (STATE / "environment.json").write_text(json.dumps(dict(os.environ)))
    if SUBMIT == "once":
        refund(sys.argv[3], json.loads(sys.argv[4]))
        ended(sys.argv[3])
        say(json.dumps({"status": "completed", "answer": sys.argv[5:]}))
        return
    if DONE == "sql":
        database()
    web = None
    if "PORT" in os.environ:
        web = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Web)
        if SUBMIT in ("post", "web"):
            web.serve_forever()
        threading.Thread(target=web.serve_forever, daemon=True).start()
    from_stdin() if SUBMIT == "stdin" else from_queue()


main()
