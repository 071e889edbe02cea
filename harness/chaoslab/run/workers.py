"""A pool of worker interpreters under a watchdog.

Two groups with different hash seeds: an execution and its repetition never share an interpreter
nor an order of sets. A worker that hangs is asked where it stands, then killed; the next request
gets a fresh one.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from chaoslab.adapters import load_function
from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.process.leftovers import sweep
from chaoslab.check import Finding
from chaoslab.check.invariants import PREFIX
from chaoslab.contract import Contract
from chaoslab.core.clock import monotonic_ms
from chaoslab.core.errors import AdapterError, LabError
from chaoslab.run.batches import strike_through
from chaoslab.run.model import RunSpec
from chaoslab.run.own import JudgeOwn, finding_from, judge_own
from chaoslab.run.strikes import BatchEnd, StrikeBatch, strike_all
from chaoslab.run.trials import Trial, Trials, try_all
from chaoslab.run.worker import EACH_MS, IDLE_MS, execute, receive, send, try_loading

HASH_SEEDS: Final = {"first": "101", "repeat": "20202"}
START_MS: Final = 60_000  # imports on a busy machine; that is no agent's time
_RECYCLE_AFTER: Final = 250
_TAIL_MAX: Final = 64_000
_END_S: Final = 1
_SLICE_MS: Final = 1_000
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Worker:
    """One interpreter."""

    def __init__(self, group: str, watchdog_ms: int = 20_000) -> None:
        env = {**os.environ, "PYTHONHASHSEED": HASH_SEEDS[group], "PYTHONUNBUFFERED": "1"}
        package_parent = str(Path(__file__).resolve().parents[2])
        path = env.get("PYTHONPATH", "")
        env["PYTHONPATH"] = package_parent + (os.pathsep + path if path else "")
        read_end, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "chaoslab.run.worker",
                    str(write_end),
                    str(watchdog_ms // 1000 + 10),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(write_end,),
                env=env,
                start_new_session=True,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._answers = os.fdopen(read_end, "rb")
        self._tail = bytearray()
        self._drain = threading.Thread(target=self._read_output, daemon=True)
        self._drain.start()
        self.served = 0
        self._greeted = self._full = False
        self._last_ms = monotonic_ms()
        self.live = False  # whether it may have started processes of its own

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while True:
            try:
                part = os.read(descriptor, 65_536)
            except OSError:
                return
            if not part:
                return
            self._tail += part
            del self._tail[:-_TAIL_MAX]

    def ask(self, frame: bytes, limit_ms: int, executions: int = 1) -> dict[str, Any]:
        """One request; a hang or a death is told in `broke`."""
        assert self._process.stdin is not None
        self.served += executions
        if not self._greeted and not self._wait(START_MS):
            self.kill()
            return _broken(
                f"an interpreter did not start within {START_MS} ms; is the machine busy?"
            )
        try:
            self._greeted = self._greeted or receive(self._answers) is not None
            send(self._process.stdin, frame)  # type: ignore[arg-type]
        except OSError:
            return self._died()
        if not self._wait(limit_ms):
            return self._hung(limit_ms)
        answer = receive(self._answers)
        if answer is None:
            return self._died()
        result: dict[str, Any] = json.loads(answer)
        self._full = result.pop("full")
        self._last_ms = monotonic_ms()
        return result

    def _wait(self, limit_ms: int) -> bool:
        """Whether an answer came in time. It is counted in short waits and not by the clock, so
        that a while in which the machine or this process stood still accuses no agent."""
        left = limit_ms
        while left > 0:
            ready, _, _ = select.select([self._answers], [], [], min(left, _SLICE_MS) / 1_000)
            if ready:
                return True
            left -= _SLICE_MS
        return False

    def _hung(self, limit_ms: int) -> dict[str, Any]:
        if hasattr(signal, "SIGUSR1"):
            self._process.send_signal(signal.SIGUSR1)
            select.select([self._answers], [], [], 0.3)
        where = _top_frame(self._tail.decode("utf-8", "replace"))
        self.kill()
        return _broken(
            f"the execution did not end within {limit_ms} ms of wall time"
            f"{where}; the agent blocks the interpreter (a busy loop or a blocking call)"
        )

    def _died(self) -> dict[str, Any]:
        code = self._process.wait()
        self._drain.join(1)
        text = self._tail.decode("utf-8", "replace").strip()[-2_000:]
        how = f"was killed by signal {-code}" if code < 0 else f"ended itself with code {code}"
        why = "the agent called exit, crashed the interpreter or ran out of memory"
        if code == -signal.SIGKILL:
            why += "; the system kills so where memory runs out, then take fewer --jobs"
        return {**_broken(f"the execution's interpreter {how}; {why}", text), "died": True}

    @property
    def usable(self) -> bool:
        """Whether it may serve again. One that will soon end by itself is not relied on, nor one
        whose agent may have kept most of its memory."""
        idle_ms = monotonic_ms() - self._last_ms
        recent = self.served < _RECYCLE_AFTER and idle_ms < IDLE_MS // 2
        return recent and not self._full and self._process.poll() is None

    def let_go(self) -> None:
        """Closes its standard input: it then ends by itself, and all that it has started before."""
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def kill(self) -> None:
        """Ends the interpreter and everything that the agent started in its session."""
        if self.live:
            self.let_go()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._drain.join(1)
        for stream in (self._process.stdin, self._process.stdout, self._answers):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        if self.live:
            sweep()  # where it could not do it any more


def _broken(why: str, printed: str = "") -> dict[str, Any]:
    return {"broke": why, "printed": printed, "exit": 4}


def _top_frame(dump: str) -> str:
    frames = re.findall(r'File "([^"]+)", line (\d+) in (\S+)', dump)
    return f" (it stood at {frames[0][0]}:{frames[0][1]} in {frames[0][2]})" if frames else ""


class Workers:
    """Lends workers. With `in_process` everything runs here, for a debugger."""

    def __init__(self, *, watchdog_ms: int = 20_000, in_process: bool = False) -> None:
        self.watchdog_ms = watchdog_ms
        self.in_process = in_process
        self._idle: Mapping[str, queue.SimpleQueue[Worker]] = {
            g: queue.SimpleQueue() for g in HASH_SEEDS
        }
        self._all: set[Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def execute(
        self, spec: ExecutionSpec, history: Path | None, header: dict[str, Any], group: str
    ) -> dict[str, Any]:
        """One execution in a worker of a group; blocks until it is done or given up."""
        if self.in_process:
            return execute(spec, history, header, capture=False)
        frame = pickle.dumps((spec, history, header))
        if spec.target is None:
            return self._ask(frame, group)
        return self._ask(frame, group, limit_ms=spec.target.wall_ms_max, live=True)

    def try_loading(self, agent: str) -> frozenset[str]:
        """Makes the agent once; which of `recover`, `sessions` and `release` it offers.
        AdapterError, or LabError where loading it breaks the worker."""
        result = try_loading(agent) if self.in_process else self._ask(pickle.dumps(agent), "first")
        if result["broke"]:
            raise (AdapterError if result["exit"] == 2 else LabError)(result["broke"])
        return frozenset(result["offers"])

    def try_rules(self, contract: Contract) -> None:
        """Loads each function of the team's own rules once; AdapterError where one is missing."""
        for one in contract.invariants:
            if one.check and self.in_process:
                load_function(one.check)
            elif one.check:
                result = self._ask(pickle.dumps(one), "first")
                if result["broke"]:
                    raise AdapterError(result["broke"])

    def trials(self, specs: Sequence[RunSpec], *, whole: bool = False) -> list[Trial]:
        """Runs as trials, in order. Where one of them breaks the interpreter, each is tried by
        itself, so that it costs its own verdict only."""
        if self.in_process:
            return [Trial.from_json(raw) for raw in try_all(specs, whole=whole)]
        result = self._ask_many(Trials(specs=tuple(specs), whole=whole), 2 * len(specs))
        if not result["broke"]:
            return [Trial.from_json(raw) for raw in result["trials"]]
        if len(specs) == 1:
            [spec] = specs
            return [Trial(scenario=spec.scenario.id, seed=spec.seed, broke=result["broke"])]
        return [found for spec in specs for found in self.trials([spec], whole=whole)]

    def strikes(self, batch: StrikeBatch, group: str = "first") -> BatchEnd:
        """The executions of a batch. One that breaks the interpreter costs itself, and the others
        go on in another one."""
        if self.in_process:
            return strike_all(batch)

        def ask(part: StrikeBatch, limit_ms: int) -> dict[str, Any]:
            count = len(part.strikes) - len(part.done) + 1
            return self._ask(pickle.dumps(part), group, executions=count, limit_ms=limit_ms)

        return strike_through(batch, ask, self.watchdog_ms, EACH_MS)

    def _ask_many(self, request: Trials, count: int) -> Any:
        """A request of `count` executions, which get that much more time. An interpreter that died
        may have been killed by somebody else, so the last word is that of a second one."""
        frame = pickle.dumps(request)
        limit_ms = self.watchdog_ms + EACH_MS * count
        result = self._ask(frame, "first", executions=count, limit_ms=limit_ms)
        if result.get("died") and count <= 2:
            result = self._ask(frame, "first", executions=count, limit_ms=limit_ms)
            if result.get("died"):
                result["broke"] += " (twice in a row, the second time by itself)"
        return result

    def judge_own(
        self, spec: RunSpec, history: Path, control: Path | None = None, repeat: Path | None = None
    ) -> tuple[Finding, ...]:
        """The findings of the team's own invariants, in order; none where there are none. Each
        function is a request of its own, so that one that hangs leaves the others alone."""
        invariants = spec.contract.invariants
        queries = tuple(one for one in invariants if one.sql)
        found: dict[str, Finding] = {}
        for group in (queries, *((one,) for one in invariants if one.check)):
            if group:
                request = JudgeOwn(
                    spec=spec, invariants=group, history=history, control=control, repeat=repeat
                )
                found |= {finding.check: finding for finding in self._judge_own(request)}
        return tuple(found[PREFIX + one.name] for one in invariants)

    def _judge_own(self, request: JudgeOwn) -> tuple[Finding, ...]:
        if self.in_process:
            return tuple(finding_from(raw) for raw in judge_own(request))
        result = self._ask(pickle.dumps(request), "first")
        if result["broke"]:
            return tuple(
                Finding(check=PREFIX + one.name, verdict="unknown", reason=result["broke"])
                for one in request.invariants
            )
        return tuple(finding_from(raw) for raw in result["findings"])

    def _ask(
        self,
        frame: bytes,
        group: str,
        executions: int = 1,
        *,
        limit_ms: int = 0,
        live: bool = False,
    ) -> dict[str, Any]:
        worker = self._borrow(group)
        worker.live = worker.live or live
        try:
            result = worker.ask(frame, limit_ms or self.watchdog_ms, executions)
        except ValueError:  # its pipes were closed under our hands
            if not self._closed:
                raise
        if self._closed:
            self._drop(worker)
            raise LabError("the execution was interrupted")
        if worker.usable and not self._closed:
            self._idle[group].put(worker)
        else:
            self._drop(worker)
        return result

    def _borrow(self, group: str) -> Worker:
        """An idle worker, or a new one. After `close` has begun none is started any more; one that
        somebody killed while it was idle has cost nothing."""
        with self._lock:
            while not self._closed:
                try:
                    worker = self._idle[group].get_nowait()
                except queue.Empty:
                    return self._started(group)
                if worker.usable:
                    return worker
                self._all.discard(worker)
                worker.kill()
        raise LabError("the workers are closed; nothing more is run")

    def _started(self, group: str) -> Worker:
        try:
            worker = Worker(group, self.watchdog_ms)
        except OSError as error:
            raise LabError(
                f"a worker interpreter cannot be started: {error.strerror}",
                value=sys.executable,
                hint="chaoslab doctor",
            ) from None
        self._all.add(worker)
        return worker

    def _drop(self, worker: Worker) -> None:
        worker.kill()
        with self._lock:
            self._all.discard(worker)

    def side_by_side(
        self, action: Callable[[_In], _Out], items: Sequence[_In], *, jobs: int
    ) -> Iterator[_Out]:
        """The results of an action on each item, as they come, `jobs` at once.

        Whatever interrupts it (an error of one action, Ctrl-C) ends the workers at once; what was
        under way is lost, what was yielded is not.
        """
        if self.in_process:  # a debugger wants the main thread
            yield from map(action, items)
            return
        pool = ThreadPoolExecutor(max_workers=jobs)
        try:
            pending: set[Future[_Out]] = {pool.submit(action, item) for item in items}
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED, timeout=0.5)
                for future in done:
                    yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            self.close()
            raise
        pool.shutdown()

    def close(self) -> None:
        """Kills all workers; may be called from another thread while some still work."""
        self._closed = True
        with self._lock:  # one that is being started is there afterwards
            workers = list(self._all)
        for worker in workers:
            if worker.live:
                worker.let_go()  # they end side by side
        for worker in workers:
            self._drop(worker)
