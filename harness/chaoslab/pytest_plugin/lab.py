"""What the runs of one pytest process share: worker interpreters and a campaign on disk.

Nothing is started, and no folder is made, before the first run. Under xdist each process has its
own workers and writes below a folder of its own name, so none waits for another or overwrites it.

>>> group_of("tests/test_pay.py::test_a_lost_reply[s0]")
'test_pay-test_a_lost_reply-s0'
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chaoslab.backends.live import check_packages
from chaoslab.core.clock import utc_today
from chaoslab.pytest_plugin.options import Options, seen_from, settled
from chaoslab.pytest_plugin.summary import run_property
from chaoslab.report.outputs import write_outputs
from chaoslab.report.words import verdict_word
from chaoslab.run.campaign import run_all
from chaoslab.run.known import NOTHING_KNOWN, Known, load_known
from chaoslab.run.model import RunRecord, RunSpec
from chaoslab.run.perform import perform
from chaoslab.run.select import check_modules, contract_notes, scenario_files, specs_for
from chaoslab.run.store import Campaign
from chaoslab.run.team import is_team_file
from chaoslab.run.workers import Workers

_GROUP_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished run: its entry in `results.json`, its record, and where it is."""

    entry: dict[str, Any]
    record: RunRecord
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """Finished runs of a test, the folder around them, as one types it, and the bugs that the team
    has accepted for a time."""

    runs: tuple[Done, ...]
    campaign: str
    known: Known = NOTHING_KNOWN


class Lab:
    """Runs scenarios for the tests of one process."""

    def __init__(self, options: Options, *, process: str = "") -> None:
        self._root = Path(options.root)
        self._reports = self._root / options.reports / process
        self._workers = Workers()
        self._campaign: Campaign | None = None
        self._known = NOTHING_KNOWN
        self._done: dict[Path, list[RunSpec]] = {}

    def specs(
        self,
        names: Sequence[str],
        agent: str,
        *,
        contract: str = "",
        seeds: Sequence[int] = (),
    ) -> list[RunSpec]:
        """The runs that some names ask for. ChaosError where one of them is not known."""
        with self._at_root():
            files = scenario_files(names)
            specs = specs_for(files, agent, contract=contract or None, seeds=seeds)
        if any(spec.target is not None for spec in specs):
            check_packages()
        return specs

    def try_out(self, specs: Sequence[RunSpec]) -> list[str]:
        """Loads what the runs need, so that what is missing is said once and first. Notes on what
        looks like a slip. ChaosError where something cannot be loaded."""
        with self._at_root():
            agent = specs[0].agent
            commands = is_team_file(agent)  # the first run shows whether they start
            offers = frozenset({"recover"}) if commands else self._workers.try_loading(agent)
            self._workers.try_rules(specs[0].contract)
            check_modules(specs)
            return contract_notes(specs, offers)

    def perform(self, specs: Sequence[RunSpec], test: pytest.Item, *, group: str = "") -> Ran:
        """Performs runs for a test; `group` is a folder of their own inside of the campaign.
        ChaosError where it cannot be done."""
        with self._at_root():
            if self._campaign is None:
                self._known = load_known(None, today=utc_today())
                self._campaign = Campaign.create(self._reports)
            around = self._free(specs, group)
            runs = tuple(self._one(spec, around, test) for spec in specs)
        campaign = seen_from(self._root, around.folder)
        return Ran(runs=runs, campaign=campaign, known=self._known)

    def _free(self, specs: Sequence[RunSpec], group: str) -> Campaign:
        """A folder in which none of these runs is yet: what a test runs twice is kept twice."""
        assert self._campaign is not None
        folder = first = self._campaign.folder / group
        number = 1
        while any((folder / spec.id).exists() for spec in specs):
            number += 1
            folder = first.with_name(f"{group}-{number}") if group else first / f"again-{number}"
        folder.mkdir(exist_ok=True)
        return Campaign(folder)

    def _one(self, spec: RunSpec, around: Campaign, test: pytest.Item) -> Done:
        assert self._campaign is not None
        folder = around.begin(spec.id)
        record = perform(spec, self._workers, folder)
        entry = around.finish(record)
        self._done.setdefault(around.folder, []).append(spec)
        whole = self._campaign.folder
        run = folder.relative_to(whole).as_posix()
        test.user_properties.append(
            run_property(verdict_word(entry), run, seen_from(self._root, whole))
        )
        return Done(entry=entry, record=record, folder=folder)

    @contextmanager
    def _at_root(self) -> Iterator[None]:
        """The root folder as the current one, whatever a test has made of it: there the agent, its
        contract and the reports are found, and there `chaoslab replay` is typed later."""
        with chdir(self._root):
            yield

    def close(self) -> None:
        """Ends the workers and writes the results and the report of each folder of runs."""
        self._workers.close()
        while self._done:
            folder, specs = self._done.popitem()
            # What a test has removed is gone; the rest is finished, so nothing is started here.
            there = [spec for spec in specs if (folder / spec.id / "run.json").is_file()]
            if there:
                run_all(
                    there,
                    Campaign(folder),
                    self._workers,
                    jobs=1,
                    on_run=lambda *_: None,
                    known=self._known,
                )
                write_outputs(folder, shown=seen_from(self._root, folder))


_LAB = pytest.StashKey[Lab]()


def lab_of(config: pytest.Config, /) -> Lab:
    """The lab of this process, made when it is first asked for."""
    if _LAB not in config.stash:
        workerinput = getattr(config, "workerinput", {})
        config.stash[_LAB] = Lab(settled(config), process=workerinput.get("workerid", ""))
    return config.stash[_LAB]


def close(config: pytest.Config, /) -> None:
    """Closes the lab where there is one."""
    if _LAB in config.stash:
        config.stash[_LAB].close()


def group_of(nodeid: str, /) -> str:
    """A test's name as a folder's."""
    file, _, test = nodeid.partition("::")
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", f"{Path(file).stem}-{test}").strip("-")
    return name[:_GROUP_MAX]
