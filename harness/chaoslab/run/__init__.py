"""From a scenario and an agent to a verdict: executions, their repetition, and the evidence."""
