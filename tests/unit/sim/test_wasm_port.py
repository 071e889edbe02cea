"""A Wasm tool in the simulator: its commits are in a ledger, its traps strike where planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaoslab.faults.model import TRAP_MODES

from .simlab import run, strike

BODY = """
import json
class Agent(Base):
    async def start(self, world):
        self.world = world
        self.guest = None
    async def handle(self, task):
        order = task.data["order"]
        data = {"key": "k-" + order, "order": order, "customer": "Ada", "subject": "s", "body": "b"}
        for _ in range(3):
            if self.guest is None:
                self.guest = await self.world.wasm.instantiate("ticket")
            try:
                sent = json.dumps(data).encode()
                out = await self.guest.call("open_ticket", sent, fuel=10_000_000)
                self.say(out.decode())
                return self.done(task)
            except Indeterminate as error:
                self.say(error.code)
                if RETIRE:
                    self.guest.retire()
                    self.guest = None
            except Refused as error:
                self.say(error.code)
                return Outcome(task=task.id, status="failed")
"""
both_builds = pytest.mark.parametrize("build", ["abort", "unwind"])


GUEST = BODY.replace("RETIRE", "True")


@both_builds
@pytest.mark.parametrize("mode", TRAP_MODES)
@pytest.mark.parametrize(("phase", "commits"), [("before-commit", 0), ("after-commit", 1)])
def test_a_trap_strikes_before_or_after_the_commit(
    tmp_path: Path, build: str, mode: str, phase: str, commits: int
) -> None:
    found = run(
        tmp_path,
        GUEST,
        use={"wasm": {"ticket": build}},
        faults=[strike("wasm.ticket", phase, "trap", mode=mode)],
    )
    call = found.calls("wasm.ticket")[0]
    assert len(found.view.commits(call.index)) == commits
    assert len(found.named("nemesis.strike")) == 1
    assert len(found.commits("tools.ticket")) == 1  # the second try is absorbed or the first
    assert found.outcomes() == {"s1-t1": "completed"} and not found.end.broke


@both_builds
def test_without_faults_one_call_makes_one_ticket(tmp_path: Path, build: str) -> None:
    found = run(tmp_path, GUEST, use={"wasm": {"ticket": build}}, tasks=3)
    assert found.ends("wasm.ticket") == [("ok", "")] * 3
    commits = found.commits("tools.ticket")
    assert [c.call for c in commits] == [c.index for c in found.calls("wasm.ticket")]
    assert [op.get("build") for op in found.named("wasm.instantiate") if op.type == "ok"] == [build]


def test_a_module_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    line = 'await self.world.wasm.instantiate("tickets")'
    text = f"""
    class Agent(Base):
        async def handle(self, task):
            try:
                {line}
            except NotFound as error:
                self.say(error.code)
            return self.done(task)
    """
    assert run(tmp_path, text).logs() == ["not-found"]


def test_a_retired_instance_is_refused(tmp_path: Path) -> None:
    text = """
    class Agent(Base):
        async def handle(self, task):
            guest = await self.world.wasm.instantiate("ticket")
            guest.retire()
            try:
                await guest.call("x", b"{}", fuel=1000)
            except Refused as error:
                self.say(error.code)
            return self.done(task)
    """
    found = run(tmp_path, text)
    assert found.logs() == ["retired"]
    assert len(found.named("wasm.retired")) == 1


@pytest.mark.parametrize("phase", ["before-send", "before-commit", "after-commit", "after-reply"])
def test_a_crash_around_a_guest_call_takes_the_instance_with_it(tmp_path: Path, phase: str) -> None:
    found = run(tmp_path, GUEST, faults=[strike("wasm.ticket", phase, "crash")])
    assert len(found.commits("tools.ticket")) == 1
    made = [op.get("instance") for op in found.named("wasm.instantiate") if op.type == "ok"]
    assert made == ["home-1/ticket-1", "home-2/ticket-1"]
