"""Campaigns on disk: a folder each, one folder a run inside, `latest` beside them.

A run's `run.json` appears last and at once (written aside, then renamed), so a killed campaign
loses no finished run, and what has no `run.json` is known to be unfinished.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from chaoslab.core.clock import utc_stamp
from chaoslab.core.errors import FormatError, LabError, UsageError
from chaoslab.core.visible import visible
from chaoslab.run.model import RunRecord, run_json

FORMAT = 1


class Campaign:
    """One folder of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, root: Path, /) -> Campaign:
        """A new folder below `root`, and `latest` points at it. LabError where the disk refuses."""
        try:
            root.mkdir(parents=True, exist_ok=True)
            stamp = utc_stamp()
            for number in range(1000):
                folder = root / (stamp if number == 0 else f"{stamp}-{number}")
                try:
                    folder.mkdir()
                    break
                except FileExistsError:
                    continue
            _point(root / "latest", folder)
        except OSError as error:
            raise LabError(
                f"reports cannot be written below {root}: {error.strerror}",
                hint="free some space, or name another folder with --reports",
            ) from None
        return cls(folder)

    @classmethod
    def latest(cls, root: Path, /) -> Campaign:
        """The newest campaign below `root`."""
        link = root / "latest"
        if not link.is_dir():
            raise UsageError(
                "there is no campaign to go on with", value=str(link), hint="run without --resume"
            )
        return cls(link.resolve())

    def begin(self, run_id: str) -> Path:
        """An empty folder for a run; what an unfinished one left is removed."""
        folder = self.folder / run_id
        try:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()
        except OSError as error:
            raise _refused(folder, error) from None
        return folder

    def finish(self, record: RunRecord) -> dict[str, Any]:
        """Writes `run.json`, which makes the run count."""
        folder = self.folder / record.id
        entry = run_json(record)
        whole = {
            "format": FORMAT,
            "fingerprint": record.spec.fingerprint,
            "contract": record.spec.contract_raw,
            "contract_file": record.spec.contract_file or None,
            "run": entry,
            "notes": [visible(record.mask.text(n), lines=True) for n in record.notes],
        }
        try:
            (folder / "scenario.toml").write_text(record.spec.scenario_text)
            if record.output:
                output = visible(record.mask.text(record.output), lines=True)
                (folder / "output.txt").write_text(output, encoding="utf-8")
            write_json(folder / "run.json", whole)
        except OSError as error:
            raise _refused(folder, error) from None
        return entry

    def finished(self, run_id: str, fingerprint: str) -> dict[str, Any] | None:
        """The entry of a run that is done already and is the same run, else None."""
        path = self.folder / run_id / "run.json"
        if not path.is_file():
            return None
        whole = read_run(path)
        if whole["fingerprint"] != fingerprint:
            return None
        entry: dict[str, Any] = whole["run"]
        return entry


def read_run(path: Path, /) -> dict[str, Any]:
    """A `run.json`. FormatError where it is damaged or of another major version."""
    try:
        whole = json.loads(path.read_text())
        if whole["format"] != FORMAT:
            raise FormatError(
                f"{path} has another major version", value=whole["format"], allowed=str(FORMAT)
            )
        whole["run"]["id"], whole["fingerprint"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise FormatError(f"{path} is damaged: {error!r}", hint="run the scenario again") from None
    found: dict[str, Any] = whole
    return found


def read_results(folder: Path, /) -> dict[str, Any]:
    """The results.json of a campaign. FormatError where it is missing, damaged or foreign."""
    path = folder / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(results, dict) or not isinstance(results["runs"], list):
            raise ValueError("it holds no runs")
        number = results["format"]
    except OSError as error:
        raise FormatError(
            f"{path} cannot be read: {error.strerror}", hint="name the folder of a campaign"
        ) from None
    except (ValueError, KeyError) as error:
        raise FormatError(f"{path} is damaged: {error!r}", hint="run the scenarios again") from None
    if number != FORMAT:
        raise FormatError(f"{path} has another major version", value=number, allowed=str(FORMAT))
    return results


def write_json(path: Path, value: Any, /) -> None:
    """Writes JSON so that the file is there whole or not at all."""
    aside = path.with_suffix(".tmp")
    with aside.open("w") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def _point(link: Path, folder: Path) -> None:
    aside = link.with_name(f".latest-{os.getpid()}")
    aside.unlink(missing_ok=True)
    aside.symlink_to(folder.name)
    os.replace(aside, link)


def _refused(folder: Path, error: OSError) -> LabError:
    return LabError(
        f"{folder} cannot be written: {error.strerror}",
        hint="free some space and go on with --resume; finished runs are kept",
    )
