"""Where batches are carried out: threads here, or the Dask cluster of a team.

Both are a `concurrent.futures.Executor`, and both say a little more than one does: how much they
carry at once, what is wrong with them, and how to stop for good within a second. A thread here only
waits for isolated interpreters, so threads are enough, and a daemon's are: none of them may keep a
command alive that a person has ended. A cluster's own errors are told in the words of
`concurrent.futures`, so whoever spreads work knows none of Dask's.

>>> with open_executor("", jobs=2) as executor:
...     executor.submit(max, 3, 4).result()
4

Leaving such a block by an error or by Ctrl-C stops what runs; leaving it by its end waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import queue
import sys
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar, runtime_checkable
from urllib.parse import urlsplit

import chaoslab
from chaoslab.core.clock import monotonic_ms
from chaoslab.core.errors import ChaosError, UsageError
from chaoslab.explore.work import close_workers

SCHEME: Final = "dask"
_CONNECT_S: Final = 5
_ASK_S: Final = 5
_READY_S: Final = 60  # a first import on a slow disk
_STOP_MS: Final = 700
_ALONE_MS: Final = 30_000  # a cluster may start another worker meanwhile
_START: Final = "dask scheduler, and on each machine dask worker tcp://HOST:PORT"
_R = TypeVar("_R")


class WorkerLost(BrokenExecutor):
    """The process that had an item is gone, or nobody knows any more what became of the item."""


@runtime_checkable
class Crew(Protocol):
    """What an executor of ours says beside `submit`."""

    @property
    def capacity(self) -> int:
        """How many items it carries out at once, as of now."""

    def trouble(self) -> str:
        """Why nothing will come of it any more; "" while it works."""

    def stop(self) -> None:
        """Ends at once: nothing is begun, what runs is killed."""


class Threads(Executor):
    """Threads of this process, each of which waits for an isolated interpreter."""

    def __init__(self, jobs: int) -> None:
        self.capacity = jobs
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._under_way: set[Future[Any]] = set()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"chaoslab-{n}", daemon=True)
            for n in range(jobs)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., _R], /, *args: Any, **kwargs: Any) -> Future[_R]:
        """Puts one call in the queue."""
        if self._closed:
            raise RuntimeError("the executor is shut down; nothing more is begun")
        future: Future[_R] = Future()
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        self._tasks.put(lambda: _carry_out(future, lambda: fn(*args, **kwargs)))
        return future

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            del task  # what a thread holds while it waits would live as long as the thread

    def trouble(self) -> str:
        """Threads are always there."""
        return ""

    def stop(self) -> None:
        """Kills the interpreters, and those that a thread may still have begun meanwhile."""
        self.shutdown(wait=False, cancel_futures=True)
        until = monotonic_ms() + _STOP_MS
        while True:
            close_workers()
            left = tuple(self._under_way)
            if not left or monotonic_ms() >= until:
                return
            wait_for(left, timeout=0.02)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing more is taken; with `wait` what was taken is done first."""
        if not self._closed:
            self._closed = True
            for _ in self._threads:
                self._tasks.put(None)
        if cancel_futures:
            for future in tuple(self._under_way):
                future.cancel()
        if wait:
            for thread in self._threads:
                thread.join()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if kind is None:
            self.shutdown()
            close_workers()
        else:
            self.stop()


