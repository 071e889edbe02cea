"""`chaoslab stress`: drawn scenarios, as many as are asked for or fit into a time."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from chaoslab.cli.explore import RUNS_DEFAULT
from chaoslab.cli.exploring import Desk, Explored, Plan, asked_for, carry_out
from chaoslab.core.errors import FormatError
from chaoslab.explore.database import Entries, Examples, check_database
from chaoslab.explore.drawn import claim_of, coverage_of
from chaoslab.explore.rows import Row
from chaoslab.explore.store import Rows, head_of
from chaoslab.explore.stress import (
    TIME_RAN_OUT,
    ShardEnd,
    Stress,
    StressShard,
    database_key,
    shards_of,
)
from chaoslab.explore.worlds import worlds_of
from chaoslab.run.profiles import with_seeds
from chaoslab.run.store import write_json

EXAMPLES: Final = "examples.json"
CUT: Final = "~"  # in the name of a batch: its shard was cut off
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
        todo = unfinished(shards, desk.rows)
        desk.counted.doing(f"drawing in {len(shards)} part{'s' * (len(shards) != 1)}")
        carried_out = Stress()
        ends: dict[str, ShardEnd] = {}
        try:
            for number, end in desk.spread.each(carried_out, todo):
                ends[todo[number].name] = end
                _keep(desk, todo[number], end)
        except BaseException as error:
            # After Ctrl-C, or where workers are lost, what was under way is kept too. What the
            # disk has refused is counted, and must not be twice.
            stopped = isinstance(error, KeyboardInterrupt)
            left = {**carried_out.so_far(), **ends}
            for shard in todo:
                if shard.name in left and (stopped or shard.name not in ends):
                    _keep(desk, shard, left[shard.name])
            ends = left
            raise
        finally:
            examples.write(
                [value for end in ends.values() for _, value in end.saved],
                [value for end in ends.values() for _, value in end.dropped],
            )
        return Explored(
            coverage=coverage_of(desk.rows.rows()),
            claim=claim_of(
                desk.rows.tally,
                seed=arguments.seed,
                shards=len(shards),
                worlds=len({world.id for world in worlds_of(base)}),
                cut=[end.cut for end in ends.values() if end.cut],
            ),
            complete=all(end.whole or end.cut == TIME_RAN_OUT for end in ends.values()),
            problems=examples.problems,
            spent_us=_added([end.spent_us for end in ends.values()]),
        )

    plan = {"runs": runs, "shards": arguments.shards, "seed": arguments.seed}
    head = head_of("stress", base, plan)
    return carry_out(arguments, console, asked, Plan(head=head, base=base, explore=explore))


def unfinished(shards: Sequence[StressShard], rows: Rows, /) -> list[StressShard]:
    """The shards that are not done. One that was cut off gets the rows that it has, by which it
    finds its place again; the name of its batch says how many executions these were."""
    counted: dict[str, int] = {}
    earlier: dict[str, list[Row]] = {}
    for batch, kept in rows.batches():
        name, sign, count = batch.partition(CUT)
        if sign and name not in rows.done and count.isdigit():
            counted[name] = max(counted.get(name, 0), int(count))
            earlier.setdefault(name, []).extend(kept)
    return [
        replace(
            shard,
            earlier=tuple(earlier.get(shard.name, ())),
            counted=counted.get(shard.name, 0),
        )
        for shard in shards
        if shard.name not in rows.done
    ]


def _keep(desk: Desk, shard: StressShard, end: ShardEnd) -> None:
    """Keeps rows under the name of their shard if it is done, else as those of one that was cut."""
    if end.whole:
        desk.keep(shard.name, end.rows)
    elif end.rows:
        desk.keep(f"{shard.name}{CUT}{shard.counted + len(end.rows):06d}", end.rows)


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
