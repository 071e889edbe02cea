"""What a run tells people: masked, and with everything made visible that could act or hide.

Histories and choices are the evidence, and stay as they are. All that is made from them for people
starts as the entry of a run, its notes and its output, so they pass through here, and tables,
reports and comments are made from what is safe already. Names by which files and bugs are found
again (ids, scenarios, checks, fingerprints) are the lab's own, and stay.

>>> entry = {"id": "a--b--s0", "ops": 4711, "broke": "login with password=hunter22 \\x1b[2J"}
>>> print(fit_to_read(entry, Mask())["broke"])
login with password=‹secret› \\x1b[2J
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from chaoslab.check.credentials import names_a_secret
from chaoslab.check.masking import Mask, mask_of
from chaoslab.contract import Contract
from chaoslab.core.errors import FormatError
from chaoslab.core.visible import visible
from chaoslab.history import Op, View

_FIXED: Final = frozenset(
    (
        *("id", "scenario", "family", "agent", "contract", "role", "backend", "verdict", "ruleset"),
        *("digest", "control_digest", "recovery_clock", "expected_check", "required", "where"),
        *("check", "code", "anomaly", "fingerprint", "consequence"),
    )
)
# Values of attributes are learned from these entries alone, so the others need not be read.
_TELLING: Final = (b'"task.submit"', b'"memory.', b'"final.memory"', b'"tools.')


def mask_for(contract: Contract, folder: Path, /) -> Mask:
    """The mask for a run from the histories in its folder, finished or not."""
    return mask_of(contract, _views(folder), more=passed_secrets(contract))


def passed_secrets(contract: Contract, /) -> list[str]:
    """Credentials that the agent gets from the environment of whoever runs the lab."""
    names = contract.target.pass_env if contract.target is not None else ()
    return [os.environ[n] for n in names if names_a_secret(n) and len(os.environ.get(n, "")) > 4]


def _views(folder: Path) -> Iterator[View]:
    for path in sorted(folder.glob("*.jsonl")):
        yield View(_ops(path))


def _ops(path: Path) -> Iterator[Op]:
    with path.open("rb") as file:
        for line in file:
            if any(word in line for word in _TELLING):
                try:
                    yield Op.from_json(json.loads(line))
                except (ValueError, FormatError, RecursionError):
                    continue  # a torn line; whoever reads the history complains about it


def fit_to_read(value: Any, mask: Mask, /) -> Any:
    """JSON of the same structure with all words masked and visible; numbers stay."""
    if isinstance(value, str):
        return visible(mask.text(value))
    if isinstance(value, Mapping):
        return {
            visible(mask.text(name)): item if name in _FIXED else fit_to_read(item, mask)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [fit_to_read(item, mask) for item in value]
    return value
