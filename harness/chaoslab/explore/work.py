"""What an executor calls, here or on another machine: batches in, judgements out.

The functions are plain and stand at the top of a module, so that they can be sent anywhere. Each
process that is asked keeps one pool of isolated interpreters, so an agent that hangs, floods or
crashes costs its own execution, on a cluster as well as here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaoslab.run.model import RunSpec
from chaoslab.run.strikes import BatchEnd, StrikeBatch
from chaoslab.run.trials import Trial
from chaoslab.run.workers import Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How executions are carried out: the wall time of one, and whether in this very process."""

    watchdog_ms: int = 20_000
    in_process: bool = False


_pools: dict[Setting, Workers] = {}


def workers_here(setting: Setting, /) -> Workers:
    """This process's pool; made when it is first asked for. A pool starts no interpreter before it
    is asked to do something, so one that loses the race of two threads costs nothing."""
    found = _pools.get(setting)
    if found is None:
        made = Workers(watchdog_ms=setting.watchdog_ms, in_process=setting.in_process)
        found = _pools.setdefault(setting, made)
    return found


def close_workers() -> None:
    """Ends all interpreters of this process's pools, at once; what they were doing is lost."""
    while _pools:
        _, pool = _pools.popitem()
        pool.close()


def sweep_batch(setting: Setting, batch: StrikeBatch, /) -> BatchEnd:
    """The executions of a batch of strikes."""
    return workers_here(setting).strikes(batch)


def trials_batch(setting: Setting, specs: Sequence[RunSpec], /) -> list[Trial]:
    """Trials, in order."""
    return workers_here(setting).trials(specs)