def _carry_out(future: Future[_R], action: Callable[[], _R]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = action()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


class Cluster(Executor):
    """A Dask cluster that somebody else runs. It is left as it was found: our tasks cancelled, our
    interpreters ended, the connection closed. One campaign at a time: `stop` ends all interpreters
    that the cluster's workers keep for us."""

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address
        self._theirs: dict[Future[Any], Any] = {}
        self._capacity: int = sum(client.nthreads().values())
        self._idle = 0  # workers that take nothing, mostly for want of memory
        self._empty_since: int | None = None
        self._asked_ms = monotonic_ms()
        self._stopped = False

    @property
    def capacity(self) -> int:
        """The threads of all workers; machines may come and go, so it is asked now and then."""
        if monotonic_ms() - self._asked_ms > 2_000:
            self._look()
        return max(1, self._capacity)

    def _look(self) -> None:
        # What cannot be asked now is what was known before; `trouble` tells of a lost connection.
        with suppress(OSError, TimeoutError, ValueError):
            workers = self._ask(self._workers(), _ASK_S)
            working = [one for one in workers if one.get("status", "running") == "running"]
            self._capacity = sum(one["nthreads"] for one in working)
            self._idle = len(workers) - len(working)
        self._asked_ms = monotonic_ms()

    async def _workers(self) -> Collection[Mapping[str, Any]]:
        about = await self._client.scheduler.identity()
        workers: Collection[Mapping[str, Any]] = about["workers"].values()
        return workers

    def _ask(self, question: Coroutine[Any, Any, _R], limit_s: float) -> _R:
        """The answer of the client's event loop; a TimeoutError where it does not come."""
        asked = asyncio.run_coroutine_threadsafe(question, self._client.loop.asyncio_loop)
        try:
            return asked.result(limit_s)
        finally:
            asked.cancel()

    def submit(self, fn: Callable[..., _R], /, *args: Any, **kwargs: Any) -> Future[_R]:
        """Sends one call; it is carried out even if an equal one was before."""
        if self._stopped:
            raise RuntimeError("the executor is shut down; nothing more is begun")
        if self._client.status in ("closing", "closed"):
            raise WorkerLost(self.trouble())
        theirs = self._client.submit(fn, *args, pure=False, retries=0, **kwargs)
        ours: Future[_R] = Future()
        self._theirs[ours] = theirs
        ours.add_done_callback(lambda ours: self._given_up(ours, theirs))
        self._client.loop.add_callback(self._hand_over, theirs, ours)
        return ours

    def _given_up(self, ours: Future[Any], theirs: Any) -> None:
        if ours.cancelled() and not self._stopped:
            self._client.loop.add_callback(theirs.cancel)

    async def _hand_over(self, theirs: Any, ours: Future[Any]) -> None:
        """The outcome of a future of theirs becomes that of ours, whatever happens to it. Only an
        error that the call itself has raised is told as it is."""
        from distributed import KilledWorker  # noqa: PLC0415 - of an extra

        outcome: Callable[[], Any]
        try:
            result = await theirs
        except BaseException as error:
            of_the_call = theirs.status == "error" and not isinstance(error, KilledWorker)
            told = error if of_the_call else WorkerLost(f"{type(error).__name__}: {error}")
            outcome = lambda: ours.set_exception(told)  # noqa: E731
        else:
            outcome = lambda: ours.set_result(result)  # noqa: E731
        self._theirs.pop(ours, None)
        with suppress(Exception):  # the scheduler may be gone; the outcome counts all the same
            theirs.release()
        if ours.set_running_or_notify_cancel():
            outcome()

    def trouble(self) -> str:
        """The scheduler is gone, or all workers are, for longer than a new one takes."""
        if self._client.status in ("closing", "closed"):
            return f"the Dask scheduler at {self._address} is gone"
        self._look()
        if self._capacity:
            self._empty_since = None
            return ""
        now = monotonic_ms()
        self._empty_since = self._empty_since or now
        if now - self._empty_since < _ALONE_MS:
            return ""
        text = f"the Dask cluster at {self._address} has had no workers"
        if self._idle:
            text += f" that take work ({self._idle} paused, mostly for want of memory)"
        return f"{text} for {_ALONE_MS // 1000} s"

    def stop(self) -> None:
        """Cancels all that was sent, and ends the interpreters there and the connection."""
        if self._stopped:
            return
        self._stopped = True
        if self._client.status == "running":
            with suppress(OSError, TimeoutError, RuntimeError, ValueError):
                self._ask(self._stop_there(), _STOP_MS / 1000)
        with suppress(OSError, TimeoutError, RuntimeError):
            self._client.close(timeout=0.2)
        for ours in tuple(self._theirs):
            ours.cancel()

    async def _stop_there(self) -> None:
        if self._theirs:
            await self._client.cancel(list(self._theirs.values()), force=True)
        await self._client.run(_stop_here, on_error="ignore")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends interpreters and connection; with `wait` what was sent is done first."""
        if wait and not cancel_futures:
            wait_for(tuple(self._theirs))
        self.stop()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.shutdown(wait=kind is None)


async def _stop_here(dask_worker: Any) -> None:
    """On a worker of the cluster: ends our interpreters, also those of a call that only begins."""
    until = monotonic_ms() + _STOP_MS // 2
    while True:
        close_workers()
        if not dask_worker.state.executing or monotonic_ms() >= until:
            return
        await asyncio.sleep(0.02)


def open_executor(
    where: str, /, *, jobs: int, ready: Callable[[], object] | None = None
) -> Threads | Cluster:
    """The executor of an address: "" is here, `dask://host:port` a cluster that the team runs.

    `ready` is called once on each worker of a cluster and raises what is missing there, as where
    the agent cannot be loaded. A cluster of another version would judge otherwise: UsageError.
    Workers that come later are not looked at.
    """
    if jobs < 1:
        raise UsageError("jobs must be a positive number", value=jobs, allowed="1 or more")
    if not where:
        return Threads(jobs)
    address = _address(where)
    client = _connect(address)
    try:
        _check_versions(client, address)
        if ready is not None:
            _check_ready(client, ready)
        return Cluster(client, address)
    except BaseException:
        client.close(timeout=0.2)
        raise


def _address(where: str) -> str:
    try:
        parts = urlsplit(where)
        if parts.scheme == SCHEME and parts.hostname and parts.port and not parts.path.strip("/"):
            return f"tcp://{parts.netloc}"
    except ValueError:
        pass
    raise UsageError(
        "an executor's address is of another form",
        value=where,
        allowed=f"{SCHEME}://HOST:PORT, or nothing for this machine",
        hint="name the address that `dask scheduler` prints, with dask:// in place of tcp://",
    )


def _connect(address: str) -> Any:
    """A client. It is made in a thread of its own, since one that reaches something which accepts
    and then says nothing would wait for ever."""
    try:
        from distributed import Client  # noqa: PLC0415 - of an extra
    except ImportError as error:
        raise UsageError(
            f"a Dask cluster needs the package distributed ({error})",
            hint="pip install 'chaoslab[cluster]'",
        ) from None
    for name in ("distributed", "distributed.client"):  # what is wrong we say ourselves
        logging.getLogger(name).setLevel(logging.CRITICAL)
    made: Future[Any] = Future()
    client: Any = Client  # its constructor has no types
    options = {"timeout": _CONNECT_S, "set_as_default": False}
    connecting = threading.Thread(
        target=_carry_out, args=(made, lambda: client(address, **options)), daemon=True
    )
    connecting.start()
    try:
        return made.result(_CONNECT_S + 0.5)
    except Exception as error:
        made.add_done_callback(_close_late)
        raise UsageError(
            f"no Dask scheduler answers at {address} within {_CONNECT_S} s",
            hint=f"start one ({_START}), or leave the address out",
        ) from error


def _close_late(made: Future[Any]) -> None:
    """A client that came when nobody waited for it any more."""
    if not made.cancelled() and made.exception() is None:
        made.result().close(timeout=0.2)


def _about() -> tuple[str, str, str]:
    """The versions of chaoslab and Python here, and a digest of chaoslab's own code, which one may
    have changed; asked of each worker of a cluster."""
    whole = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(chaoslab.__file__).parent.rglob("*.py")):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return chaoslab.__version__, ".".join(map(str, sys.version_info[:2])), whole.hexdigest()


def _check_versions(client: Any, address: str) -> None:
    told = client.run(_about, on_error="return")
    if not told:
        raise UsageError(
            f"the Dask cluster at {address} has no workers", hint=f"dask worker {address}"
        )
    try:  # it unpacks what is sent, before it knows to whom
        told = {"the scheduler": client.run_on_scheduler(_about), **told}
    except Exception as error:
        told = {"the scheduler": error, **told}
    here, problems = _about(), []
    for process, there in told.items():
        if isinstance(there, Exception):
            problems.append(f"{process} cannot import chaoslab ({there})")
        elif there[:2] != here[:2]:
            problems.append(f"{process} has chaoslab {there[0]} on Python {there[1]}")
        elif there != here:
            problems.append(f"{process} has other code of chaoslab {there[0]}")
    if problems:
        raise UsageError(
            f"the cluster at {address} is not like this machine: {'; '.join(problems)}",
            allowed=f"chaoslab {here[0]} on Python {here[1]}",
            hint="install the same there, as chaoslab[cluster], and start the workers again",
        )


def _check_ready(client: Any, ready: Callable[[], object]) -> None:
    """As tasks: a worker's event loop must not wait for an interpreter to start."""
    asked = {
        worker: client.submit(ready, pure=False, workers=[worker], allow_other_workers=False)
        for worker in sorted(client.nthreads())
    }
    problems = []
    for worker, future in asked.items():
        try:
            future.result(timeout=_READY_S)
        except ChaosError as error:
            problems.append(f"{worker}: {error}")
        except TimeoutError:
            problems.append(f"{worker}: no answer within {_READY_S} s")
        except Exception as error:
            problems.append(f"{worker}: {type(error).__name__}: {error}")
    if problems:
        raise UsageError(
            f"not every worker of the cluster is ready: {'; '.join(problems)}",
            hint="make the agent's files and packages available there, under the same path",
        )
