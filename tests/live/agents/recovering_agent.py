"""An agent that does one task at a time, writes each down as soon as it has fetched it, and takes
up by itself what an earlier process of it left."""

import json
import os
import re
import sqlite3
import urllib.request

LAB = os.environ["CHAOSLAB_URL"]
BOOK = sqlite3.connect(os.environ["BOOK"])


def http(method, path, body=None, key=""):
    request = urllib.request.Request(
        f"{LAB}/{path}",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def work(task, prompt):
    order = re.search(r"order ([\w-]+)", prompt)[1]
    http("POST", "tools/refund", {"order": order, "amount_cents": 500}, key=f"{task}-refund")
    with BOOK:
        BOOK.execute("update tasks set state = 'done' where id = ?", (task,))


with BOOK:
    BOOK.execute("create table if not exists tasks (id primary key, prompt, state)")
for left in BOOK.execute("select id, prompt from tasks where state = 'begun'").fetchall():
    work(*left)
while True:
    task = http("GET", "queue/next?wait_ms=20000")
    if task is not None:
        with BOOK:
            row = (task["id"], task["prompt"], "begun")
            BOOK.execute("insert or ignore into tasks values (?, ?, ?)", row)
        work(task["id"], task["prompt"])
