"""Many executions instead of a few runs: sweeps, stress, shrinking, and how they are spread."""
