"""Places where an execution happens: the deterministic simulator, and processes of their own."""
