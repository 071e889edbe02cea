"""An agent that leaves processes behind wherever it can: a child, one in a session of its own, and
a daemon with an empty environment. It writes down who they are, and answers if it is told to."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

LAB = os.environ["CHAOSLAB_URL"]
SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]


def daemon(env):
    """Forks twice, so that nobody is its parent."""
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write_end, str(os.getpid()).encode())
            os.close(write_end)
            os.execve(sys.executable, SLEEP, env)
        os._exit(0)
    os.wait()
    return int(os.read(read_end, 20))


def main():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    kept = dict(os.environ)
    pids = {
        "self": os.getpid(),
        "child": subprocess.Popen(SLEEP).pid,
        "session": subprocess.Popen(SLEEP, start_new_session=True).pid,
        "daemon": daemon(kept),
    }
    if "hidden" in sys.argv:
        pids["hidden"] = daemon({})
    told = {"pids": pids, "state": os.environ["CHAOSLAB_STATE"], "lab": LAB}
    with open("told.part", "w") as out:
        json.dump(told, out)
    os.rename("told.part", "told.json")
    while True:
        try:
            with urllib.request.urlopen(f"{LAB}/queue/next?wait_ms=20000", timeout=30) as answer:
                task = json.loads(answer.read() or b"null")
        except OSError:
            time.sleep(0.05)
            continue
        if task is not None and "answers" in sys.argv:
            body = {"task": task["id"], "status": "failed", "reason": "no"}
            asked = urllib.request.Request(
                f"{LAB}/queue/outcome",
                data=json.dumps(body).encode(),
                headers={"Content-Type": "application/json"},
            )
            urllib.request.urlopen(asked, timeout=5)


main()
