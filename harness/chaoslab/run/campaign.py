"""Many runs at once, each told as it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chaoslab.check.invariants import PREFIX
from chaoslab.core.clock import monotonic_ms, utc_now
from chaoslab.run.known import NOTHING_KNOWN, Known
from chaoslab.run.model import RunRecord, RunSpec
from chaoslab.run.perform import perform
from chaoslab.run.profiles import cut_json
from chaoslab.run.promises import promised_by
from chaoslab.run.results import results_of
from chaoslab.run.store import Campaign, write_json
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
    until_ms: int | None = None,
    profile: str | None = None,
    shard: Mapping[str, Any] | None = None,
    known: Known = NOTHING_KNOWN,
) -> dict[str, Any]:
    """Performs all runs that the campaign has not finished yet and writes `results.json`.

    `on_run` gets each entry as it ends, with its record, or None for one that was kept from an
    earlier start. Results are in the order of `specs`. KeyboardInterrupt passes through after
    what is finished has been written. A rule of the team's own that is broken without any fault
    ends the campaign there: either the rule or the agent is wrong, and faults cannot tell which.
    After `until_ms` on the clock of `monotonic_ms` no further run is started, and the results name
    those that were cut. `profile` and `shard` are what the results say of the command; `known` are
    the breaches that somebody has accepted for a time.
    """
    began_ms, started = monotonic_ms(), utc_now()
    entries: dict[str, dict[str, Any]] = {}
    cut: set[str] = set()
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
        for entry in _perform_all(todo, campaign, workers, jobs, on_run, until_ms):
            if isinstance(entry, str):
                cut.add(entry)
            else:
                entries[entry["id"]] = entry
    except Stopped as stop:
        stopped = str(stop)
    finally:
        ordered = [entries[s.id] for s in specs if s.id in entries]
        results = results_of(
            ordered,
            wanted=len(specs),
            promised=promised_by(specs),
            known=known,
            stopped=stopped,
            cut=[cut_json(s) for s in specs if s.id in cut],
            profile=profile,
            shard=shard,
            started=started,
            wall_ms=monotonic_ms() - began_ms,
        )
        write_json(campaign.folder / "results.json", results)
    return results


def _perform_all(
    todo: Sequence[RunSpec],
    campaign: Campaign,
    workers: Workers,
    jobs: int,
    on_run: OnRun,
    until_ms: int | None,
) -> Iterator[dict[str, Any] | str]:
    """The entry of each run as it ends; the name of each that there was no time to start."""

    def one(spec: RunSpec) -> tuple[dict[str, Any], RunRecord] | str:
        if until_ms is not None and monotonic_ms() >= until_ms:
            return spec.id
        folder: Path = campaign.begin(spec.id)
        record = perform(spec, workers, folder)
        return campaign.finish(record), record

    for done in workers.side_by_side(one, todo, jobs=jobs):
        if isinstance(done, str):
            yield done
            continue
        entry, record = done
        yield entry
        on_run(entry, record)
        for violation in record.control_violations:
            if violation.check.startswith(PREFIX):
                raise Stopped(
                    f"{violation.check} is broken without any fault, in {entry['scenario']} seed "
                    f"{entry['seed']}: {violation.explanation}. Either the rule or the agent is "
                    "wrong; the campaign stops here."
                )
