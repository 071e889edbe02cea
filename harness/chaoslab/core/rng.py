"""Random streams that are named, so that one more draw here shifts nothing there.

Every stream is a function of (seed, name) and of nothing else.

>>> stream(7, "latency").random() == stream(7, "latency").random()
True
>>> number(7, "p1/t1/3", below=256) == number(7, "p1/t1/3", below=256)
True
"""

from __future__ import annotations

import hashlib
from random import Random


def number(seed: int, name: str, /, *, below: int) -> int:
    """The one number of a named decision: 0 <= number < below (below <= 2**32)."""
    raw = hashlib.blake2b(name.encode(), key=seed.to_bytes(8, "big"), digest_size=8).digest()
    return int.from_bytes(raw, "big") % below


def stream(seed: int, name: str, /) -> Random:
    """A generator of its own for one named purpose."""
    raw = hashlib.blake2b(name.encode(), key=seed.to_bytes(8, "big"), digest_size=16).digest()
    return Random(int.from_bytes(raw, "big"))
