"""The model agent: a support desk that survives what the lab does to it.

It is here to be read and copied. It knows `chaoslab.world` and the standard library, nothing else
of this package, and no service by its address. Read it in this order:

    agent       what the world calls: start, handle, recover, stop
    ownership   one owner per session: lease, fence, and stopping when in doubt
    job         one task from its acceptance to its outcome
    actions     intent, call, result; what may be tried again, and what may not
    records     what is stored of a task, enough for another process to finish it
    store       compare-and-set memory that survives lost replies
    profile     a group of items that is never used half
    attributes  what is sensitive: in one place, added to a request as it leaves
    budget      so much within so much time, over all processes
    pages       reading the outside, one hop after the other
    tickets     a Wasm instance, and when to throw it away
    sessions    the life of a session, and quarantine
    dialogue    the model: asked as often as needed, believed in nothing
    policies, taskbook, toolbox, settings, errors

Run it with `chaoslab run SCENARIO --agent chaoslab.reference:make_agent`.

>>> from chaoslab.world import Agent
>>> isinstance(make_agent(), Agent)
True
"""

from chaoslab.reference.actions import Actions
from chaoslab.reference.agent import ReferenceAgent
from chaoslab.reference.ownership import Ownership
from chaoslab.reference.settings import Settings
from chaoslab.reference.tickets import Tickets

__all__ = ["Actions", "Ownership", "ReferenceAgent", "Settings", "Tickets", "make_agent"]


def make_agent() -> ReferenceAgent:
    """The agent's factory."""
    return ReferenceAgent()
