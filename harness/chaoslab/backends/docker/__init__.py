"""Regions as containers: the same regions as on real processes, behind walls of their own."""

from contextlib import suppress

from chaoslab.backends.docker.daemon import connected
from chaoslab.backends.docker.images import base_of
from chaoslab.backends.docker.leftovers import sweep
from chaoslab.backends.process.leftovers import also_sweep
from chaoslab.core.errors import ChaosError


def check_docker() -> None:
    """UsageError where `--backend docker` cannot work: no package, no daemon, no base. From then
    on what dead labs left at the daemon is swept with all else."""
    with connected() as client:
        base_of(client)
    also_sweep(_sweep)


def _sweep() -> int:
    """A daemon that went away meanwhile says so where it is used."""
    with suppress(ChaosError):
        return sweep()
    return 0


__all__ = ["check_docker"]
