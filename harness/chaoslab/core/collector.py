"""Keeps Python's cycle collector out of the way.

What it finalizes, and when, is no function of the seed, so it must not run while an agent does; and
on a long history, which has no cycles to find, it would take a third of the time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No collection inside; afterwards as it was before."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def seldom() -> None:
    """For an interpreter that executes and judges all its life: what is loaded by now is not looked
    at again, and what executions leave in cycles, which is little, may wait for more of its
    kind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
