"""The proofs that the how-to shows are run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_proofs_of_the_howto_run(tmp_path: Path) -> None:
    text = (ROOT / "docs/howto/prove-your-own.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shutil.copy(ROOT / "fixtures/agents/minimal.py", tmp_path / "my_agent.py")
    shutil.copy(ROOT / "fixtures/agents/minimal.toml", tmp_path / "my_agent.toml")
    tests = [block for block in blocks if "def test_" in block]
    assert len(tests) == 3
    for number, block in enumerate(tests):
        (tmp_path / f"test_{number}.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "harness")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
