"""Whether an execution has regions that are processes of their own, and their start."""

from __future__ import annotations

import asyncio
from typing import Final

from chaoslab.backends.api import ExecutionSpec
from chaoslab.backends.process.homes import Homes
from chaoslab.backends.process.hub import LiveHub
from chaoslab.backends.process.leftovers import Home
from chaoslab.backends.process.lines import Lines
from chaoslab.backends.process.process_homes import ProcessHomes
from chaoslab.backends.process.regional import Regional
from chaoslab.backends.process.setting import Setting
from chaoslab.backends.process.stores import keep_of
from chaoslab.contract.target import Target

_HOLE: Final = "{memory}"
_FOLDER: Final = ".regions"


def regions_needed(spec: ExecutionSpec, target: Target, /) -> bool:
    """Whether anybody could notice them: there are several, or the agent keeps its memory with the
    lab. An agent that does neither is spared the wait for a process that nobody asks."""
    if len(spec.scenario.regions.names) > 1 or target.ready == "ports":
        return True
    words = [*target.env.values(), *(word for argv in target.commands for word in argv)]
    return any(_HOLE in word for word in words)


async def started(hub: LiveHub, setting: Setting, home: Home, /) -> Regional:
    """Starts the regions of an execution, whose folder is `home`."""
    folder = home.path / _FOLDER
    folder.mkdir(exist_ok=True)
    regions = hub.spec.scenario.regions
    lines = Lines(setting.target.toxiproxy, hub.run, seed=hub.spec.seed, folder=folder)
    homes: Homes
    if setting.target.containers:
        from chaoslab.backends.docker.homes import ContainerHomes  # noqa: PLC0415

        homes = ContainerHomes(home, folder, regions.names)
    else:
        keep = await asyncio.to_thread(keep_of, setting.target.store, hub.run, folder)
        homes = ProcessHomes(folder, setting.plain_env(), keep=keep, lines=lines)
    regional = Regional(
        homes,
        regions.names,
        hub.recorder,
        hub.loop,
        lines=lines,
        session_of=hub.leases.session_of,
        lag_ms=regions.lag_ms / setting.target.speed,
    )
    if isinstance(homes, ProcessHomes) and homes.loses_answers:
        regional.unanswered = homes.unanswered
    try:
        await regional.boot()
    except BaseException:
        await regional.close()
        raise
    return regional
