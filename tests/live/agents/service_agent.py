"""A right agent around a service of its team: it refunds over HTTP, over MCP, or by a function of
its own that is wrapped, with the same key for every try."""

import json
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.request

import chaoslab_shim

LAB, HOW = os.environ["CHAOSLAB_URL"], sys.argv[1]


def post(url, body, headers=None):
    kind = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    asked = urllib.request.Request(url, json.dumps(body).encode(), {**kind, **(headers or {})})
    with urllib.request.urlopen(asked, timeout=5) as answer:
        session = answer.headers.get("Mcp-Session-Id")
        text = answer.read().decode()
    if text.startswith(("event:", "data:")):
        text = next(part[5:] for part in text.splitlines() if part.startswith("data:"))
    return (json.loads(text) if text else None), session


def by_http(order, key):
    post(os.environ["BILLING_URL"] + "/refunds", {"order_id": order}, {"Idempotency-Key": key})


def by_mcp(order, key):
    url, version = os.environ["BILLING_URL"], "2025-06-18"
    client = {"name": "agent", "version": "1"}
    hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": client}
    _, session = post(url, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
    headers = {"MCP-Protocol-Version": version}
    if session:
        headers["Mcp-Session-Id"] = session
    post(url, {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
    params = {"name": "refund", "arguments": {"order_id": order, "key": key}}
    asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
    answer, _ = post(url, asked, headers)
    if "error" in answer or answer["result"].get("isError"):
        raise OSError(json.dumps(answer))


@chaoslab_shim.tool("refund", key="key")
def by_function(order_id, key):
    with open(os.environ["LOG"], "a") as out:
        out.write(f"{key}\n")
    made = sqlite3.connect(os.environ["FILE"], timeout=10)
    with made:
        made.execute(
            "create table if not exists refunds (id integer primary key, idem_key text unique, "
            "order_id text)"
        )
        made.execute(
            "insert or ignore into refunds (idem_key, order_id) values (?, ?)", (key, order_id)
        )
    made.close()


REFUND = {"http": by_http, "mcp": by_mcp, "python": by_function}[HOW]


def main():
    while True:
        try:
            with urllib.request.urlopen(f"{LAB}/queue/next?wait_ms=5000", timeout=10) as answer:
                task = json.loads(answer.read() or b"null")
        except OSError:
            time.sleep(0.05)
            continue
        if task is None:
            continue
        for _ in range(6):
            try:
                REFUND(f"o-{task['id']}", task["id"])
                break
            except OSError as error:
                sys.stderr.write(f"{error}\n")
                time.sleep(0.1)
        else:
            raise SystemExit("the service does not answer")
        post(f"{LAB}/queue/outcome", {"task": task["id"], "status": "completed"})


main()
