"""What the vendor's side of a conversation remembers.

A Responses client may send the id of an earlier response instead of the conversation, and ids of
items instead of items. The vendor keeps both on its own side, where no crash of the agent reaches
them; so does the lab, for as long as an execution lasts. Ids carry the name of the process, since
two incarnations may ask in any order and must not be given the same one.

>>> memory = Memory()
>>> memory.name("p1"), memory.name("p1"), memory.name("p2")
('p1_1', 'p1_2', 'p2_1')
"""

from __future__ import annotations

import weakref

from chaoslab.serve.models.wire import Items, Object

_BY_LAB: dict[int, Memory] = {}


class Memory:
    """Of one execution. `responses` by id: all that was said up to and with each; `items` by
    id: what the model said."""

    def __init__(self) -> None:
        self.responses: dict[str, Items] = {}
        self.items: dict[str, Object] = {}
        self._named: dict[str, int] = {}
        self._refused: set[str] = set()

    def name(self, process: str, /) -> str:
        """The next answer's name, of which its ids are made."""
        nth = self._named[process] = self._named.get(process, 0) + 1
        return f"{process}_{nth}"

    def keep(self, response: str, before: Items, said: Items, /) -> None:
        """Remembers a response."""
        self.responses[response] = before + said
        self.items.update({item["id"]: item for item in said})

    def first(self, refusal: str, /) -> bool:
        """Whether a refusal has not been told before."""
        known = refusal in self._refused
        self._refused.add(refusal)
        return not known


def memory_of(lab: object, /) -> Memory:
    """The memory that belongs to a lab and goes with it."""
    found = _BY_LAB.get(id(lab))
    if found is None:
        found = _BY_LAB[id(lab)] = Memory()
        weakref.finalize(lab, _BY_LAB.pop, id(lab), None).atexit = False
    return found
