"""What a run is asked for, and what it leaves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from chaoslab import __version__
from chaoslab.check.masking import Mask
from chaoslab.check.model import Finding, Violation
from chaoslab.check.rulesets import counts
from chaoslab.contract import Contract
from chaoslab.contract.consequences import consequence_of
from chaoslab.contract.target import Target
from chaoslab.core.jsons import Json, digest
from chaoslab.run.masking import fit_to_read
from chaoslab.scenario import Scenario, Workload

RunRole = Literal["subject", "negative-control"]
RunVerdict = Literal["valid", "invalid", "unknown", "not-applicable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One run: a scenario, an agent with its contract, and a seed.

    `scenario_text` and `contract_raw` are the sources, kept beside the result so that a replay
    needs nothing else; `sources` are digests of the other files that the run depends on, so that
    resuming never takes an older result for this one. `expected_check` is the
    check that a planted bug must break.

    `target`: the agent as commands on real processes, where the execution with faults is repeated
    `repeats` times, since it cannot be replayed; None in the simulator. `contract_file` is where
    the contract stood, against which its paths are read.
    """

    scenario: Scenario
    scenario_text: str
    workload: Workload
    agent: str
    contract: Contract
    contract_raw: Mapping[str, Any] | None
    seed: int
    role: RunRole = "subject"
    expected_check: str = ""
    choices: Mapping[str, int] | None = None
    sources: tuple[str, ...] = ()
    target: Target | None = None
    contract_file: str = ""
    repeats: int = 3

    @property
    def backend(self) -> str:
        """Where its executions happen."""
        if self.target is None:
            return "sim"
        return "docker" if self.target.containers else "process"

    @property
    def id(self) -> str:
        """The name of the run's folder."""
        location = self.agent.rpartition(":")[0]
        agent = Path(location).stem.rpartition(".")[2] or self.contract.name or "agent"
        if self.target is not None and location:
            agent += f"-{self.backend}"
        text = f"{self.scenario.family}-{self.scenario.name}--{agent}--s{self.seed}"
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)

    @property
    def fingerprint(self) -> str:
        """Equal where a run would be the same; the base of `--resume`."""
        parts: list[Json] = [__version__, self.id, self.agent, self.seed, self.role]
        parts += [self.expected_check, self.scenario_text, self.contract_raw, *self.sources]
        parts += [self.backend, self.repeats if self.target is not None else 0]
        if self.target is not None:
            parts += [str(self.target.store), self.target.toxiproxy]
        return digest(parts, size=16)


