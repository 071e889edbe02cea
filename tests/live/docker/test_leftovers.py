"""A lab that is killed leaves containers and networks; the next one removes them, and only them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.live.docker.test_homes import left_of
from tests.live.test_leftovers import HARNESS, heed_ctrl_c, until

from chaoslab.backends.docker import check_docker
from chaoslab.backends.docker.leftovers import LAB_LABEL, RUN_LABEL, owner, sweep
from chaoslab.backends.process import leftovers

# It starts two regions, says so, and waits to be killed.
LAB = """
import asyncio, json, sys
from chaoslab.backends.docker.homes import ContainerHomes
from chaoslab.backends.process.leftovers import Home

async def main():
    home = Home(sys.argv[1])
    try:
        homes = ContainerHomes(home, home.path, ["eu", "us"])
        places = [await homes.start("eu"), await homes.start("us")]
        await homes.pause("us")
        print(json.dumps([str(home.path), *(place.port for place in places)]), flush=True)
        await asyncio.Event().wait()
    finally:
        home.close()

asyncio.run(main())
"""


def lab(run: str) -> tuple[subprocess.Popen[str], list[Any]]:
    """A lab whose regions are up."""
    made = subprocess.Popen(
        [sys.executable, "-c", LAB, run],
        env={**os.environ, "PYTHONPATH": str(HARNESS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    assert made.stdout is not None
    return made, json.loads(made.stdout.readline())


def listening(ports: list[int]) -> list[int]:
    """Those of some ports that somebody listens at."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    at = {int(line.split()[1].rpartition(":")[2], 16) for line in lines if " 0A " in line}
    return [port for port in ports if port in at]


def test_after_a_kill_the_next_lab_clears_up(client: Any) -> None:
    killed, (folder, *ports) = lab("rkilled")
    alive, (_, *others) = lab("ralive")
    try:
        assert len(left_of(client, "rkilled")) == len(left_of(client, "ralive")) == 4
        assert listening(ports) == ports
        killed.kill()
        killed.wait()
        check_docker()  # what a start with --backend docker does first
        leftovers.sweep()
        assert left_of(client, "rkilled") == []
        assert until(lambda: listening(ports) == [], 15)
        assert not Path(folder).exists()
        # What belongs to a lab that lives is not touched.
        assert len(left_of(client, "ralive")) == 4 and listening(others) == others
    finally:
        for made in (killed, alive):
            made.kill()
            made.wait()
            assert made.stdout is not None
            made.stdout.close()
    sweep()
    assert left_of(client, "ralive") == []


def test_ctrl_c_leaves_nothing(client: Any) -> None:
    made, (folder, *ports) = lab("rstopped")
    made.send_signal(signal.SIGINT)
    made.wait(60)
    assert made.stdout is not None
    made.stdout.close()
    assert left_of(client, "rstopped") == [] and listening(ports) == []
    assert not Path(folder).exists()


def test_networks_alone_are_seen_and_strangers_are_not(client: Any) -> None:
    where = owner().partition("/")[0]
    labels = {"dead": f"{where}/4194304999/1", "elsewhere": "another.4026531836/1/1"}
    made = [
        client.networks.create(f"chaoslab-{run}", labels={RUN_LABEL: run, LAB_LABEL: label})
        for run, label in labels.items()
    ]
    try:
        sweep()
        assert left_of(client, "dead") == []
        assert left_of(client, "elsewhere") == ["chaoslab-elsewhere"]
    finally:
        made[1].remove()
