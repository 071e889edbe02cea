"""The reference agent through failovers whose regions are containers; and a lab that is killed
in the middle of one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.live.docker.test_leftovers import listening
from tests.live.lab import verdicts
from tests.live.test_leftovers import HARNESS, until

from chaoslab.backends.docker.boxes import Boxes
from chaoslab.backends.docker.leftovers import LAB_LABEL, RUN_LABEL, sweep
from chaoslab.run.model import RunRecord
from chaoslab.run.perform import perform
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.workers import Workers


def run(scenario: str, folder: Path) -> RunRecord:
    """One run without repetitions, in this process."""
    [spec] = specs_for(
        scenario_files([scenario]), REFERENCE, seeds=[0], backend="docker", repeats=0
    )
    made = Workers(in_process=True)
    try:
        return perform(spec, made, folder)
    finally:
        made.close()


@pytest.mark.parametrize(
    ("scenario", "struck"), [("failover-killed", "kill"), ("failover-partitioned", "cut")]
)
def test_the_reference_agent_comes_through(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: str, struck: str
) -> None:
    done: list[tuple[str, str]] = []
    for name in ("start", "kill", "cut", "mend"):
        whole = getattr(Boxes, name)

        def noted(self: Boxes, region: str, name: str = name, whole: Any = whole) -> None:
            done.append((name, region))
            whole(self, region)

        monkeypatch.setattr(Boxes, name, noted)
    record = run(scenario, tmp_path)
    assert record.broke == "" and record.control_violations == ()
    assert (struck, "east") in done and done.count(("start", "west")) == 2
    found = verdicts(record)
    assert "invalid" not in found.values(), record.violations
    assert found["regions.loss"] == found["effects.delivery"] == "valid"
    assert regions_of(client, os.getpid()) == []


def regions_of(client: Any, lab: int) -> list[Mapping[str, Any]]:
    """The containers that a process has made."""
    found = client.api.containers(all=True, filters={"label": RUN_LABEL})
    return [c for c in found if c["Labels"][LAB_LABEL].split("/")[1] == str(lab)]


def running(found: list[Mapping[str, Any]]) -> bool:
    """Whether both regions are up."""
    return len(found) == 2 and all(c["State"] == "running" and c["Ports"] for c in found)


def test_a_lab_that_is_killed_in_the_middle_of_a_run(client: Any, tmp_path: Path) -> None:
    words = ["run", "failover-killed", "--backend", "docker", "--seed", "0", "--in-process"]
    lab = subprocess.Popen(
        [sys.executable, "-m", "chaoslab", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HARNESS)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert until(lambda: running(regions_of(client, lab.pid)), 60), "no region was started"
        found = regions_of(client, lab.pid)
        ports = [port["PublicPort"] for c in found for port in c["Ports"]]
        assert listening(ports) == ports
    finally:
        lab.kill()
        lab.wait()
    sweep()
    assert regions_of(client, lab.pid) == []
    runs = {c["Labels"][RUN_LABEL] for c in found}
    wanted = {"label": [f"{RUN_LABEL}={run}" for run in runs]}
    assert client.api.networks(filters=wanted) == []
    assert until(lambda: listening(ports) == [], 15)
