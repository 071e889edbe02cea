"""Servers of Toxiproxy's interface for the tests that want one: each kind in turn.

`CHAOSLAB_TOXIPROXY` may name further ones by their URLs, such as a container's; whatever proxies
they have are deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.live.wires import Wire, need_original, wired

from chaoslab.links.client import Links
from chaoslab.links.servers import stand

KINDS = ["embedded", "original", *os.environ.get("CHAOSLAB_TOXIPROXY", "").split()]


@pytest.fixture(scope="module", params=KINDS)
def links(request: pytest.FixtureRequest) -> Iterator[Links]:
    if request.param == "original":
        need_original()
    with stand(request.param) as found:
        yield found


@pytest.fixture
def wire(links: Links) -> Iterator[Wire]:
    with wired(links) as made:
        yield made
