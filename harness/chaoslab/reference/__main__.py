"""The model agent in a process of its own: `python -m chaoslab.reference`, started by the lab."""

import sys

from chaoslab.adapters.remote import main

if __name__ == "__main__":
    sys.exit(main(["chaoslab.reference:make_agent"]))
