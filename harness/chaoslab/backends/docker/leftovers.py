"""What containers and networks a lab leaves behind, and that they go away even where it dies.

Everything is labelled with its execution and with the process that made it, by number and start
time: a number alone is soon given to somebody else. Whoever starts next removes what belongs to
processes that are gone. A lab behind other walls (its own container, another machine) that shares
the daemon cannot be seen from here, so what is its is left to it.

>>> owner_lives(owner())
True
>>> where, _, _ = owner().split("/")
>>> owner_lives(f"{where}/1234567890/1"), owner_lives("elsewhere/1/1"), owner_lives("rubbish")
(False, True, True)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from chaoslab.backends.docker.daemon import connected
from chaoslab.core.errors import ChaosError

RUN_LABEL: Final = "chaoslab.run"
LAB_LABEL: Final = "chaoslab.lab"
_TRIES: Final = 5
_THREADS: Final = 8
_owners: dict[int, str] = {}


def owner() -> str:
    """This process, as a label: where it is seen from, its number, when it started."""
    pid = os.getpid()
    if pid not in _owners:  # another one after a fork
        _owners[pid] = f"{_place()}/{pid}/{_started(pid)}"
    return _owners[pid]


def owner_lives(label: str, /) -> bool:
    """Whether the process that a label names may live."""
    where, _, rest = label.partition("/")
    pid, _, started = rest.partition("/")
    if where != _place() or not pid.isdecimal():
        return True
    return _started(int(pid)) == started


def sweep() -> int:
    """Removes what dead labs have left; how many containers and networks."""
    with connected() as client:
        dead = {
            labels.get(RUN_LABEL, "")
            for labels in _labels(client)
            if not owner_lives(labels.get(LAB_LABEL, ""))
        }
        return sum(_remove(client, run) for run in sorted(dead) if run)


def remove(run: str, /) -> int:
    """Removes what an execution has started, whatever state it is in; how many."""
    with connected() as client:
        return _remove(client, run)


def remove_quietly(run: str, /) -> None:
    """The same at an end that nobody can complain about any more: the next start tries again."""
    with suppress(ChaosError):
        remove(run)


def _labels(client: Any) -> list[dict[str, str]]:
    """Of all that some lab made, alive or not."""
    wanted = {"label": [RUN_LABEL]}
    containers = client.api.containers(all=True, filters=wanted)
    networks = client.api.networks(filters=wanted)
    return [dict(found.get("Labels") or {}) for found in (*containers, *networks)]


def _remove(client: Any, run: str) -> int:
    """Containers first, since a network with one at it stays. Somebody else may do the same at
    the same time, so what is gone meanwhile is no mistake."""
    wanted, count = {"label": [f"{RUN_LABEL}={run}"]}, 0
    for _ in range(_TRIES):
        containers = client.api.containers(all=True, filters=wanted)
        count += _each(partial(client.api.remove_container, force=True, v=True), containers)
        networks = client.api.networks(filters=wanted)
        count += _each(client.api.remove_network, networks)
        if not containers and not networks:
            break
    return count


def _each(action: Callable[[str], None], found: Sequence[Mapping[str, Any]]) -> int:
    """Does something with everything that was found, side by side, since it is mostly waiting; with
    how many it could be done."""
    import docker.errors  # noqa: PLC0415

    def done(one: Mapping[str, Any]) -> int:
        try:
            action(one["Id"])
        except docker.errors.APIError:
            return 0
        return 1

    if not found:
        return 0
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        return sum(pool.map(done, found))


def _place() -> str:
    """The start of this machine and the walls around this process: elsewhere the same number means
    another process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux: the numbers are the machine's
        return "here"


def _started(pid: int) -> str:
    """When a process started, in the system's ticks; empty where there is none. One that is dead
    and only not yet collected counts as gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    if Path("/proc/self/stat").exists():
        return ""
    try:  # not Linux
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "lives"
    return "lives"
