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
from chaoslab.core.errors import FormatError, LabError, UsageError, mend_disk
from chaoslab.core.visible import visible
from chaoslab.run.model import RunRecord, run_json

FORMAT = 1
_AGAIN = "run the scenarios again"


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
                hint=f"{mend_disk(error)} (--reports)",
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
        entry, target = run_json(record), record.spec.target
        whole = {
            "format": FORMAT,
            "fingerprint": record.spec.fingerprint,
            "contract": record.spec.contract_raw,
            "contract_file": record.spec.contract_file or None,
            "run": entry,
            "store": None if target is None else target.store.to_json(),
            "toxiproxy": "" if record.spec.target is None else record.spec.target.toxiproxy,
            "notes": [visible(record.mask.text(n), lines=True) for n in record.notes],
        }
        try:
            (folder / "scenario.toml").write_text(record.spec.scenario_text)
            if record.output:
                output = visible(record.mask.text(record.output), lines=True)
                (folder / "output.txt").write_text(output, encoding="utf-8")
            # It has the contract as it was written, and a run is repeated from that.
            write_json(folder / "run.json", whole, mode=0o600)
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
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise FormatError(f"{path} is damaged: {error!r}", hint="run the scenario again") from None
    whole["run"] = _plain(whole["run"])
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
        inside = folder / "latest"
        near = folder.parent if (folder / "run.json").is_file() else inside
        hint = "name the folder of a campaign"
        if near != inside or inside.is_dir():
            hint += f", such as {near}"
        raise FormatError(f"{path} cannot be read: {error.strerror}", hint=hint) from None
    except UnicodeDecodeError:
        raise FormatError(f"{path} is damaged: it is no text", hint=_AGAIN) from None
    except (ValueError, KeyError, RecursionError) as error:
        raise FormatError(f"{path} is damaged: {error!r}", hint=_AGAIN) from None
    if number != FORMAT:
        raise FormatError(f"{path} has another major version", value=number, allowed=str(FORMAT))
    found: dict[str, Any] = _plain(results)
    return found


def _plain(value: Any) -> Any:
    """The same without anything that would act where it is read: a file may be another's. What
    this version has written stays as it is."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def write_json(path: Path, value: Any, /, *, mode: int = 0o666) -> None:
    """Writes JSON so that the file is there whole or not at all, never readable by more than
    `mode` allows."""
    aside = path.with_suffix(".tmp")
    aside.unlink(missing_ok=True)  # whoever may read what is left there may read what is written
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
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
        hint=f"{mend_disk(error)}, and go on with --resume; finished runs are kept",
    )