@dataclass(slots=True, kw_only=True)
class RunRecord:
    """What a run showed. `broke`: why no verdict may be read (exit 4). `differs`: the first
    entry in which the repetition differed (exit 5). `vacuous`: why nothing was proven.
    `not_applicable`: why the scenario means nothing for this agent. `advice`: keys that nobody
    passed, and which would have been stable."""

    spec: RunSpec
    verdict: RunVerdict = "unknown"
    findings: tuple[Finding, ...] = ()
    control_violations: tuple[Violation, ...] = ()
    broke: str = ""
    differs: str = ""
    vacuous: str = ""
    not_applicable: str = ""
    advice: tuple[Mapping[str, Any], ...] = ()
    faults: Mapping[str, int] = field(
        default_factory=lambda: {"planned": 0, "eligible": 0, "fired": 0}
    )
    ops: int = 0
    attempts_max: int = 0
    recovery_ms: int | None = None
    wall_ms: int = 0
    digest: str = ""
    control_digest: str = ""
    notes: tuple[str, ...] = ()
    output: str = ""
    tools: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    warned: tuple[Finding, ...] = ()  # by checks that are newer than the contract's ruleset
    because: dict[str, list[str]] = field(default_factory=dict)  # by fingerprint
    mask: Mask = field(default_factory=Mask)  # for all that is told of it

    def took(self, result: Mapping[str, Any], which: str, /) -> bool:
        """Notes what an execution printed and why it broke; whether it can be read."""
        self.notes = (*self.notes, *result.get("notes", ()))
        self.output += result.get("printed", "")
        if result["broke"]:
            self.broke = f"{which}: {result['broke']}"
        return not result["broke"]

    def counting(self, findings: Iterable[Finding], /, *, where: str = "") -> tuple[Finding, ...]:
        """The findings that count under the contract's ruleset; the others only warn. `where` is
        the history that they are about, if they do not say so themselves."""
        contract = self.spec.contract
        kept: list[Finding] = []
        for finding in findings:
            told = (replace(v, where=where or v.where) for v in finding.violations)
            one = replace(finding, violations=tuple(told))
            if counts(one.check, contract.ruleset, required=contract.required):
                kept.append(one)
            else:
                self.warned = (*self.warned, one)
        return tuple(kept)

    @property
    def told(self) -> tuple[Violation, ...]:
        """All violations, and those that only warn."""
        return (*self.violations, *(v for f in self.warned for v in f.violations))

    @property
    def violations(self) -> tuple[Violation, ...]:
        """All violations, those of the fault-free run first."""
        found = [v for f in self.findings for v in f.violations]
        return (*self.control_violations, *found)

    @property
    def caught(self) -> bool | None:
        """Whether a planted bug was found by the check that it was planted for."""
        if not self.spec.expected_check:
            return None
        return any(v.check == self.spec.expected_check for v in self.violations)

    @property
    def id(self) -> str:
        """The name of the run's folder."""
        return self.spec.id


def run_json(record: RunRecord, /) -> dict[str, Any]:
    """One entry of `results.json`, masked."""
    spec = record.spec
    entry = {
        "id": record.id,
        "scenario": spec.scenario.id,
        "title": spec.scenario.title,
        "family": spec.scenario.family,
        "agent": spec.agent,
        "contract": spec.contract.name,
        "role": spec.role,
        "backend": spec.backend,
        "deterministic": spec.target is None,
        "seed": spec.seed,
        "verdict": record.verdict,
        "violations": [_told(v, record) for v in record.violations],
        "warnings": [_told(v, record) for f in record.warned for v in f.violations],
        "checks": {f.check: {"verdict": f.verdict, "reason": f.reason} for f in record.findings},
        "expected_check": spec.expected_check or None,
        "caught": record.caught,
        "faults": dict(record.faults),
        "ops": record.ops,
        "attempts_max": record.attempts_max,
        "recovery_ms": record.recovery_ms,
        "recovery_clock": "virtual" if spec.target is None else "wall",
        "wall_ms": record.wall_ms,
        "digest": record.digest,
        "control_digest": record.control_digest,
        "broke": record.broke or None,
        "differs": record.differs or None,
        "faults_ran": not record.control_violations and not record.broke,
        "vacuous": record.vacuous or None,
        "not_applicable": record.not_applicable or None,
        "key_advice": [dict(one) for one in record.advice],
        "required": list(spec.contract.required),
        "ruleset": spec.contract.ruleset,
        "scenario_faults": len(spec.scenario.faults),
        "tools": {name: dict(row) for name, row in record.tools.items()},
    }
    told: dict[str, Any] = fit_to_read(entry, record.mask)
    return told


def _told(violation: Violation, record: RunRecord) -> dict[str, Any]:
    contract = record.spec.contract
    return violation_json(violation) | {
        "consequence": consequence_of(contract, violation.check, violation.tool),
        "because": record.because.get(violation.fingerprint),
    }


def violation_json(violation: Violation, /) -> dict[str, Any]:
    """One violation as results carry it."""
    return {
        "check": violation.check,
        "code": violation.code,
        "subject": violation.subject,
        "explanation": violation.explanation,
        "witness": list(violation.witness),
        "where": violation.where,
        "tool": violation.tool,
        "anomaly": violation.anomaly,
        "fingerprint": violation.fingerprint,
    }
