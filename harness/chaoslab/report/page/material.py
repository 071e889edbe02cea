"""What a report is made from: a campaign's folder, read when it is needed and never more at once.

A report is made from files alone, so it can be made again later, elsewhere, and from the shards of
several machines. Histories are large and runs are many: only the last few views are kept.

>>> RunFiles.__slots__[:2]
('entry', 'folder')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chaoslab.backends.common import merged_contract
from chaoslab.check.masking import NO_MASK, Mask
from chaoslab.contract import Contract, default_contract
from chaoslab.contract.loader import contract_from
from chaoslab.core.errors import ChaosError, FormatError
from chaoslab.history import Stored, View, read
from chaoslab.run.masking import mask_for
from chaoslab.run.rebuild import spec_of
from chaoslab.run.store import read_results, read_run

_VIEWS_KEPT: Final = 6


@dataclass(slots=True)
class RunFiles:
    """One run: its entry of results.json and, where its folder is there, everything in it.

    `contract` has a line for every tool. `present` is False where only the entry is left, or where
    the folder cannot be read; `trouble` says why.
    """

    entry: Mapping[str, Any]
    folder: Path
    present: bool
    scenario_text: str = ""
    contract: Contract = field(default_factory=Contract)
    notes: tuple[str, ...] = ()
    mask: Mask = NO_MASK
    trouble: str = ""
    _views: dict[str, View] = field(default_factory=dict, repr=False)

    @property
    def wheres(self) -> tuple[str, ...]:
        """The histories on disk, the one with faults first: fault, control, repeat-1 …"""
        if not self.present:
            return ()
        order = {"fault": 0, "control": 1}
        found = [path.stem for path in self.folder.glob("*.jsonl")]
        return tuple(sorted(found, key=lambda name: (order.get(name, 2), len(name), name)))

    def view(self, where: str, /) -> View | None:
        """One of its histories; None where it is missing or damaged."""
        if where not in self._views:
            if where not in self.wheres:
                return None
            try:
                stored = read(self.folder / f"{where}.jsonl")
            except FormatError as error:
                self.trouble = str(error)
                return None
            self.trouble = self._damage(where, stored)
            if self.trouble:
                return None
            self._views[where] = View(stored.ops)
        return self._views[where]

    def _damage(self, where: str, stored: Stored) -> str:
        """Why a history that can be read is no evidence; "" where it is as it was recorded."""
        names = {"control": "control_digest", "fault": "digest"}
        recorded = self.entry.get(names.get(where, ""), "")
        if stored.torn:
            return f"{where}.jsonl ends in the middle of a line"
        if where == "fault" and not self.entry.get("faults_ran", True):
            return ""
        if recorded and recorded != stored.digest:
            return f"{where}.jsonl is not what was recorded: it has another digest"
        return ""

    def forget(self) -> None:
        """Lets go of the histories; they are read again when somebody asks."""
        self._views.clear()


@dataclass(slots=True)
class Material:
    """A campaign on disk. `unmasked`: sensitive values are shown as they are."""

    folder: Path
    results: Mapping[str, Any]
    unmasked: bool = False
    entries: Mapping[str, Mapping[str, Any]] = field(init=False, repr=False)
    _runs: dict[str, RunFiles] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.entries = {str(entry["id"]): entry for entry in self.results["runs"]}

    def run(self, id: str, /) -> RunFiles:
        """The files of a run. KeyError where results.json has no such run."""
        found = self._runs.get(id)
        if found is None:
            found = self._load(self.entries[id])
            while len(self._runs) >= _VIEWS_KEPT:
                self._runs.pop(next(iter(self._runs))).forget()
            self._runs[id] = found
        return found

    def _load(self, entry: Mapping[str, Any]) -> RunFiles:
        folder = self.folder / str(entry["id"])
        run = RunFiles(entry=entry, folder=folder, present=False)
        inside = folder.parent == self.folder and folder.name != ".." and not folder.is_symlink()
        if not inside or not (folder / "run.json").is_file():
            run.trouble = "its folder is not there"
            return run
        try:
            run.notes = tuple(read_run(folder / "run.json")["notes"])
            run.scenario_text = (folder / "scenario.toml").read_text(encoding="utf-8")
        except (ChaosError, OSError, UnicodeDecodeError, KeyError) as error:
            run.trouble = str(error)
            return run
        run.present = True
        run.contract = _contract_of(folder)
        if not self.unmasked:
            run.mask = mask_for(run.contract, folder)
        return run


def _contract_of(folder: Path) -> Contract:
    """The contract of a run. Made elsewhere, it may name files that are not here; then what its
    table alone says, and where that cannot be read, nothing."""
    try:
        spec = spec_of(folder)
        return merged_contract(spec.contract, spec.workload)
    except (ChaosError, OSError):
        pass
    try:
        table = read_run(folder / "run.json")["contract"]
        return contract_from(table or {}, str(folder / "run.json"))
    except (ChaosError, KeyError):
        return default_contract(())


def load_material(folder: Path, /, *, unmasked: bool = False) -> Material:
    """A campaign's folder. FormatError where it has no results that this version can read."""
    return Material(folder=folder, results=read_results(folder), unmasked=unmasked)
