"""An agent whose tool is a function of its own, wrapped for the lab; its argument says in which way
it is wrong, and in which of its lives' tasks, counted over all executions."""

import json
import os
import sqlite3
import sys
import time
import urllib.request
import uuid

import chaoslab_shim

LAB, COUNT = os.environ["CHAOSLAB_URL"], os.environ["COUNT"]
HABIT, FROM = sys.argv[1], int(sys.argv[2])
BASE = sqlite3.connect(os.environ["LEDGER"], isolation_level=None)
BASE.execute("create table if not exists refunds (id integer primary key, idem_key, order_id)")


def http(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{LAB}/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def write(order_id, key):
    sql = "insert into refunds (idem_key, order_id) values (?, ?) returning id"
    return BASE.execute(sql, (key, order_id)).fetchone()[0]


@chaoslab_shim.tool("refund", key="key")
def refund(order_id, key=None):
    known = BASE.execute("select id from refunds where idem_key = ?", (key,)).fetchone()
    return {"id": known[0] if known else write(order_id, key)}


def work(task, number):
    order, key = task["data"]["order_id"], f"k-{task['id']}"
    wrong = number >= FROM
    if HABIT == "gone" and wrong:
        os._exit(3)
    for _ in range(0 if HABIT == "idle" and number == FROM else 4):
        try:
            refund(order, key=uuid.uuid4().hex if HABIT == "gone" else key)
            break
        except OSError:
            time.sleep(0.02)
    if HABIT == "past" and wrong:
        write(order, uuid.uuid4().hex)
    if HABIT == "once" and number == FROM:
        refund(order, key=f"{key}-again")
    return {"task": task["id"], "status": "completed", "answer": "done"}


while True:
    given = http("queue/next?wait_ms=5000")
    if given is None:
        continue
    with open(COUNT, "a+") as file:
        file.seek(0)
        so_far = len(file.read())
        file.write(".")
    with chaoslab_shim.acting_for(given["id"]):
        told = work(given, so_far)
    http("queue/outcome", told)
