"""How an agent of any team is found and started."""

from chaoslab.adapters.loading import AgentSource

__all__ = ["AgentSource"]
