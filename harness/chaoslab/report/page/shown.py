"""How pieces of a history are written out on the page: masked, visible, and not without end.

Whatever an agent said is data. A value that the contract calls sensitive must not be seen, a
control character must not turn a line around, and one huge answer must not fill the page. All text
that the failures of a report take from a history goes through here, so that none is forgotten.

>>> from chaoslab.check.masking import NO_MASK
>>> shown(NO_MASK, "o-1"), seconds(1_204_000_000), millis(818_250_000)
('o-1', '1.204 s', '818.25 ms')
>>> print(pretty(NO_MASK, {"order": "o-1", "cents": 7}))
{
  "cents": 7,
  "order": "o-1"
}
"""

from __future__ import annotations

import json
from typing import Any, Final

from chaoslab.check.masking import Mask
from chaoslab.core.visible import visible

PRETTY_MAX: Final = 4_000
SHOWN_MAX: Final = 160


def shown(mask: Mask, value: Any, /, *, most: int = SHOWN_MAX) -> str:
    """A value on one line: a text as it is, anything else as JSON; cut where it is long."""
    if not isinstance(value, str):
        value = json.dumps(mask.json(value), ensure_ascii=False, sort_keys=True)
    # It is masked whole and cut afterwards: half of a secret is no longer known for one.
    text = visible(mask.text(value))
    return text if len(text) <= most else text[: most - 1] + "…"


def pretty(mask: Mask, value: Any, /, *, most: int = PRETTY_MAX) -> str:
    """A value as JSON over several lines; cut where it is long, and then it says so."""
    whole = json.dumps(mask.json(value), ensure_ascii=False, indent=2, sort_keys=True)
    text = "\n".join(visible(line) for line in whole.split("\n"))
    if len(text) <= most:
        return text
    return f"{text[:most]}\n… cut here; {len(text) - most:,} more characters are in the history"


def seconds(time_ns: int, /) -> str:
    """A time since the start of the execution, in seconds."""
    return f"{time_ns // 10**9}.{time_ns // 10**6 % 1000:03d} s"


def millis(time_ns: int, /) -> str:
    """A time since the start of the execution, in milliseconds."""
    whole, rest = divmod(time_ns // 1000, 1000)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".") + " ms"
