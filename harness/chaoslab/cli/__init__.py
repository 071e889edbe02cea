"""The `chaoslab` command.

What it needs is imported inside, so that Ctrl-C while it loads ends as Ctrl-C does later.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from chaoslab.cli.stopping import not_lost


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        with not_lost():
            from chaoslab.cli.entry import main as run  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.stderr.write("chaoslab: interrupted; nothing has run\n")
        return 130
    return run(argv)


__all__ = ["main"]
