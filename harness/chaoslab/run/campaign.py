"""Many runs at once, each told as it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chaoslab.check.invariants import PREFIX
from chaoslab.run.model import RunRecord, RunSpec, exit_code
from chaoslab.run.perform import perform
from chaoslab.run.store import FORMAT, Campaign, write_json
from chaoslab.run.workers import Workers


class Stopped(Exception):
    """The campaign must not go on; the words say why."""


OnRun = Callable[[dict[str, Any], RunRecord | None], None]


def run_all(
    specs: Sequence[RunSpec],
    campaign: Campaign,
    workers: Workers,
    *,
    jobs: int,
    on_run: OnRun,
) -> dict[str, Any]:
    """Performs all runs that the campaign has not finished yet and writes `results.json`.

    `on_run` gets each entry as it ends, with its record, or None for one that was kept from an
    earlier start. Results are in the order of `specs`. KeyboardInterrupt passes through after
    what is finished has been written. A rule of the team's own that is broken without any fault
    ends the campaign there: either the rule or the agent is wrong, and faults cannot tell which.
    """
    entries: dict[str, dict[str, Any]] = {}
    stopped = ""
    todo = []
    for spec in specs:
        kept = campaign.finished(spec.id, spec.fingerprint)
        if kept is None:
            todo.append(spec)
        else:
            entries[spec.id] = kept
            on_run(kept, None)
    try:
        _perform_all(todo, campaign, workers, jobs, entries, on_run)
    except Stopped as stop:
        stopped = str(stop)
    finally:
        ordered = [entries[s.id] for s in specs if s.id in entries]
        results = {
            "format": FORMAT,
            "exit_code": exit_code(ordered),
            "complete": len(ordered) == len(specs),
            "stopped": stopped or None,
            "runs": ordered,
        }
        write_json(campaign.folder / "results.json", results)
    return results


def _perform_all(
    todo: Sequence[RunSpec],
    campaign: Campaign,
    workers: Workers,
    jobs: int,
    entries: dict[str, dict[str, Any]],
    on_run: OnRun,
) -> None:
    def one(spec: RunSpec) -> tuple[dict[str, Any], RunRecord]:
        folder: Path = campaign.begin(spec.id)
        record = perform(spec, workers, folder)
        return campaign.finish(record), record

    for entry, record in workers.side_by_side(one, todo, jobs=jobs):
        entries[entry["id"]] = entry
        on_run(entry, record)
        for violation in record.control_violations:
            if violation.check.startswith(PREFIX):
                raise Stopped(
                    f"{violation.check} is broken without any fault, in {entry['scenario']} seed "
                    f"{entry['seed']}: {violation.explanation}. Either the rule or the agent is "
                    "wrong; the campaign stops here."
                )
