"""The real world is kept out: a leak is an error with a place, also when the agent swallows it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime
import multiprocessing
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
import warnings
from pathlib import Path
from typing import Any

import pytest

import chaoslab
from chaoslab.backends.sim import guarded
from chaoslab.core.clock import monotonic_ms, utc_stamp
from chaoslab.core.errors import AdapterError

from .simlab import HEAD, TAIL, run, write_agent

CLOCK, RANDOM, THREAD, NET = "world.clock", "world.random", "backend of real", "world.network"
LEAKS = {
    "time.time()": CLOCK,
    "time.time_ns()": CLOCK,
    "time.monotonic()": CLOCK,
    "time.monotonic_ns()": CLOCK,
    "time.perf_counter()": CLOCK,
    "time.process_time()": CLOCK,
    "time.thread_time_ns()": CLOCK,
    "time.clock_gettime(time.CLOCK_REALTIME)": CLOCK,
    "time.sleep(0)": CLOCK,
    "time.localtime()": CLOCK,
    "time.gmtime()": CLOCK,
    "time.ctime()": CLOCK,
    "time.strftime('%H')": CLOCK,
    "datetime.datetime.now()": CLOCK,
    "datetime.datetime.utcnow()": CLOCK,
    "datetime.datetime.today()": CLOCK,
    "datetime.datetime.now(datetime.UTC)": CLOCK,
    "datetime.date.today()": CLOCK,
    "random.random()": RANDOM,
    "random.randint(1, 2)": RANDOM,
    "random.choice([1])": RANDOM,
    "random.shuffle([])": RANDOM,
    "random.Random()": RANDOM,
    "random.SystemRandom().random()": RANDOM,
    "uuid.uuid4()": RANDOM,
    "uuid.uuid1()": RANDOM,
    "os.urandom(4)": RANDOM,
    "secrets.token_hex()": RANDOM,
    "secrets.randbelow(9)": RANDOM,
    "threading.Thread(target=print).start()": THREAD,
    "threading.Timer(0, print).start()": THREAD,
    "concurrent.futures.ThreadPoolExecutor().submit(print)": THREAD,
    "_thread.start_new_thread(print, ())": THREAD,
    "await asyncio.to_thread(print)": THREAD,
    "await asyncio.get_running_loop().run_in_executor(None, print)": THREAD,
    "subprocess.run(['true'])": THREAD,
    "subprocess.Popen(['true'])": THREAD,
    "os.system('true')": THREAD,
    "os.fork()": THREAD,
    "await asyncio.create_subprocess_exec('true')": THREAD,
    "multiprocessing.Process(target=print).start()": THREAD,
    "socket.create_connection(('127.0.0.1', 9))": NET,
    "socket.socket().connect(('127.0.0.1', 9))": NET,
    "socket.getaddrinfo('localhost', 9)": NET,
    "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))": NET,
    "urllib.request.urlopen('http://127.0.0.1:9/')": NET,
    "await asyncio.open_connection('127.0.0.1', 9)": NET,
}
IMPORTS = (
    "import concurrent.futures, datetime, multiprocessing, os, random, secrets, socket\n"
    "import subprocess, threading, time, urllib.request, uuid, _thread\n"
)


@pytest.mark.parametrize("call", LEAKS)
def test_a_leak_names_its_line_and_what_to_use_even_when_it_is_swallowed(
    tmp_path: Path, call: str
) -> None:
    body = (
        IMPORTS + "class Agent(Base):\n"
        "    async def handle(self, task):\n"
        "        try:\n"
        f"            {call}\n"
        "        except BaseException:\n"
        "            pass\n"
        "        return self.done(task)\n"
    )
    agent = write_agent(tmp_path, body)
    line = (HEAD + body).splitlines().index(f"            {call}") + 1
    found = run(tmp_path, agent)
    assert f"{agent.removesuffix(':make')}:{line}" in found.end.broke
    assert LEAKS[call] in found.end.broke


def test_a_leak_that_is_not_swallowed_is_an_error_of_the_agent(tmp_path: Path) -> None:
    body = """
    import time
    class Agent(Base):
        async def handle(self, task):
            try:
                time.time()
            except Exception as error:
                self.say(type(error).__name__ + ": " + str(error))
            return self.done(task)
    """
    text = run(tmp_path, body).logs()[0]
    assert text.startswith("SimulationLeak: time.time was called at ") and "next: " in text


MODULE_LEVEL = {
    "from time import sleep": "sleep(0)",
    "from time import monotonic as clock": "clock()",
    "from random import random as draw": "draw()",
    "from uuid import uuid4": "uuid4()",
    "from datetime import datetime": "datetime.now()",
    "from os import urandom": "urandom(2)",
    "from threading import Thread": "Thread(target=print).start()",
    "from random import Random": "Random()",
}


@pytest.mark.parametrize("line", MODULE_LEVEL)
def test_a_name_imported_at_the_top_of_the_adapter_is_guarded_too(
    tmp_path: Path, line: str
) -> None:
    body = f"""
    {line}
    class Agent(Base):
        async def handle(self, task):
            {MODULE_LEVEL[line]}
            return self.done(task)
    """
    assert "was called at" in run(tmp_path, body).end.broke


def test_a_name_imported_by_a_module_beside_the_adapter_is_guarded_too(tmp_path: Path) -> None:
    (tmp_path / "bench_beside.py").write_text(
        "from time import time\ndef now():\n    return time()\n"
    )
    body = """
    import bench_beside
    class Agent(Base):
        async def handle(self, task):
            bench_beside.now()
            return self.done(task)
    """
    assert "bench_beside.py:3" in run(tmp_path, body).end.broke


@pytest.mark.parametrize("where", ["at import", "in the factory", "in __init__", "in start"])
def test_a_leak_before_the_first_task_is_reported(tmp_path: Path, where: str) -> None:
    leak = "time.time()"
    body = "import time\n"
    body += f"{leak}\n" if where == "at import" else ""
    body += "class Agent(Base):\n"
    body += f"    def __init__(self): {leak if where == 'in __init__' else 'pass'}\n"
    if where == "in start":
        body += f"    async def start(self, world):\n        {leak}\n"
    path = tmp_path / "early.py"
    make = TAIL.replace("    return", f"    {leak}\n    return") if "factory" in where else TAIL
    path.write_text(HEAD + body + make)
    try:
        text = run(tmp_path, f"{path}:make").end.broke
    except Exception as error:
        text = str(error)
    assert "time.time was called at" in text and "early.py:" in text


FINE = {
    "logging": "logging.getLogger('x').warning('hello %s', task.id)",
    "formatted logging": "logging.Formatter('%(asctime)s').format("
    "logging.makeLogRecord({'msg': 'x'}))",
    "json": "json.dumps({'a': 1}); json.loads('[1]')",
    "dataclasses": "dataclasses.make_dataclass('P', ['x'])(1)",
    "collections": "collections.Counter('abc').most_common()",
    "seeded": "random.Random(7).random(); self.world.random.random()",
    "uuid5": "uuid.uuid5(uuid.NAMESPACE_URL, 'x')",
    "gather": "await asyncio.gather(asyncio.sleep(1), self.pay(task))",
    "wait": "await asyncio.wait([asyncio.ensure_future(asyncio.sleep(1))], timeout=2)",
    "wait_for": "await asyncio.wait_for(asyncio.sleep(1), 2)",
    "datetime from a number": "datetime.datetime.fromtimestamp(5, datetime.UTC).isoformat(); "
    "datetime.datetime(2020, 1, 1) + datetime.timedelta(1)",
    "isinstance of datetime": "assert isinstance(datetime.datetime(2020, 1, 1), "
    "datetime.datetime) and issubclass(datetime.datetime, datetime.date)",
    "strftime of a date": "datetime.date(2020, 1, 1).strftime('%d'); "
    "time.strftime('%Y', (2020, 1, 1, 0, 0, 0, 0, 1, 0)); time.gmtime(5); "
    "time.localtime(5)",
    "regex and hash": "re.compile('a+').match('aa'); hashlib.sha256(b'x').hexdigest()",
    "contextvars": "contextvars.ContextVar('v').set(1)",
    "tempting names": "self.time = lambda: 1; self.time()",
    "warnings": "warnings.warn('x', stacklevel=1)",
    "traceback": "traceback.format_exc()",
    "locks": "threading.Lock().acquire(); threading.local().x = 1",
    "copy": "copy.deepcopy({'a': [task]})",
    "pickle": "pickle.loads(pickle.dumps(task))",
}


@pytest.mark.parametrize("name", FINE)
def test_what_can_be_repeated_is_fine(tmp_path: Path, name: str) -> None:
    body = (
        "import collections, contextvars, copy, dataclasses, datetime, hashlib, json, logging\n"
        "import pickle, random, re, threading, time, traceback, uuid, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "class Agent(Base):\n"
        "    async def handle(self, task):\n"
        f"        {FINE[name]}\n"
        "        return self.done(task)\n"
    )
    with warnings.catch_warnings():
        found = run(tmp_path, body)
    assert found.end.broke == ""
    assert found.outcomes() == {"s1-t1": "completed"}


def test_all_the_tools_of_asyncio_work_together(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            queue, lock, ready = asyncio.Queue(2), asyncio.Lock(), asyncio.Event()
            gate, turn = asyncio.Semaphore(1), asyncio.Condition()
            got = []
            async def produce():
                for n in range(5):
                    await queue.put(n)
                ready.set()
            async def consume():
                while len(got) < 5:
                    async with lock, gate:
                        got.append(await queue.get())
                        queue.task_done()
                async with turn:
                    turn.notify_all()
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                group.create_task(produce())
                group.create_task(consume())
                async with turn:
                    await turn.wait_for(lambda: len(got) == 5)
                await ready.wait()
                await queue.join()
            barrier = asyncio.Barrier(2)
            await asyncio.gather(barrier.wait(), barrier.wait())
            for next_done in asyncio.as_completed([asyncio.sleep(2), asyncio.sleep(1)]):
                await next_done
            runner = asyncio.shield(self.pay(task))
            self.say(f"{got} {(await runner).ref}")
            return self.done(task)
    """
    found = run(tmp_path, body)
    assert found.end.broke == ""
    assert found.logs() == ["[0, 1, 2, 3, 4] pay:o-s1-t1#1"]


