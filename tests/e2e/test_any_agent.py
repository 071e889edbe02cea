"""The ten-minute path of docs/howto/any-agent.md, as it stands there."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import ROOT, Run

SCENARIO = "matrix/timeout-after-commit"


def write(here: Path, change: Callable[[str], str] = lambda text: text) -> None:
    """The two files of the page."""
    text = (ROOT / "docs/howto/any-agent.md").read_text()
    [worker] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [contract] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (here / "worker.py").write_text(change(worker))
    # The interpreter that runs the tests: "python" may be another one, or none.
    (here / "chaoslab.toml").write_text(contract.replace('["python", ', f'["{sys.executable}", '))


def test_it_holds_as_it_stands(here: Path, chaoslab: Run) -> None:
    write(here)
    done = chaoslab("run", SCENARIO)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 held" in done.stdout and "recorded, not deterministic" in done.stdout


def test_with_a_key_that_changes_it_is_broken(here: Path, chaoslab: Run) -> None:
    write(
        here,
        lambda text: text.replace(
            '"Idempotency-Key"] = key', '"Idempotency-Key"] = f"{key}-{time.time()}"'
        ),
    )
    done = chaoslab("run", SCENARIO, "--repeats", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "effects.delivery" in done.stdout and "2 × refund for one request" in done.stdout
