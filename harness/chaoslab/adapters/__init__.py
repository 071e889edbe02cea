"""How an agent of any team, or a function of its own, is found and loaded."""

from chaoslab.adapters.loading import AgentSource, alone, load_function

__all__ = ["AgentSource", "alone", "load_function"]
