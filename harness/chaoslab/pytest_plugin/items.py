"""Scenarios as pytest's own items: one a scenario and seed, below a collector named `chaos`.

The lab does its work while the item is set up, and the item itself is only the verdict. So a lab or
an adapter that broke is an error, and a promise that broke is a failure, in JUnit's file too.

>>> name_of("matrix/timeout-after-commit", 0)
'matrix/timeout-after-commit[s0]'
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import pytest

from chaoslab.core.errors import ChaosError
from chaoslab.pytest_plugin.lab import Lab, lab_of
from chaoslab.pytest_plugin.options import settled
from chaoslab.pytest_plugin.words import Ending, ending
from chaoslab.run.model import RunSpec

COLLECTOR = "chaos"


def name_of(scenario: str, seed: int, /) -> str:
    """The name of an item."""
    return f"{scenario}[s{seed}]"


class Scenarios:
    """The hooks of a session in which scenarios are tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._specs: list[RunSpec] = []
        self._notes: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Finds the runs. What is not known or cannot be loaded is refused here, before a test
        runs and before xdist starts its processes."""
        options, lab = settled(self._config), lab_of(self._config)
        try:
            self._specs = lab.specs(
                options.scenarios, options.agent, contract=options.contract, seeds=options.seeds
            )
            here_first = not hasattr(self._config, "workerinput")
            if here_first and not self._config.option.collectonly:
                self._notes = lab.try_out(self._specs)
        except ChaosError as error:
            raise pytest.UsageError(f"chaoslab: {error}") from None

    def pytest_report_header(self) -> list[str]:
        """Which agent is tested, and what looks like a slip in its contract."""
        agent = settled(self._config).agent
        return [
            f"chaoslab: agent {agent}, {len(self._specs)} runs",
            *(f"chaoslab: note: {note}" for note in self._notes),
        ]

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Adds the collector beside the files that pytest has found itself."""
        report = yield
        if isinstance(collector, pytest.Session) and report.passed:
            ours = ScenarioCollector.from_parent(
                collector, name=COLLECTOR, nodeid=COLLECTOR, specs=self._specs
            )
            report.result = [*(report.result or ()), ours]
        return report


class ScenarioCollector(pytest.Collector):
    """All runs of the session, in the order of their scenarios' files."""

    def __init__(self, *, specs: Iterable[RunSpec], **more: Any) -> None:
        super().__init__(**more)
        self._specs = specs

    def collect(self) -> list[pytest.Item]:
        """One item a run."""
        lab = lab_of(self.config)
        return [
            ScenarioItem.from_parent(
                self, name=name_of(spec.scenario.id, spec.seed), spec=spec, lab=lab
            )
            for spec in self._specs
        ]


class ScenarioItem(pytest.Item):
    """One run."""

    def __init__(self, *, spec: RunSpec, lab: Lab, **more: Any) -> None:
        super().__init__(**more)
        self._spec = spec
        self._lab = lab
        self._ending: Ending | None = None
        self.add_marker(pytest.mark.chaos)

    def setup(self) -> None:
        """Performs the run."""
        try:
            ran = self._lab.perform([self._spec], self)
        except ChaosError as error:
            pytest.fail(f"could not run: {error}", pytrace=False)
        entries, elsewhere = [run.entry for run in ran.runs], settled(self.config).elsewhere
        self._ending = ending(entries, ran.campaign, elsewhere=elsewhere, known=ran.known)
        if self._ending.how == "error":
            pytest.fail(self._ending.text, pytrace=False)

    def runtest(self) -> None:
        """Says how it ended."""
        assert self._ending is not None
        if self._ending.how == "fail":
            pytest.fail(self._ending.text, pytrace=False)
        if self._ending.how == "skip":
            pytest.skip(self._ending.text)

    def reportinfo(self) -> tuple[Any, None, str]:
        """Where it is: nowhere but in its own name."""
        return self.path, None, self.nodeid
