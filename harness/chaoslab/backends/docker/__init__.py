"""Regions as containers: the same regions as on real processes, behind walls of their own."""

from chaoslab.backends.docker.daemon import connected
from chaoslab.backends.docker.images import base_of


def check_docker() -> None:
    """UsageError where `--backend docker` cannot work: no package, no daemon, no base."""
    with connected() as client:
        base_of(client)


__all__ = ["check_docker"]
