"""Uses the product as a stranger would, and compares what must be equal.

The matrix twice, under another hash seed, on every other Python that is present
(CHAOSLAB_PYTHONS, paths joined by `:`), and from the built wheel in an empty environment outside
of the checkout: every run must have the same digest everywhere. Then the ten-minute path, with
that wheel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from ten_minutes import walk

ROOT = Path(__file__).resolve().parent.parent


def digests(python: str, folder: Path, **more: str) -> dict[str, str]:
    """Runs the matrix in a folder and returns the digest of each run."""
    folder.mkdir()
    command = [python, "-m", "chaoslab", "run", "matrix", "--planted"]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **more}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    told = json.loads((folder / "reports/latest/results.json").read_text())
    for name in ("report.html", "junit.xml", "events.ndjson", "comment.md"):
        if not (folder / "reports/latest" / name).stat().st_size:
            sys.exit(f"{command} left no {name}")
    return {run["id"]: run["digest"] for run in told["runs"]}


def compare(what: str, first: dict[str, str], other: dict[str, str]) -> None:
    """Ends with the runs that differ, if any does."""
    different = sorted(k for k in first.keys() | other.keys() if first.get(k) != other.get(k))
    if different:
        sys.exit(f"{what}: other digests in {len(different)} runs: {', '.join(different[:5])}")
    sys.stdout.write(f"{what}: {len(first)} runs, the same digests\n")


def from_the_wheel(scratch: Path) -> str:
    """Builds the wheel, installs it into an empty environment, and returns its Python."""
    build = [sys.executable, "-m", "build", "--outdir", str(scratch / "dist"), str(ROOT)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    wheel = next((scratch / "dist").glob("*.whl"))
    venv.create(scratch / "venv", with_pip=True)
    python = str(scratch / "venv/bin/python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "-c", str(ROOT / ".ci/constraints.txt"), str(wheel)], check=True)
    return python


def main() -> None:
    """All comparisons."""
    here = {"PYTHONPATH": str(ROOT / "harness")}
    with tempfile.TemporaryDirectory(prefix="chaoslab-stranger-") as name:
        scratch = Path(name)
        first = digests(sys.executable, scratch / "first", **here)
        compare("again", first, digests(sys.executable, scratch / "second", **here))
        other = digests(sys.executable, scratch / "third", PYTHONHASHSEED="4711", **here)
        compare("another hash seed", first, other)
        for number, python in enumerate(
            filter(None, os.environ.get("CHAOSLAB_PYTHONS", "").split(":"))
        ):
            version = subprocess.run(
                [python, "--version"], capture_output=True, text=True, check=True
            )
            found = digests(python, scratch / f"python{number}", **here)
            compare(version.stdout.strip(), first, found)
        wheel = from_the_wheel(scratch)
        compare("the wheel", first, digests(wheel, scratch / "outside", PYTHONPATH=""))
        more = [f"{next((scratch / 'dist').glob('*.whl'))}[serve]"]
        pins = ROOT / "fixtures/examples/fastapi-service/requirements.txt"
        install = [wheel, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        limits = ["-c", str(ROOT / ".ci/constraints.txt"), "-r", str(pins)]
        subprocess.run([*install, *limits, *more], check=True)
        walk(wheel, scratch)


if __name__ == "__main__":
    main()
