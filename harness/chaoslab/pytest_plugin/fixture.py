"""The `chaos` fixture: a team's own tests run scenarios and look at what they left.

    @pytest.mark.chaos(agent="my_agent.py:make_agent")
    def test_a_lost_reply(chaos):
        result = chaos.run("matrix/timeout-after-commit")
        assert not [v for v in result.violations if v.check == "effects.delivery"]
        result.held()

>>> nothing = Result(verdict="unknown", violations=(), history=View(()), folder=Path("."),
...                  reason="unproven: matrix/x, seed 0: no effect was committed")
>>> nothing.held()
Traceback (most recent call last):
    ...
AssertionError: unproven: matrix/x, seed 0: no effect was committed
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from chaoslab.check.model import Violation
from chaoslab.core.errors import ScenarioError, UsageError
from chaoslab.history import View, read
from chaoslab.pytest_plugin.lab import Ran, group_of, lab_of
from chaoslab.pytest_plugin.options import located, presets, settled
from chaoslab.pytest_plugin.words import ending
from chaoslab.run.model import RunSpec, RunVerdict

_WORST_FIRST = ("invalid", "unknown", "not-applicable", "valid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the runs of a scenario showed, one a seed.

    `verdict`, `history` and `folder` are those of the first run that ended worst; `violations` are
    those of all. `reason` says why not all of them held, "" where they did.
    """

    verdict: RunVerdict
    violations: tuple[Violation, ...]
    history: View
    folder: Path
    reason: str = ""

    def held(self) -> Result:
        """Itself, where every run held. AssertionError, with the because-chains and the commands
        that replay them, where one is broken, not repeatable or unproven."""
        __tracebackhide__ = True
        if self.reason:
            raise AssertionError(self.reason)
        return self


class Chaos:
    """Runs scenarios for one test."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._test: pytest.Item = request.node
        self._options = settled(request.config)
        self._lab = lab_of(request.config)
        self._presets = dict(presets(request.node))
        if hasattr(request, "param"):
            self._presets["seeds"] = [request.param]
        self.ran = False

    def run(
        self,
        scenario: str | None = None,
        /,
        *,
        agent: str | None = None,
        contract: str | None = None,
        seed: int | None = None,
    ) -> Result:
        """Runs one scenario (a file, or family/name) with its seeds, or with the given one.

        What is left out comes from the marker, then from pytest's options. Files are looked for
        beside the test's file, then in the root folder.
        """
        __tracebackhide__ = _ours
        name = scenario or self._presets.get("scenario")
        if not name:
            raise UsageError(
                "no scenario is named",
                allowed='chaos.run("matrix/timeout-after-commit") or the marker\'s scenario=…',
                hint="chaoslab list",
            )
        return self._run(self._located(name), agent, contract, seed)

    def scenario(
        self,
        text: str,
        /,
        *,
        agent: str | None = None,
        contract: str | None = None,
        seed: int | None = None,
    ) -> Result:
        """The same with a scenario that is written here, as its file would be."""
        __tracebackhide__ = _ours
        with tempfile.TemporaryDirectory(prefix="chaoslab-") as scratch:
            file = Path(scratch) / "scenario.toml"
            file.write_text(text, encoding="utf-8")
            try:
                return self._run(str(file), agent, contract, seed)
            except ScenarioError as error:
                # The file is gone when this is read; its text stands in the test.
                raise ScenarioError(str(error).replace(str(file), "the scenario")) from None

    def _run(
        self, scenario: str, agent: str | None, contract: str | None, seed: int | None
    ) -> Result:
        __tracebackhide__ = _ours
        specs = self._specs(scenario, agent, contract, seed)
        ran = self._lab.perform(specs, self._test, group=group_of(self._test.nodeid))
        self.ran = True
        return _result(ran, self._options.elsewhere)

    def _specs(
        self, scenario: str, agent: str | None, contract: str | None, seed: int | None
    ) -> list[RunSpec]:
        __tracebackhide__ = _ours
        said = agent or self._presets.get("agent")
        contract = contract or self._presets.get("contract") or ""
        if not said:
            # The contract of the session is the one of the session's agent.
            said, contract = self._options.agent, contract or self._options.contract
        if not said:
            raise UsageError(
                "no agent is named",
                allowed='agent="file.py:factory" here or in the marker, --chaos-agent, or '
                "chaos_agent in the ini file",
            )
        seeds = self._presets.get("seeds") or self._options.seeds
        try:
            specs = self._lab.specs(
                [scenario],
                self._located(said),
                contract=self._located(contract),
                seeds=seeds if seed is None else [seed],
            )
        except UsageError as error:
            raise error.with_traceback(None) from None  # only the caller's line is of use
        names = list(dict.fromkeys(spec.scenario.id for spec in specs))
        if len(names) > 1:
            raise UsageError(
                "more than one scenario is named",
                value=scenario,
                allowed=f"one of {', '.join(names)}",
            )
        return specs

    def _located(self, name: str) -> str:
        root = Path(self._options.root)
        return located(name, [self._test.path.parent, root], root)


def _ours(error: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether our frames add nothing: the words say what the caller has to change."""
    return error.errisinstance(UsageError)


def _result(ran: Ran, elsewhere: str) -> Result:
    # A scenario may say that it must be broken; a test says for itself what it wants.
    entries = [run.entry | {"caught": None} for run in ran.runs]
    worst = min(ran.runs, key=lambda run: _WORST_FIRST.index(run.record.verdict))
    recorded = [worst.folder / "fault.jsonl", worst.folder / "control.jsonl"]
    there = next((path for path in recorded if path.is_file()), None)
    return Result(
        verdict=worst.record.verdict,
        violations=tuple(v for run in ran.runs for v in run.record.violations),
        history=View(() if there is None else read(there).ops),
        folder=worst.folder,
        reason=ending(entries, ran.campaign, elsewhere=elsewhere).text,
    )
