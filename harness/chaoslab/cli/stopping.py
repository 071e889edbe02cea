"""Ctrl-C while code is loaded. Python raises it in whatever runs at that moment, and what is
imported then may take it for a failed import and go on without a word. So it is also noted, and
raised once more when all is loaded.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def not_lost() -> Iterator[None]:
    """KeyboardInterrupt at the end where one came and was lost. Only the main thread hears signals,
    and where somebody else listens that stays so."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    came = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt
