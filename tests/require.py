"""Parts that a test needs: a missing one skips it with the probe's own words.

Where `CHAOSLAB_REQUIRE` names the part (commas or blanks between several), that is a failure: a
machine that is meant to have it must not pass for one that was tested.
"""

from __future__ import annotations

import os
import re
from typing import NoReturn

import pytest

from chaoslab.cli.parts import PARTS, part
from chaoslab.cli.probes import probes


def required(name: str, /) -> bool:
    """Whether the part must be there."""
    return name in re.split(r"[\s,]+", os.environ.get("CHAOSLAB_REQUIRE", ""))


def absent(name: str, words: str, /) -> NoReturn:
    """Ends the test: the part is not there, for the reason in `words`."""
    if required(name):
        pytest.fail(f"CHAOSLAB_REQUIRE asks for {name}: {words}", pytrace=False)
    pytest.skip(words)


def need(name: str, /) -> None:
    """Ends the test where the part does not work here."""
    probe = part(name) if name in PARTS else next(p for p in probes() if p.name == name)
    if not probe.works:
        absent(name, f"{probe.name}: {probe.words}")
