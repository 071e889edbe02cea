"""The lab's face for agents in processes of their own: HTTP and MCP, on loopback, with a token."""
