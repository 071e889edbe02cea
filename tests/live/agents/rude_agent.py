"""An agent that does its work rightly and, before that, everything to the lab's port that a client
should not do. What it was answered it writes down in the folder in which it runs."""

import json
import os
import socket
import struct
import time
import urllib.request
from urllib.parse import urlsplit

LAB = os.environ["CHAOSLAB_URL"]
HOST = (urlsplit(LAB).hostname, urlsplit(LAB).port)
PATH = urlsplit(LAB).path
TOKEN = PATH.split("/")[1]


def ask(path, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    kind = {"Content-Type": "application/json", **(headers or {})}
    with urllib.request.urlopen(
        urllib.request.Request(f"{LAB}/{path}", data, kind), timeout=20
    ) as answer:
        return json.loads(answer.read() or b"null")


def said(raw, *, reset=False):
    """What comes back for raw bytes: the status, or "" where the connection just ends."""
    there = socket.create_connection(HOST, timeout=20)
    try:
        there.sendall(raw)
        if reset:
            there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return "hung up"
        answer = there.recv(1000).decode("latin-1")
        return answer.split()[1] if answer.startswith("HTTP/") else answer[:20]
    except OSError:
        return ""
    finally:
        there.close()


def request(path, *headers, body=b"", length=None):
    head = [f"POST {path} HTTP/1.1", "Host: lab", "Content-Type: application/json", *headers]
    head.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def crowd():
    """A thousand connections at once; how many of them are answered."""
    there = [socket.create_connection(HOST, timeout=30) for _ in range(1000)]
    for one in there:
        one.sendall(f"GET {PATH}/tools HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
    answered = sum(one.recv(12) == b"HTTP/1.1 200" for one in there)
    for one in there:
        one.close()
    return answered


def rude():
    deep = b'{"order":' + b"[" * 100_000
    return {
        "garbage": said(b"\x16\x03\x01\x00\xff\x00 this is no HTTP\r\n\r\n"),
        "huge header": said(request(f"{PATH}/tools/refund", "X: " + "x" * (1 << 20))),
        "huge body": said(request(f"{PATH}/tools/refund", body=b"x" * (20 << 20))),
        "half": said(request(f"{PATH}/tools/refund", body=b'{"or', length=1000), reset=True),
        "no JSON": said(request(f"{PATH}/tools/refund", body=b"\xff\xfe{")),
        "deep JSON": said(request(f"{PATH}/tools/refund", body=deep)),
        "wrong token": said(request(PATH.replace(TOKEN, "r0") + "/tools/refund", body=b"{}")),
        "no token": said(request("/", body=b"{}")),
        "up and away": said(request(f"{PATH}/tools/../../../../etc/passwd", body=b"{}")),
        "another process": said(request(f"/{TOKEN}/lab/tools/refund", body=b"{}")),
        "a tool that is none": said(request(f"{PATH}/tools/nothing", body=b"{}")),
        "a bad outcome": said(request(f"{PATH}/queue/outcome", body=b'{"task": 7}')),
        "crowd": crowd(),
    }


def main():
    while True:
        try:
            task = ask("queue/next?wait_ms=5000")
        except OSError:
            time.sleep(0.05)
            continue
        if task is None:
            continue
        if not os.path.exists("said.json"):
            with open("said.json", "w") as out:
                json.dump(rude(), out)
        body = {"order": f"o-{task['id']}", "amount_cents": 5}
        for _ in range(5):
            try:
                ask("tools/refund", body, {"Idempotency-Key": task["id"]})
                break
            except OSError:
                time.sleep(0.05)
        ask("queue/outcome", {"task": task["id"], "status": "completed"})


main()
