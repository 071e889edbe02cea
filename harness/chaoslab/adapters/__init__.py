"""How an agent of any team, or a function of its own, is found and loaded."""

from chaoslab.adapters.loading import AgentSource, load_function

__all__ = ["AgentSource", "load_function"]
