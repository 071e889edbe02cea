"""The containers of one execution's regions, as the Docker daemon sees them.

What differs from regions that are processes is their walls: a root that cannot be written, no
rights, no way out, limits for memory and processes; a partition is a network that is taken away,
not a flag. A region's data stays in the execution's folder on this machine, where it survives a
restart and where the lab reads its ledger as the referee.

The port for the lab's requests is chosen here and kept for good, since a port that Docker chooses
changes with each start. It lies below those that the system hands out by itself.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chaoslab.backends.docker.daemon import connect, told
from chaoslab.backends.docker.images import DATA, PEER_PORT, PORT, USER, region_image
from chaoslab.backends.docker.leftovers import LAB_LABEL, RUN_LABEL, owner, remove
from chaoslab.backends.docker.networks import (
    REGIONS_MAX,
    address_in,
    admin_network,
    picked,
    regions_network,
)
from chaoslab.core.errors import LabError, UsageError

REGION_LABEL: Final = "chaoslab.region"
_PORTS: Final = range(20_000, 32_000)
_PORT_TRIES: Final = 20
_MEMORY: Final = "256m"
_PIDS: Final = 64
_STOP_S: Final = 10


@dataclass(slots=True, kw_only=True)
class Box:
    """One region's container."""

    region: str
    alias: str
    index: int
    port: int = 0
    id: str = ""
    linked: bool = True


class Boxes:
    """The containers of one execution. Every method blocks until the daemon has done it."""

    def __init__(
        self, run: str, regions: Sequence[str], folder: Path, token: str, *, base: str = ""
    ) -> None:
        if len(regions) > REGIONS_MAX:
            raise UsageError(
                "too many regions for one network", value=len(regions), allowed=str(REGIONS_MAX)
            )
        self._run, self._folder, self._token, self._base = run, folder, token, base
        self.boxes = {
            name: Box(region=name, alias=_alias(name, index), index=index)
            for index, name in enumerate(regions)
        }
        self._labels = {RUN_LABEL: run, LAB_LABEL: owner()}
        self._client: Any = None

    def open(self) -> None:
        """Finds the daemon, makes the image where it is missing, and both networks."""
        self._client = client = connect()
        with told("make the networks of the regions"):
            self._image = region_image(client, base=self._base)
            self._user, self._extra = _user_of(client)
            self._admin = admin_network(client, self._run, self._labels)
            self._network, self._subnet = regions_network(client, self._run, self._labels)

    def close(self) -> None:
        """Removes all of it."""
        if self._client is not None:
            self._client.close()
            self._client = None
            remove(self._run)

    def data_of(self, region: str) -> Path:
        """Where a region keeps its data, on this machine."""
        return self._folder / self.boxes[region].alias

    def start(self, region: str) -> None:
        """Starts a region, the first time or again on what it has kept."""
        box = self.boxes[region]
        if box.id:
            with told(f"start the region {region}"):
                self._client.api.start(box.id)
            return
        for attempt in range(1, _PORT_TRIES + 1):
            box.port = free_port(f"{self._run}/{region}/{attempt}")
            try:
                self._create(box)
                return
            except Exception as error:
                if box.id:
                    self._client.api.remove_container(box.id, force=True, v=True)
                    box.id = ""
                # Somebody may have taken the port since it was seen to be free.
                if "address already in use" in str(error) or "already allocated" in str(error):
                    if attempt < _PORT_TRIES:
                        continue
                raise

    def _create(self, box: Box) -> None:
        import docker.types  # noqa: PLC0415

        data = self.data_of(box.region)
        data.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0 and self._user != "0:0":
            os.chown(data, USER, USER)
        with told(f"start the region {box.region}"):
            made = self._client.containers.create(
                self._image,
                _argv(box.region),
                environment={"CHAOSLAB_TOKEN": self._token},
                name=f"chaoslab-{self._run}-{box.alias}",
                labels={**self._labels, REGION_LABEL: box.region},
                network=self._admin.name,
                ports={f"{PORT}/tcp": ("127.0.0.1", box.port)},
                mounts=[docker.types.Mount(DATA, str(data), type="bind")],
                user=self._user,
                read_only=True,
                tmpfs={"/tmp": "size=16m,mode=1777"},  # noqa: S108 - in the container
                cap_drop=["ALL"],
                security_opt=["no-new-privileges", "label=disable"],
                mem_limit=_MEMORY,
                memswap_limit=_MEMORY,
                pids_limit=_PIDS,
                log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1m"}),
                **self._extra,
            )
            box.id = made.id
            self._link(box)
            made.start()

    def kill(self, region: str) -> None:
        """SIGKILL; returns when it is dead."""
        import docker.errors  # noqa: PLC0415

        box = self.boxes[region]
        with told(f"kill the region {region}"):
            try:
                self._client.api.kill(box.id, signal="SIGKILL")
            except docker.errors.APIError as error:
                if error.status_code != 409:  # it is dead already
                    raise
            self._client.api.wait(box.id, timeout=_STOP_S)

    def pause(self, region: str) -> None:
        """Freezes it: connections to it still succeed, and nothing answers."""
        with told(f"pause the region {region}"):
            self._client.api.pause(self.boxes[region].id)

    def resume(self, region: str) -> None:
        """Goes on as if no time had passed."""
        with told(f"resume the region {region}"):
            self._client.api.unpause(self.boxes[region].id)

    def cut(self, region: str) -> None:
        """Takes the network of the regions away from it; the lab still reaches it."""
        box = self.boxes[region]
        if box.linked:
            with told(f"cut the region {region} off"):
                self._network.disconnect(box.id, force=True)
            box.linked = False

    def mend(self, region: str) -> None:
        """Gives it back, at the same address."""
        box = self.boxes[region]
        if not box.linked:
            with told(f"join the region {region} again"):
                self._link(box)

    def _link(self, box: Box) -> None:
        self._network.connect(box.id, aliases=[box.alias], ipv4_address=self.peer_host(box.region))
        box.linked = True

    def peer_host(self, region: str) -> str:
        """Where its peers find it. An address and no name: Docker also knows the names of both
        networks' members on the other one, where nobody lets peers through."""
        return address_in(self._subnet, self.boxes[region].index)

    def last_words(self, region: str) -> str:
        """How it is, and the end of what it said; empty while it runs."""
        box = self.boxes[region]
        with told(f"look at the region {region}"):
            state = self._client.api.inspect_container(box.id)["State"]
            if state["Running"]:
                return ""
            said = self._client.api.logs(box.id, tail=3).decode("utf-8", "replace")
        return f"it ended with exit code {state['ExitCode']}: {' '.join(said.split())[-400:]}"


