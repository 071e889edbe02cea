"""The two networks of an execution whose regions are containers.

The *admin* network carries the lab's own requests and is never taken away, so a region that is cut
off from its peers still answers the lab. Its name sorts first: Docker takes the first network for
the way out, and moves the ports that it publishes when that one changes. Containers cannot speak to
each other over it, nor can they reach anything outside.

The *regions* network is internal and carries what peers say to each other. Leaving it is the
partition. Addresses are fixed, so that a connection that was cut off goes on after the mend, as it
does over a real line.

Both take their addresses from 198.18.0.0/15, which is set aside for tests of networks and used by
nobody else, since Docker's own supply is enough for some thirty networks only.

>>> subnet_of(0), subnet_of(BLOCKS - 1)
('198.18.0.0/26', '198.19.255.192/26')
>>> address_in("198.18.0.64/26", 0), address_in("198.18.0.64/26", 3)
('198.18.0.66', '198.18.0.69')
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from ipaddress import ip_network
from typing import Any, Final

from chaoslab.core.errors import LabError

_RANGE: Final = ip_network("198.18.0.0/15")
_PREFIX: Final = 26
BLOCKS: Final = 2 ** (_PREFIX - _RANGE.prefixlen)
REGIONS_MAX: Final = 2 ** (32 - _PREFIX) - 4
_TRIES: Final = 30
_BRIDGE: Final = "com.docker.network.bridge"


def admin_network(client: Any, run: str, labels: Mapping[str, str], /) -> Any:
    """Makes the network of the lab's requests; see the module."""
    options = {f"{_BRIDGE}.enable_icc": "false", f"{_BRIDGE}.enable_ip_masquerade": "false"}
    return _made(client, f"chaoslab-{run}-0-admin", labels, options=options)


def regions_network(client: Any, run: str, labels: Mapping[str, str], /) -> tuple[Any, str]:
    """Makes the network between the regions; it, and its subnet."""
    network = _made(client, f"chaoslab-{run}-1-regions", labels, internal=True)
    network.reload()
    return network, str(network.attrs["IPAM"]["Config"][0]["Subnet"])


def picked(name: str, count: int, /) -> int:
    """One of several, by name: other executions begin to look elsewhere."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) % count


def subnet_of(block: int, /) -> str:
    """One of the subnets."""
    first = int(_RANGE.network_address) + (block << (32 - _PREFIX))
    return str(ip_network((first, _PREFIX)))


def address_in(subnet: str, index: int, /) -> str:
    """The address of a member; the first one belongs to the host."""
    return str(ip_network(subnet)[index + 2])


def _made(client: Any, name: str, labels: Mapping[str, str], **more: Any) -> Any:
    """A network on a subnet that is free: only the daemon knows which are, so it is asked."""
    import docker.errors  # noqa: PLC0415
    import docker.types  # noqa: PLC0415

    for attempt in range(_TRIES):
        pool = docker.types.IPAMPool(subnet=subnet_of(picked(f"{name}/{attempt}", BLOCKS)))
        try:
            return client.networks.create(
                name,
                driver="bridge",
                ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                labels=dict(labels),
                check_duplicate=True,
                **more,
            )
        except docker.errors.APIError as error:
            if "overlaps" not in str(error.explanation).lower():
                raise
    raise LabError(
        f"no subnet of {_RANGE} is free for a network of regions",
        hint="`docker network ls` shows who has them",
    )
