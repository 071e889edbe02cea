"""Places where an execution happens; today the deterministic simulator."""
