"""The recorded decisions of an execution.

A decision is named by (process, task, nth call of that task there, leg), so that one more call in
one task shifts nothing in another. Its value, 0 to 255, is drawn from the seed or taken from a
recording; 0 is the plainest, which is where shrinking goes.

>>> choices = Choices(seed=1, recorded=None)
>>> choices.take("home-1/s1-t1/1/out") == choices.take("home-1/s1-t1/1/out")
True
>>> Choices(seed=1, recorded={}).take("anything")
0
"""

from __future__ import annotations

from collections.abc import Mapping

from chaoslab.core.rng import number


class Choices:
    """Draws and remembers."""

    __slots__ = ("_recorded", "_seed", "taken")

    def __init__(self, *, seed: int, recorded: Mapping[str, int] | None) -> None:
        self._seed = seed
        self._recorded = recorded
        self.taken: dict[str, int] = {}

    def take(self, name: str, /) -> int:
        """The value of a decision, 0 to 255."""
        found = self.taken.get(name)
        if found is None:
            if self._recorded is not None:
                found = self._recorded.get(name, 0)
            else:
                found = number(self._seed, f"choice/{name}", below=256)
            self.taken[name] = found
        return found
