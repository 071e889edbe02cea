"""Chaoslab: a crash-test lab for AI agents.

It drives an agent through panics, lost replies, torn writes, races and region failovers, and
judges from the record alone whether errors stayed bounded and recovery was deterministic.
An agent imports what it needs from `chaoslab.world`; everything else is for the lab's user.
"""

__version__ = "0.1.0"
