"""What the supervisor keeps of a task, and where its agents come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from chaoslab.backends.common.hub import Process
from chaoslab.world.api import Agent, Outcome, Task


@dataclass(slots=True, eq=False)
class Work:
    """One task, and who has it."""

    task: Task
    number: int
    outcome: Outcome | None = None
    deliveries: int = 0
    holders: list[Process] = field(default_factory=list)
    waiting: bool = False
    raised: str = ""


class Source(Protocol):
    """Where agents come from."""

    @property
    def name(self) -> str:
        """What a message calls it."""
        ...

    def create(self) -> Agent:
        """A new incarnation."""
        ...
