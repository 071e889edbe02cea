"""A small agent that fetches its tasks from the lab's queue and keeps its keys; with the name of a
bad habit as its argument it is wrong in that way."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

LAB = os.environ["CHAOSLAB_URL"]
HABIT = sys.argv[1] if len(sys.argv) > 1 else ""


def http(method, path, body=None, headers=None, timeout=2):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{LAB}/{path}",
        data=data,
        method=method,
        headers={"Content-Type": "application/json", **(headers or {})},
    )
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def again(method, path, body=None, headers=None):
    for number in range(5):
        key = {"Idempotency-Key": f"{headers}-{number}"} if HABIT == "fresh-keys" else headers
        try:
            return http(method, path, body, key)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 409:
                raise
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("the lab does not answer")


def work(task):
    messages = [{"role": "user", "content": task["prompt"]}]
    while True:
        said = again("POST", "model/v1/chat/completions", {"model": "m", "messages": messages})
        message = said["choices"][0]["message"]
        messages.append(message)
        if not message.get("tool_calls"):
            return message["content"]
        for call in message["tool_calls"]:
            name, args = call["function"]["name"], json.loads(call["function"]["arguments"])
            key = {"Idempotency-Key": f"{task['id']}-{name}"}
            result = again("POST", f"tools/{name}", args, key)
            messages.append(
                {"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)}
            )


def main():
    if HABIT == "exits":
        sys.exit("there is no configuration")
    if HABIT == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if HABIT == "forks":
        sleeper = [sys.executable, "-c", "import time; time.sleep(300)"]
        subprocess.Popen(sleeper, start_new_session=True)
    if HABIT == "prints":
        for _ in range(100):
            sys.stdout.write("x" * (1 << 20) + "\n")
    while True:
        try:
            task = http("GET", "queue/next?wait_ms=5000", timeout=10)
        except OSError:
            time.sleep(0.05)
            continue
        if task is None:
            continue
        if HABIT == "silent":
            continue
        if HABIT == "dies":
            os._exit(7)
        if HABIT == "floods":
            while True:
                http("PUT", "memory/x", {"value": 1})
        answer = work(task)
        again(
            "POST", "queue/outcome", {"task": task["id"], "status": "completed", "answer": answer}
        )


main()
