"""Ctrl-C while code is loaded. Python raises it in whatever runs at that moment, and what is
imported then may take it for a failed import and go on without a word. So it is also noted, and
raised once more when all is loaded.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def not_lost() -> Iterator[None]:
    """KeyboardInterrupt at the end where one came and was lost. Only the main thread hears signals,
    and where somebody else listens that stays so."""
    came = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    try:
        mine = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if mine:
            signal.signal(signal.SIGINT, note)
    except ValueError:  # another thread
        mine = False
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt
