"""What holds in every execution, whatever strikes, whenever, in whatever order."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaoslab.faults import KINDS, PHASES, Fault, problem
from chaoslab.history import Op
from chaoslab.scenario import Regions

from .simlab import SHOP, Result, run, write_agent

# Does a bit of everything, tries again, and gives up honestly.
BUSY = """
class Agent(Base):
    async def handle(self, task):
        w, order = self.world, task.data["order"]
        try:
            lease = await w.leases.acquire(task.session, ttl_ms=5_000)
            await w.memory.write_many(
                [Write(id=f"{order}/{n}", value=n) for n in range(3)], fence=lease.fence)
            await asyncio.gather(self.tries(task, "pay", "k"), self.tries(task, "haul", "h"))
            await w.memory.write("last", order, durability="quorum")
            await self.tries(task, "mail", None)
            await w.memory.scan("", at="replica")
            return self.done(task)
        except Held:
            return Outcome(task=task.id, status="deferred")
        except (Refused, Indeterminate) as error:
            return Outcome(task=task.id, status="uncertain", reason=error.code)
    async def tries(self, task, name, key):
        for left in (2, 1, 0):
            try:
                return await self.pay(task, name, key, 40_000)
            except (Refused, Indeterminate):
                if not left:
                    raise
                await self.world.clock.sleep(self.world.random.randrange(1_000))
"""

PLACES = (
    "tools:keyed",
    "tools:unkeyed",
    "tools:*",
    "memory.write",
    "memory.write_many",
    "memory.scan",
    "leases.acquire",
)
NOT_HERE = ("trap", "malformed", "unknown-tool", "truncated", "refusal")

faults = st.builds(
    Fault,
    at=st.sampled_from(PLACES),
    kind=st.sampled_from([k for k in KINDS if k not in NOT_HERE]),
    phase=st.sampled_from(PHASES),
    attempt=st.integers(1, 2),
    after_items=st.sampled_from([0, 0, 0, 1, 2]),
    for_ms=st.none() | st.sampled_from([1, 2_000, 15_000]),
    scope=st.sampled_from(["process", "process", "region"]),
).filter(lambda f: not problem(f))


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_agent(tmp_path_factory.mktemp("busy"), BUSY)


plans = st.fixed_dictionaries(
    {
        "faults": st.lists(faults, max_size=4),
        "seed": st.integers(0, 2**32),
        "sessions": st.integers(1, 2),
        "tasks": st.integers(1, 2),
        "regions": st.builds(
            Regions,
            names=st.sampled_from([("a", "b"), ("a", "b", "c")]),
            active=st.sampled_from(["primary", "all"]),
            processes=st.integers(1, 2),
        ),
        "use": st.fixed_dictionaries(
            {"concurrent": st.booleans(), "deliveries": st.integers(1, 2)}
        ),
    }
)


def check(found: Result) -> None:
    """Every promise of docs/reference/history.md that needs no knowledge of the scenario."""
    ops = found.end.ops
    assert not found.end.broke, found.end.broke
    assert [op.index for op in ops] == list(range(len(ops)))
    assert all(a.time_ns <= b.time_ns for a, b in pairwise(ops))
    assert all(type(op.time_ns) is int for op in ops)
    ends = Counter(op.call for op in ops if op.type in ("ok", "fail", "info"))
    dead = {op.process: op.index for op in found.named("process.kill")}
    for op in ops:
        if op.type == "invoke":
            assert ends[op.index] <= 1
            check_call(found, op)
        if op.process in dead and op.index > dead[op.process]:
            assert op.type in ("info", "commit") or op.f.startswith(("tools.", "nemesis."))
    check_ends(found, ends)
    check_tasks(found)
    check_ledger(found)


def check_call(found: Result, call: Op) -> None:
    done = found.view.completion(call.index)
    commits = found.view.commits(call.index)
    if done is not None and done.type == "fail":
        assert not commits, f"{call.line()} failed for certain and committed"
    if done is not None and done.type == "ok" and call.f in ("tools.mail", "memory.write"):
        assert any(c.index < done.index for c in commits)
    if done is not None:
        assert done.index > call.index
    for commit in commits:
        assert commit.index > call.index and commit.marker in call.marker


def check_ends(found: Result, ends: Counter[int]) -> None:
    """Only calls of a process that outlives the execution may be open at its end."""
    dead = {op.process for op in found.named("process.kill")}
    for op in found.end.ops:
        if op.type == "invoke" and op.process in dead:
            assert ends[op.index] == 1


def check_tasks(found: Result) -> None:
    counted = Counter(op.task for op in found.named("task.outcome") if op.get("counted"))
    assert all(n == 1 for n in counted.values())
    given_out = Counter(op.task for op in found.named("task.submit"))
    numbers: dict[str, list[Any]] = {}
    for op in found.named("task.submit"):
        numbers.setdefault(op.task, []).append(op.get("delivery"))
    assert all(n == list(range(1, len(n) + 1)) for n in numbers.values())
    assert set(counted) == set(found.outcomes()), "healed, every task gets its outcome"
    assert set(given_out) >= set(counted)


def check_ledger(found: Result) -> None:
    """The last reading is what the commits said, and a key has one effect."""
    refs: dict[str, list[str]] = {name: [] for name in SHOP.services}
    keys: Counter[tuple[str, str]] = Counter()
    for op in found.end.ops:
        if op.type == "commit" and op.f.startswith("tools."):
            refs[op.f[6:]].append(op.get("ref"))
            if op.key is not None:
                keys[op.f, op.key] += 1
    read = {
        op.get("tool"): [e["ref"] for e in op.get("effects")] for op in found.named("final.effects")
    }
    assert read == refs
    assert all(n == 1 for n in keys.values())
    assert len({r for group in refs.values() for r in group}) == sum(map(len, refs.values()))


@given(plans)
@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
def test_what_holds_in_every_execution(
    tmp_path_factory: pytest.TempPathFactory, agent: str, plan: dict[str, Any]
) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    check(run(folder, agent, by_seed=True, **plan))


@given(plans)
@settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
def test_the_choices_alone_repeat_an_execution(
    tmp_path_factory: pytest.TempPathFactory, agent: str, plan: dict[str, Any]
) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    first = run(folder, agent, by_seed=True, **plan)
    again = run(folder, agent, choices=first.end.choices, **plan)
    assert again.end.digest == first.end.digest
    assert again.end.choices == first.end.choices
