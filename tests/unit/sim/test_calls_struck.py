"""Every kind of fault in every phase does to a tool call what its description says."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from chaoslab.faults import KINDS, PHASES
from chaoslab.faults.model import MODEL_KINDS
from chaoslab.scenario import Regions

from .simlab import NS_PER_MS, Result, run, strike

ONCE = """
class Agent(Base):
    async def handle(self, task):
        try:
            reply = await self.pay(task, TOOL, KEY, 60_000)
        except (Refused, Indeterminate) as error:
            return Outcome(task=task.id, status="uncertain", reason=error.code)
        return self.done(task)
"""
TOOLS = {"pay": "'k'", "mail": "None", "haul": "'k'"}
PAIR = Regions(names=("near", "far"))


class Seen(NamedTuple):
    """What is left of the one call that was struck."""

    commits: int
    end: tuple[str, str]
    at_ms: int


def struck(folder: Path, tool: str, kind: str, phase: str, **more: object) -> Result:
    """One task, one call, one fault."""
    body = ONCE.replace("TOOL", repr(tool)).replace("KEY", TOOLS[tool])
    regions = PAIR if kind == "partition" else None
    found = run(
        folder, body, faults=[strike(f"tools.{tool}", phase, kind, **more)], regions=regions
    )
    assert not found.end.broke, found.end.broke
    return found


def first(found: Result, tool: str) -> Seen:
    """The fate of the first call."""
    call = found.calls(f"tools.{tool}")[0]
    done = found.view.completion(call.index)
    assert done is not None
    return Seen(
        commits=len(found.view.commits(call.index)),
        end=(done.type, done.get("error", "")),
        at_ms=done.time_ns // NS_PER_MS,
    )


DEADLINE, RESET, SERVER = ("info", "deadline"), ("info", "reset"), ("info", "server-error")
OK, KILLED = ("ok", ""), ("info", "killed")
# kind, phase -> (commits at a service that knows keys, without keys, how the call ended)
FATES: dict[tuple[str, str], tuple[int, int, tuple[str, str]]] = {
    ("silence", "before-send"): (0, 0, DEADLINE),
    ("silence", "before-commit"): (0, 0, DEADLINE),
    ("silence", "after-commit"): (1, 1, DEADLINE),
    ("reset", "before-send"): (0, 0, RESET),
    ("reset", "before-commit"): (0, 0, RESET),
    ("reset", "after-commit"): (1, 1, RESET),
    ("error-reply", "before-commit"): (0, 0, SERVER),
    ("error-reply", "after-commit"): (1, 1, SERVER),
    ("delay", "before-send"): (1, 1, OK),
    ("delay", "before-commit"): (1, 1, OK),
    ("delay", "after-commit"): (1, 1, OK),
    ("duplicate", "before-commit"): (1, 2, OK),
    ("duplicate", "after-commit"): (1, 2, OK),
    ("reorder", "before-commit"): (1, 1, DEADLINE),
    ("hold", "before-commit"): (1, 1, DEADLINE),
    ("hold", "after-commit"): (1, 1, DEADLINE),
    ("crash", "before-send"): (0, 0, KILLED),
    ("crash", "before-commit"): (0, 0, KILLED),
    ("crash", "after-commit"): (1, 1, KILLED),
    ("crash", "after-reply"): (1, 1, OK),
    # Sent only when it goes on, and by then another process has done it.
    ("pause", "before-send"): (0, 1, OK),
    ("pause", "before-commit"): (1, 1, OK),
    ("pause", "after-commit"): (1, 1, OK),
    ("pause", "after-reply"): (1, 1, OK),
    ("partition", "before-send"): (0, 0, DEADLINE),
    ("partition", "before-commit"): (1, 1, DEADLINE),
    ("partition", "after-commit"): (1, 1, DEADLINE),
    ("partition", "after-reply"): (1, 1, OK),
    ("rate-limit", "before-commit"): (0, 0, ("fail", "rate-limited")),
}


def test_the_table_of_fates_is_complete() -> None:
    wanted = {
        (kind, phase)
        for kind, (phases, _) in KINDS.items()
        for phase in PHASES
        if phase in phases and kind not in MODEL_KINDS and kind != "trap"
    }
    assert set(FATES) == wanted


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(("kind", "phase"), FATES)
def test_the_fate_of_a_call(tmp_path: Path, tool: str, kind: str, phase: str) -> None:
    keyed, unkeyed, end = FATES[kind, phase]
    found = struck(tmp_path, tool, kind, phase)
    seen = first(found, tool)
    assert seen.end == end
    assert seen.commits == (unkeyed if tool == "mail" else keyed)
    strikes = found.named("nemesis.strike")
    assert [(s.get("kind"), s.get("phase"), s.get("port")) for s in strikes] == [
        (kind, phase, f"tools.{tool}")
    ]
    assert strikes[0].call == found.calls(f"tools.{tool}")[0].index
    assert found.end.fired == {0: 1}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(("kind", "phase"), FATES)
def test_a_refused_call_has_no_effect_and_every_call_has_one_end(
    tmp_path: Path, tool: str, kind: str, phase: str
) -> None:
    """`fail` means that it certainly did not happen; a history that says `fail` and has the
    effect accuses an honest agent."""
    found = struck(tmp_path, tool, kind, phase)
    for call in found.calls(f"tools.{tool}"):
        ends = [
            op.type
            for op in found.end.ops
            if op.call == call.index and op.type in ("ok", "fail", "info")
        ]
        assert len(ends) == 1
        assert ends != ["fail"] or not found.view.commits(call.index)


@pytest.mark.parametrize(
    ("tool", "phase"),
    [("pay", "before-commit"), ("pay", "after-commit"), ("haul", "after-commit")],
)
def test_a_duplicate_arrives_twice_and_a_key_absorbs_it(
    tmp_path: Path, tool: str, phase: str
) -> None:
    found = struck(tmp_path, tool, "duplicate", phase)
    notes = [op for op in found.named(f"tools.{tool}") if op.type == "event"]
    assert [op.get("absorbed") for op in notes] == [f"{tool}:o-s1-t1#1"]
    assert len(found.commits(f"tools.{tool}")) == 1


def test_linger_catches_a_late_duplicate(tmp_path: Path) -> None:
    late = struck(tmp_path, "mail", "duplicate", "after-commit", for_ms=500_000)
    healed = late.named("nemesis.heal")[0].index
    assert [op.index > healed for op in late.commits("tools.mail")] == [False, True]
    effects = [op for op in late.named("final.effects") if op.get("tool") == "mail"]
    assert len(effects[0].get("effects")) == 2


def test_a_delay_is_as_long_as_it_says(tmp_path: Path) -> None:
    plain = first(struck(tmp_path, "pay", "delay", "after-commit", for_ms=1), "pay")
    for phase in ("before-send", "before-commit", "after-commit"):
        late = first(struck(tmp_path, "pay", "delay", phase, for_ms=5_000), "pay")
        assert late.at_ms == plain.at_ms + 4_999


@pytest.mark.parametrize("phase", ["before-commit", "after-commit"])
def test_what_is_held_goes_on_after_its_time(tmp_path: Path, phase: str) -> None:
    found = struck(tmp_path, "pay", "hold", phase, for_ms=7_000)
    assert first(found, "pay").end == OK
    assert first(found, "pay").at_ms == 7_002
    assert len(found.named("nemesis.release")) == 1


def test_what_is_held_without_a_time_is_released_by_the_heal(tmp_path: Path) -> None:
    found = struck(tmp_path, "pay", "hold", "before-commit")
    heal, release = found.named("nemesis.heal")[0], found.named("nemesis.release")[0]
    commit = found.commits("tools.pay")[0]
    assert heal.index < release.index < commit.index
    assert heal.time_ns == release.time_ns


TWO_CALLS = """
class Agent(Base):
    async def handle(self, task):
        async def call(n, wait):
            await self.world.clock.sleep(wait)
            order = task.data["order"] + str(n)
            await self.world.tools.call("mail", {"order": order}, deadline_ms=60_000)
        await asyncio.gather(call(1, 0), call(2, 10))
        return self.done(task)
"""


def test_a_reordered_request_is_overtaken_by_the_next(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        TWO_CALLS,
        faults=[strike("tools.mail", "before-commit", "reorder", marker="o-s1-t11")],
    )
    assert [op.marker for op in found.commits("tools.mail")] == ["o-s1-t12", "o-s1-t11"]
    assert found.ends("tools.mail") == [OK, OK]
    assert found.outcomes() == {"s1-t1": "completed"}


ORPHAN = "home-1/s1-t1/1/orphan"


@pytest.mark.parametrize(("choice", "commits"), [(0, 0), (127, 0), (128, 1), (191, 1), (255, 1)])
def test_what_had_arrived_when_its_sender_died_commits_by_choice(
    tmp_path: Path, choice: int, commits: int
) -> None:
    body = ONCE.replace("TOOL", "'mail'").replace("KEY", "None")
    found = run(
        tmp_path,
        body,
        faults=[strike("tools.mail", "before-commit", "crash")],
        choices={ORPHAN: choice},
    )
    call = found.calls("tools.mail")[0]
    assert len(found.view.commits(call.index)) == commits
    assert found.ends("tools.mail")[0] == KILLED
    assert ORPHAN in found.end.choices


def test_a_request_under_way_when_its_sender_died_arrives_by_choice(tmp_path: Path) -> None:
    counts = {}
    for choice in (0, 128, 192, 255):
        found = run(
            tmp_path,
            TWO_CALLS.replace("call(2, 10)", "call(2, 0)"),
            faults=[strike("tools.mail", "before-send", "crash", marker="o-s1-t12")],
            choices={f"home-1/s1-t1/{nth}/orphan": choice for nth in range(1, 5)},
        )
        mine = [op for op in found.commits("tools.mail") if op.process == "home-1"]
        counts[choice] = len(mine)
    assert counts == {0: 1, 128: 0, 192: 1, 255: 1}


def test_a_paused_process_hears_its_answer_and_its_deadline_when_it_goes_on(
    tmp_path: Path,
) -> None:
    body = ONCE.replace("TOOL", "'pay'").replace("KEY", "'k'").replace("60_000", "1_000")
    answered = run(
        tmp_path, body, faults=[strike("tools.pay", "after-commit", "pause", for_ms=2_500)]
    )
    assert answered.ends("tools.pay") == [OK]
    silent = run(
        tmp_path,
        body,
        faults=[
            strike("tools.pay", "before-commit", "pause", for_ms=2_500),
            strike("tools.pay", "after-commit", "silence"),
        ],
    )
    done = silent.view.completion(silent.calls("tools.pay")[0].index)
    assert done is not None and done.get("error") == "deadline"
    assert done.time_ns == silent.named("process.resume")[0].time_ns


WRITE_FIVE = """
class Agent(Base):
    async def handle(self, task):
        try:
            await self.world.memory.write_many(
                [Write(id=f"x{n}", value=task.delivery) for n in range(5)])
        except (Refused, Indeterminate) as error:
            self.say(error.code)
        return self.done(task)
