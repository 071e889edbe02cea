"""The `chaoslab` command."""

from chaoslab.cli.main import main

__all__ = ["main"]
