"""The ten-minute path, from an installed wheel in empty folders: an agent in Python as the how-to
has it, one in Node over MCP, and one with a FastAPI service of its own.

Each is asked for its first verdict, made wrong in one place, and asked again. The table tells the
wall time of each run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "fixtures" / "examples"


def from_the_page(folder: Path) -> None:
    """The two files of docs/howto/any-agent.md."""
    text = (ROOT / "docs/howto/any-agent.md").read_text()
    for kind, name in (("python", "worker.py"), ("toml", "chaoslab.toml")):
        [block] = re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)
        (folder / name).write_text(block)


def from_the_example(name: str) -> Callable[[Path], None]:
    """The files of an example."""
    return lambda folder: shutil.copytree(EXAMPLES / name, folder, dirs_exist_ok=True) and None


# What is tried, how its folder is filled, in which scenario, and which words make it wrong.
PATHS: tuple[tuple[str, Callable[[Path], None], str, str, str, str], ...] = (
    (
        "Python worker",
        from_the_page,
        "matrix/timeout-after-commit",
        "worker.py",
        '"Idempotency-Key"] = key',
        '"Idempotency-Key"] = f"{key}-{time.time()}"',
    ),
    (
        "Node agent over MCP",
        from_the_example("node-mcp"),
        "killed.toml",
        "agent.mjs",
        "const action = JSON.stringify([",
        "const action = JSON.stringify([Date.now(), ",
    ),
    (
        "FastAPI service",
        from_the_example("fastapi-service"),
        "matrix/timeout-after-commit",
        "worker.py",
        'key = "refund-" + task["id"]',
        "key = str(time.time())",
    ),
)


def verdict(python: str, folder: Path, scenario: str, repeats: int) -> tuple[str, int, int]:
    """Runs the scenario as a user would; verdict, exit code and wall time of the run in ms."""
    env = {**os.environ, "PYTHONPATH": "", "PATH": f"{Path(python).parent}:{os.environ['PATH']}"}
    command = [python, "-m", "chaoslab", "run", scenario, "--repeats", str(repeats)]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    results = folder / "reports/latest/results.json"
    if not results.is_file():
        sys.exit(f"{command} in {folder.name} ended with {done.returncode}:\n{done.stderr}")
    [run] = json.loads(results.read_text())["runs"]
    if run["broke"]:
        sys.exit(f"{command} in {folder.name}: {run['broke']}")
    return run["verdict"], done.returncode, run["wall_ms"]


def walk(python: str, scratch: Path) -> None:
    """Walks all paths; ends with an error where one does not lead where it should."""
    sys.stdout.write(f"{'ten minutes':<24}{'verdict':>10}{'wall time':>12}\n")
    for name, fill, scenario, file, right, wrong in PATHS:
        folder = scratch / name.replace(" ", "-").lower()
        folder.mkdir()
        fill(folder)
        found, code, wall_ms = verdict(python, folder, scenario, 3)
        sys.stdout.write(f"{name:<24}{found:>10}{wall_ms:>9} ms\n")
        if (found, code) != ("valid", 0):
            sys.exit(f"{name}: expected to hold")
        path = folder / file
        text = path.read_text()
        if right not in text:
            sys.exit(f"{name}: {file} has no {right!r}")
        path.write_text(text.replace(right, wrong))
        found, code, wall_ms = verdict(python, folder, scenario, 1)
        sys.stdout.write(f"{'  made wrong':<24}{found:>10}{wall_ms:>9} ms\n")
        if (found, code) != ("invalid", 1):
            sys.exit(f"{name}: expected to be found broken")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(prefix="chaoslab-ten-") as made:
        walk(sys.argv[1], Path(made))
