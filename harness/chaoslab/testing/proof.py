"""What a proof shows: one step after the other, each with what was seen.

>>> proof = Proof(of="my check", steps=(Step(name="says nothing of nothing", seen="held", ok=True),
...                                     Step(name="is pure", seen="two answers", ok=False)))
>>> print(proof)
my check
  holds   says nothing of nothing: held
  FAILS   is pure: two answers
>>> proof.holds
False
"""

from __future__ import annotations

from dataclasses import dataclass


class NotProven(AssertionError):
    """A proof that does not hold; its text is the whole proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was tried, and what was seen."""

    name: str
    seen: str
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All steps; it holds where each of them does, and there is at least one."""

    of: str
    steps: tuple[Step, ...]

    @property
    def holds(self) -> bool:
        """Whether every step held."""
        return bool(self.steps) and all(step.ok for step in self.steps)

    def require(self) -> Proof:
        """This proof, where it holds; NotProven otherwise."""
        if not self.holds:
            raise NotProven(str(self))
        return self

    def __str__(self) -> str:
        lines = [self.of]
        lines += [f"  {'holds' if s.ok else 'FAILS'}   {s.name}: {s.seen}" for s in self.steps]
        return "\n".join(lines)
