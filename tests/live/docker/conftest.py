"""What the tests of containers share: a daemon, or the reason why they are skipped."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from chaoslab.backends.docker.base import make_base
from chaoslab.backends.docker.daemon import connect
from chaoslab.backends.docker.images import base_of
from chaoslab.core.errors import UsageError

REQUIRED = "docker" in re.split(r"[\s,]+", os.environ.get("CHAOSLAB_REQUIRE", ""))


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """A client of the daemon, which has a base to make regions of."""
    try:
        made = connect()
    except UsageError as error:
        if REQUIRED:
            pytest.fail(f"CHAOSLAB_REQUIRE asks for docker: {error}")
        pytest.skip(str(error))
    try:
        try:
            base_of(made)
        except UsageError:
            make_base(made)
        yield made
    finally:
        made.close()
