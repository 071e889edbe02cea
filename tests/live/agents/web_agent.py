"""An agent that is a web server and answers when it is done; its argument says how it answers."""

import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LAB, PORT = os.environ["CHAOSLAB_URL"], int(os.environ["PORT"])
HABIT = sys.argv[1] if len(sys.argv) > 1 else ""


def refund(task):
    body = json.dumps({"order": f"o-{task['id']}", "amount_cents": 5}).encode()
    request = urllib.request.Request(
        f"{LAB}/tools/refund",
        data=body,
        headers={"Content-Type": "application/json", "Idempotency-Key": task["id"]},
    )
    for _ in range(4):
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                return json.loads(answer.read())
        except OSError:
            continue
    raise SystemExit("no answer")


class Web(BaseHTTPRequestHandler):
    def do_POST(self):
        task = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        refund(task)
        text = json.dumps({"status": "completed", "answer": "done"}).encode()
        if HABIT == "broken-json":
            text = text[: len(text) // 2]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text) * (2 if HABIT == "half" else 1)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Web).serve_forever()
