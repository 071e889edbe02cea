"""Many runs at once, each told as it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from chaoslab.run.model import RunRecord, RunSpec, exit_code
from chaoslab.run.perform import perform
from chaoslab.run.store import FORMAT, Campaign, write_json
from chaoslab.run.workers import Workers

OnRun = Callable[[dict[str, Any], RunRecord | None], None]


def run_all(
    specs: Sequence[RunSpec],
    campaign: Campaign,
    workers: Workers,
    *,
    jobs: int,
    on_run: OnRun,
) -> dict[str, Any]:
    """Performs all runs that the campaign has not finished yet and writes `results.json`.

    `on_run` gets each entry as it ends, with its record, or None for one that was kept from an
    earlier start. Results are in the order of `specs`. KeyboardInterrupt passes through after
    what is finished has been written.
    """
    entries: dict[str, dict[str, Any]] = {}
    todo = []
    for spec in specs:
        kept = campaign.finished(spec.id, spec.fingerprint)
        if kept is None:
            todo.append(spec)
        else:
            entries[spec.id] = kept
            on_run(kept, None)
    try:
        _perform_all(todo, campaign, workers, jobs, entries, on_run)
    finally:
        ordered = [entries[s.id] for s in specs if s.id in entries]
        results = {
            "format": FORMAT,
            "exit_code": exit_code(ordered),
            "complete": len(ordered) == len(specs),
            "runs": ordered,
        }
        write_json(campaign.folder / "results.json", results)
    return results


def _perform_all(
    todo: Sequence[RunSpec],
    campaign: Campaign,
    workers: Workers,
    jobs: int,
    entries: dict[str, dict[str, Any]],
    on_run: OnRun,
) -> None:
    lock = threading.Lock()
    stopping = threading.Event()

    def one(spec: RunSpec) -> None:
        if stopping.is_set():
            return
        folder: Path = campaign.begin(spec.id)
        record = perform(spec, workers, folder)
        if stopping.is_set():
            return
        entry = campaign.finish(record)
        with lock:
            entries[spec.id] = entry
            on_run(entry, record)

    if workers.in_process:  # a debugger wants the main thread
        for spec in todo:
            one(spec)
        return
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        pending: set[Future[None]] = {pool.submit(one, spec) for spec in todo}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED, timeout=0.5)
            for future in done:
                future.result()
    except BaseException:
        stopping.set()
        workers.close()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
