"""What a port asks for: the part of a call that differs from port to port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaoslab.core.jsons import Json
from chaoslab.history import OpType
from chaoslab.world.request import Caller

if TYPE_CHECKING:
    from chaoslab.backends.common.flight import Flight


@dataclass(slots=True, kw_only=True)
class Call:
    """What a port asks for.

    `begin` may answer at once (a reply) or raise; None means that `commit` follows after
    `duration_ms`. `steps` replaces `commit` for a group that is written item by item.
    `outside`: the service is beyond the region's link. `local`: it runs inside the process.
    `remote` replaces `commit`, and `remote_steps` `steps`, where the service is not in the lab and
    answers in its own time; `unanswered`, where there is one, does what `remote` does so that the
    service never learns of its own commit;
    `type_of` says whether such an answer is a success.
    """

    f: str
    value: dict[str, Json]
    marker: str
    deadline_ms: int
    commit: Callable[[Caller, Flight], Any] = field(default=lambda caller, flight: None)
    begin: Callable[[Caller], Any] = field(default=lambda caller: None)
    abandon: Callable[[], None] = field(default=lambda: None)
    steps: Callable[[Caller], Iterator[Any]] | None = None
    remote: Callable[[Caller], Awaitable[Any]] | None = None
    unanswered: Callable[[Caller], Awaitable[Any]] | None = None
    remote_steps: Callable[[Caller], AsyncIterator[Any]] | None = None
    result: Callable[[Any], Json] = field(default=lambda value: None)
    type_of: Callable[[Any], OpType] = field(default=lambda reply: "ok")
    key: str | None = None
    duration_ms: int = 0
    base_ms: int = 1
    outside: bool = True
    local: bool = False

    @property
    def distant(self) -> bool:
        """Whether somebody else than the lab carries it out."""
        return self.remote is not None or self.remote_steps is not None
