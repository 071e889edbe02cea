"""An agent of several processes over a queue of their own: one takes tasks in, two work on them.

crew_agent.py web | worker NAME [again]
"""

import json
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LAB, STATE = os.environ["CHAOSLAB_URL"], os.environ["CHAOSLAB_STATE"]


def database():
    made = sqlite3.connect(f"{STATE}/crew.db", timeout=10, isolation_level=None)
    made.execute("create table if not exists jobs (id text primary key, state text, worker text)")
    return made


class Web(BaseHTTPRequestHandler):
    def do_POST(self):
        task = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        database().execute("insert or ignore into jobs values (?, 'new', '')", (task["id"],))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def refund(name):
    asked = urllib.request.Request(
        f"{LAB}/tools/refund",
        data=json.dumps({"order": f"o-{name}", "amount_cents": 5}).encode(),
        headers={"Content-Type": "application/json", "Idempotency-Key": name},
    )
    for _ in range(5):
        try:
            with urllib.request.urlopen(asked, timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the lab does not answer")


def worker(name, again):
    there = database()
    if again:  # what the last one of this name had begun
        there.execute("update jobs set state = 'new' where worker = ? and state = 'mine'", (name,))
    claim = (
        "update jobs set state = 'mine', worker = ? where id = "
        "(select id from jobs where state = 'new' limit 1) returning id"
    )
    while True:
        for (job,) in there.execute(claim, (name,)).fetchall():
            refund(job)
            there.execute("update jobs set state = 'done' where id = ?", (job,))
        time.sleep(0.02)


if sys.argv[1] == "web":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Web).serve_forever()
worker(sys.argv[2], "again" in sys.argv)
