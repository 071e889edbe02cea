"""What the tests of containers share: a daemon, or the reason why they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.require import need

from chaoslab.backends.docker.base import make_base
from chaoslab.backends.docker.daemon import connect
from chaoslab.backends.docker.images import base_of
from chaoslab.core.errors import UsageError


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """A client of the daemon, which has a base to make regions of."""
    need("docker")
    made = connect()
    try:
        try:
            base_of(made)
        except UsageError:
            make_base(made)
        yield made
    finally:
        made.close()