def free_port(name: str, /) -> int:
    """A port of this machine that nobody has, and that the system gives to nobody by itself; which
    one is looked at first depends on the name."""
    first = picked(name, len(_PORTS))
    for index in range(len(_PORTS)):
        port = _PORTS[(first + index) % len(_PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LabError("no port is free for a region", value=f"{_PORTS.start}-{_PORTS.stop - 1}")


def _alias(region: str, index: int) -> str:
    """How peers call a region: its name as far as it can be one of a machine."""
    plain = re.sub(r"[^a-z0-9]+", "-", region.lower()).strip("-")[:30]
    return f"{plain or 'region'}-{index}"


def _argv(region: str) -> list[str]:
    return [
        *("--name", region, "--data", DATA),
        *("--host", "0.0.0.0", "--port", str(PORT), "--peer-port", str(PEER_PORT)),  # noqa: S104
    ]


def _user_of(client: Any) -> tuple[str, Mapping[str, Any]]:
    """As whom a region runs, so that what it writes can be read and removed here."""
    security = " ".join(client.info().get("SecurityOptions") or ())
    if "name=rootless" in security:
        return "0:0", {}  # there this is whoever runs the daemon
    extra = {"userns_mode": "host"} if "name=userns" in security else {}
    own = os.getuid()
    return (f"{USER}:{USER}" if own == 0 else f"{own}:{os.getgid()}"), extra
