"""Real processes on the wall clock: the same flights, faults and supervisor as in the simulator,
around an agent that runs as commands and reaches the world over loopback."""
