"""A service of a team's own: refunds over HTTP, or over MCP (standard input and output), kept in
SQLite. Every request that reaches it is noted in its log."""

import json
import os
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

KIND, FILE, LOG = sys.argv[1:4]


def refund(order, key):
    with open(LOG, "a") as out:
        out.write(f"{key}\n")
    made = sqlite3.connect(FILE, timeout=10)
    with made:
        made.execute(
            "create table if not exists refunds (id integer primary key, idem_key text "
            "unique, order_id text)"
        )
        made.execute(
            "insert or ignore into refunds (idem_key, order_id) values (?, ?)", (key, order)
        )
        [(number,)] = made.execute("select id from refunds where idem_key = ?", (key,)).fetchall()
    made.close()
    return {"id": f"re-{number}"}


class Web(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = json.dumps(refund(body["order_id"], self.headers["Idempotency-Key"])).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


def over_mcp():
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        if asked["method"] == "initialize":
            found = {
                "protocolVersion": asked["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "refunds", "version": "1"},
            }
        elif asked["method"] == "tools/list":
            found = {"tools": [{"name": "refund", "inputSchema": {"type": "object"}}]}
        elif asked["method"] == "tools/call":
            args = asked["params"]["arguments"]
            text = json.dumps(refund(args["order_id"], args["key"]))
            found = {"content": [{"type": "text", "text": text}]}
        else:
            found = {}
        answer = {"jsonrpc": "2.0", "id": asked["id"], "result": found}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if KIND == "mcp":
    over_mcp()
else:
    HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Web).serve_forever()