"""


@pytest.mark.parametrize("after", [1, 3, 5])
@pytest.mark.parametrize(
    ("kind", "end"),
    [("crash", KILLED), ("silence", DEADLINE), ("reset", RESET), ("error-reply", SERVER)],
)
def test_a_group_that_is_struck_after_k_items_has_exactly_k_commits(
    tmp_path: Path, after: int, kind: str, end: tuple[str, str]
) -> None:
    found = run(
        tmp_path,
        WRITE_FIVE,
        faults=[strike("memory.write_many", "mid-write", kind, after_items=after)],
    )
    call = found.calls("memory.write_many")[0]
    assert [op.get("item") for op in found.view.commits(call.index)] == list(range(after))
    assert found.ends("memory.write_many")[0] == end


def test_a_pause_in_the_middle_of_a_group_tears_nothing(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        WRITE_FIVE,
        faults=[strike("memory.write_many", "mid-write", "pause", after_items=2, for_ms=1_000)],
    )
    assert len(found.commits("memory.write_many")) == 5
    assert found.ends("memory.write_many") == [OK]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("malformed", "arguments"),
        ("unknown-tool", "pay_v2"),
        ("truncated", "truncated"),
        ("refusal", "refusal"),
    ],
)
def test_the_models_own_mishaps_reach_the_agent(tmp_path: Path, kind: str, said: str) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            messages = [{"role": "user", "content": task.prompt}]
            reply = await self.world.model.complete(messages, deadline_ms=1_000)
            calls = [f"{c.name} {dict(c.args)}" for c in reply.tool_calls]
            self.say(f"{reply.finish} {calls}")
            return self.done(task)
    """
    found = run(tmp_path, body, faults=[strike("model.complete", "after-commit", kind)])
    assert said in found.logs()[0]
    assert len(found.named("nemesis.strike")) == 1


def test_every_port_can_fail_and_be_silent(tmp_path: Path) -> None:
    body = """
    class Agent(Base):
        async def handle(self, task):
            w = self.world
            calls = {
                "memory.read": lambda: w.memory.read("x"),
                "memory.write": lambda: w.memory.write("x", 1),
                "memory.scan": lambda: w.memory.scan("x"),
                "memory.erase": lambda: w.memory.erase("x"),
                "leases.acquire": lambda: w.leases.acquire("s1", ttl_ms=10),
                "network.request": lambda: w.network.request(
                    "POST", "http://kb.example/", deadline_ms=500),
                "model.complete": lambda: w.model.complete(
                    [{"role": "user", "content": "x"}], deadline_ms=500),
                "wasm.instantiate": lambda: w.wasm.instantiate("ticket"),
            }
            for name, call in calls.items():
                for _ in range(2):
                    try:
                        await call()
                    except Indeterminate as error:
                        self.say(f"{name} {error.code}")
            return self.done(task)
    """
    ports = (
        "memory.read",
        "memory.write",
        "memory.scan",
        "memory.erase",
        "leases.acquire",
        "network.request",
        "model.complete",
        "wasm.instantiate",
    )
    found = run(
        tmp_path,
        body,
        faults=[strike(p, "after-commit", "silence") for p in ports]
        + [strike(p, "after-commit", "reset", attempt=2) for p in ports],
    )
    assert found.logs() == [f"{p} {code}" for p in ports for code in ("deadline", "reset")]