# -- before and after


def entry_points() -> dict[str, Any]:
    """Everything that the guard may replace, as it stands now."""
    found: dict[str, Any] = {}
    for owner in (
        time,
        random,
        uuid,
        os,
        datetime,
        socket,
        subprocess,
        threading,
        secrets,
        asyncio,
        concurrent.futures,
        multiprocessing,
        urllib.request,
        datetime.datetime,
        datetime.date,
        threading.Thread,
        subprocess.Popen,
        socket.socket,
        random.Random,
    ):
        for name in dir(owner):
            try:
                found[f"{owner!r}.{name}"] = getattr(owner, name)
            except AttributeError:
                continue
    return {k: v for k, v in found.items() if not k.endswith(("__dict__", "__weakref__"))}


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_put_back_afterwards(fails: bool) -> None:
    before = entry_points()
    own = dict(vars(socket.socket))
    try:
        with guarded():
            assert random.Random is not before[f"{random!r}.Random"]
            if fails:
                raise KeyError("x")
    except KeyError:
        pass
    after = entry_points()
    changed = [k for k in before if after.get(k) is not before[k] and after.get(k) != before[k]]
    assert changed == []
    assert dict(vars(socket.socket)) == own


def test_everything_is_put_back_when_an_agent_does_not_load(tmp_path: Path) -> None:
    before = (time.time, random.random, datetime.datetime, uuid.uuid4)
    with pytest.raises(AdapterError, match="importing it raised"):
        run(tmp_path, "raise RuntimeError\n")
    assert (time.time, random.random, datetime.datetime, uuid.uuid4) == before


