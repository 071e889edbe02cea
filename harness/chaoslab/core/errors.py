"""The errors that Chaoslab raises, and the form that every message has.

    ChaosError
    ├── UsageError            bad input, refused before anything runs        exit 2
    │   ├── ScenarioError     a scenario or workload file
    │   ├── ContractError     a contract
    │   ├── AdapterError      an agent that cannot be loaded
    │   └── FormatError       a file of ours that is damaged or of another major version
    └── LabError              the lab or the adapter broke while running     exit 4
        └── AgentBroke        the agent's own code broke the rules of the backend

A message says what is wrong, which value of which type was seen, what is allowed, and the
next step. Keeping the four apart as arguments means that none of them is forgotten:

>>> str(UsageError("seed must not be negative", value=-1, allowed="0 or more", hint="use 0"))
'seed must not be negative: got -1 (int); allowed: 0 or more; next: use 0'
"""

from __future__ import annotations

import errno
from typing import Final

_SHOWN_MAX: Final = 200


class _Missing:
    """Stands for "no value was given", so that None stays a value one can complain about."""


MISSING: Final = _Missing()


class ChaosError(Exception):
    """Root of the tree; catch it to catch everything that this package raises on purpose."""

    exit_code: int = 4

    def __init__(
        self, what: str, *, value: object = MISSING, allowed: str = "", hint: str = ""
    ) -> None:
        self.what, self.allowed, self.hint = what, allowed, hint
        parts = [what]
        if not isinstance(value, _Missing):
            parts[0] += f": got {shown(value)}"
        if allowed:
            parts.append(f"allowed: {allowed}")
        if hint:
            parts.append(f"next: {hint}")
        super().__init__("; ".join(parts))


class UsageError(ChaosError):
    """Bad input; nothing has run and nothing was lost."""

    exit_code = 2


class ScenarioError(UsageError):
    """A scenario or workload file says something that cannot be run."""


class ContractError(UsageError):
    """A contract promises something unknown, malformed or impossible."""


class AdapterError(UsageError):
    """An agent cannot be loaded: not found, not importable, or of the wrong shape."""


class FormatError(UsageError):
    """A file that this package wrote is damaged, or of a major version it does not know."""


class LabError(ChaosError):
    """The lab could not do its work; no verdict may be read from what it left."""


class AgentBroke(LabError):
    """The agent's code did what the backend cannot allow (threads, wall clock, rubbish)."""


def mend_disk(error: OSError, /) -> str:
    """What to do about a file that cannot be written.

    >>> mend_disk(PermissionError(errno.EACCES, "Permission denied"))
    'name a folder that you may write to'
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free some space"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "name a folder that you may write to"
    return "name another folder"


def shown(value: object, /) -> str:
    """A short, safe picture of a value with its type, for messages.

    >>> shown("x" * 300)[-20:]
    'xxxxxxxx … cut (str)'
    """
    try:
        text = repr(value)
    except Exception:
        text = "<a value whose repr fails>"
    if len(text) > _SHOWN_MAX:
        text = text[:_SHOWN_MAX] + " … cut"
    return f"{text} ({type(value).__name__})"
