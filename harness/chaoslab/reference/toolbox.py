"""The tools of the support desk: how each is to be called, and the key of each action.

Whether a failed call may be repeated depends on the tool alone, so it stands here and not in the
code that calls: a keyed service absorbs a repeat, an un-keyed one would do it twice.

The key names the *action* and nothing that changes between two tries of it: no clock, no attempt
number, no tool call id (the model gives a fresh one with every answer), no wording, no region.

>>> key_of("s1", "t1", "refund", "o-7") == key_of("s1", "t1", "refund", "o-7")
True
>>> missing_args(TOOLS["notify"], {"order": "o-7", "template": "refunded"})
['text']
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool. `args` come from the model; `attributes` (argument -> attribute of the customer)
    are added when a request is sent, and are never shown to it. `budgeted`: it needs a slot of
    the budget. `page`: no service, but the reading of a page. `settle_ms`: how long a request
    that is in flight usually still takes."""

    name: str
    args: Mapping[str, type]
    attributes: Mapping[str, str] = field(default_factory=dict)
    keyed: bool = True
    wasm: bool = False
    page: bool = False
    budgeted: bool = False
    deadline_ms: int = 2_000
    settle_ms: int = 1_000


TOOLS: Final[Mapping[str, Tool]] = {
    tool.name: tool
    for tool in (
        Tool(name="refund", args={"order": str, "amount_cents": int, "reason": str}),
        Tool(name="notify", args={"order": str, "template": str, "text": str}, keyed=False),
        Tool(
            name="ship",
            args={"order": str, "street": str, "city": str},
            deadline_ms=45_000,
            settle_ms=20_000,
        ),
        Tool(
            name="ticket",
            args={"order": str, "customer": str, "subject": str, "body": str},
            wasm=True,
        ),
        Tool(
            name="credit",
            args={"order": str, "amount_cents": int},
            attributes={"account": "iban"},
            budgeted=True,
            settle_ms=5_000,
        ),
        Tool(name="browse", args={"url": str}, keyed=False, page=True),
    )
}


def missing_args(tool: Tool, args: Mapping[str, Any], /) -> list[str]:
    """The arguments that are not there, or not of their type. A model may write anything."""
    return [name for name, kind in tool.args.items() if type(args.get(name)) is not kind]


def key_of(session: str, task: str, tool: str, marker: str, /) -> str:
    """The idempotency key of an action: the same in every process, region and wording."""
    name = json.dumps([session, task, tool, marker], ensure_ascii=False)
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
