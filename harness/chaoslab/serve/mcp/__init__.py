"""MCP: the lab's tools as a server (`tools.handle`), a bridge for agents that speak it over
standard input and output (`stdio`), and a proxy before the team's own servers (`proxy.proxy`).

`stdio` runs in the agent's environment, so this file imports nothing.
"""