def test_the_lab_itself_may_look_at_the_clock_meanwhile() -> None:
    with guarded() as leaks:
        assert utc_stamp() and monotonic_ms() > 0
    assert leaks.found == []


SLOW_TO_LOAD = """
import sys, pathlib
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from simlab import run
body = "import multiprocessing, concurrent.futures.process, secrets, tempfile, ssl, sqlite3\\n"
body += "import email.utils, http.client, urllib.request, uuid, logging.handlers, zoneinfo\\n"
body += "class Agent(Base): pass\\n"
sys.exit(run(pathlib.Path(sys.argv[3]), body).end.broke or 0)
"""


def test_what_a_library_does_while_it_is_imported_is_no_leak_of_the_agent(tmp_path: Path) -> None:
    """The standard library draws random bytes at import (multiprocessing), and whether that is
    seen would depend on who imported it first."""
    script = tmp_path / "load.py"
    script.write_text(SLOW_TO_LOAD)
    harness = Path(chaoslab.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, str(script), str(harness), str(Path(__file__).parent), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]


def test_the_guarded_datetime_can_be_subclassed_and_tells_instances_apart(tmp_path: Path) -> None:
    body = """
    import datetime
    class Mine(datetime.datetime): pass
    class Agent(Base):
        async def handle(self, task):
            one, other = Mine(2020, 1, 1), datetime.datetime(2020, 1, 1)
            self.say(f"{isinstance(one, Mine)} {isinstance(other, Mine)} {one == other}")
            self.say(f"{issubclass(Mine, datetime.datetime)} {type(one + (one - other)).__name__}")
            return self.done(task)
    """
    found = run(tmp_path, body)
    assert found.logs() == ["True False True", "True Mine"]
