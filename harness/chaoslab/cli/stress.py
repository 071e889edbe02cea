"""`chaoslab stress`: drawn scenarios, as many as are asked for or fit into a time."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from chaoslab.cli.explore import RUNS_DEFAULT
from chaoslab.cli.exploring import Desk, Explored, Plan, asked_for, carry_out
from chaoslab.core.errors import FormatError
from chaoslab.explore.database import Entries, Examples, check_database
from chaoslab.explore.drawn import claim_of, coverage_of
from chaoslab.explore.store import head_of
from chaoslab.explore.stress import database_key, shards_of, stress_shard
from chaoslab.explore.worlds import worlds_of
from chaoslab.run.profiles import with_seeds
from chaoslab.run.store import write_json

EXAMPLES: Final = "examples.json"
RUNS_TIMED: Final = 1_000_000  # more than fit into any time that somebody waits


def stress(arguments: argparse.Namespace, console: Console) -> int:
    """`chaoslab stress`."""
    check_database(arguments.database)
    asked = asked_for(arguments, seeds=(), time=arguments.time)
    base = with_seeds(asked.specs, 1)
    runs = arguments.runs or (RUNS_TIMED if asked.time_ms else RUNS_DEFAULT)

    def explore(desk: Desk) -> Explored:
        examples = Examples(arguments.database, database_key(base))
        known = [
            one.fingerprint
            for one in asked.known.entries
            if asked.known.state(one.fingerprint, one.contract) == "known"
        ]
        shards = shards_of(
            base,
            seed=arguments.seed,
            runs=runs,
            shards=arguments.shards,
            time_ms=_time_each(asked.time_ms, arguments.shards, asked.jobs),
            database=_beginning(desk.rows.path.with_name(EXAMPLES), examples),
            setting=asked.setting,
            known=known,
        )
        todo = [shard for shard in shards if shard.name not in desk.rows.done]
        desk.counted.doing(f"drawing in {len(shards)} part{'s' * (len(shards) != 1)}")
        ends = []
        try:
            for number, end in desk.spread.each(stress_shard, todo):
                desk.keep(todo[number].name, end.rows)
                ends.append(end)
        finally:
            saved = [value for end in ends for _, value in end.saved]
            dropped = [value for end in ends for _, value in end.dropped]
            examples.write(saved, dropped)
        cut = [end.cut for end in ends if end.cut]
        return Explored(
            coverage=coverage_of(desk.rows.rows()),
            claim=claim_of(
                desk.rows.tally,
                seed=arguments.seed,
                shards=len(shards),
                worlds=len({world.id for world in worlds_of(base)}),
                cut=cut,
            ),
            complete=not cut or asked.time_ms is not None,
            problems=examples.problems,
            spent_us=_added([end.spent_us for end in ends]),
        )

    plan = {"runs": runs, "shards": arguments.shards, "seed": arguments.seed}
    head = head_of("stress", base, plan)
    return carry_out(arguments, console, asked, Plan(head=head, base=base, explore=explore))


def _beginning(path: Path, examples: Examples) -> Entries:
    """What the database held when the campaign began: what is drawn depends on it, so a campaign
    that is gone on with must not see what was written into it meanwhile."""
    if not path.is_file():
        found = examples.read()
        told = {key.hex(): [value.hex() for value in values] for key, values in found.items()}
        write_json(path, told, mode=0o600)
        return found
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {
            bytes.fromhex(key): tuple(bytes.fromhex(value) for value in values)
            for key, values in raw.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{path} is damaged: {error}", hint="begin anew, without --resume"
        ) from None


def _time_each(time_ms: int | None, shards: int, jobs: int) -> int | None:
    """The time of one shard, where so many of them are carried out at once.

    >>> _time_each(60_000, 8, 2), _time_each(60_000, 1, 2)
    (15000, 60000)
    """
    if time_ms is None:
        return None
    return max(1, time_ms // -(-shards // jobs))


def _added(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    whole: dict[str, int] = {}
    for part in parts:
        for name, spent in part.items():
            whole[name] = whole.get(name, 0) + spent
    return whole
