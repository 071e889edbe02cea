"""`python -m chaoslab.links --port 0`: the embedded server as a process of its own.

It says in one line of JSON where it listens, and ends when its standard input does. Whoever starts
it holds the other end of that pipe, so it ends with them however they end, and whichever of their
threads started it.

With a command behind `--`, it is the keeper of that command instead: the original server cannot be
asked to watch a pipe.
"""

from __future__ import annotations

import sys

from chaoslab.links.running import main

if __name__ == "__main__":
    sys.exit(main())
