"""A Wasm tool in the simulator: its commits are in a ledger, its traps strike where planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaoslab.faults.model import PHASES, TRAP_MODES, Fault, problem

from .simlab import run, strike, write_agent

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
both_points = pytest.mark.parametrize("phase", ["before-commit", "after-commit"])


GUEST = BODY.replace("RETIRE", "True")
KEEPS = BODY.replace("RETIRE", "False")


@both_builds
@pytest.mark.parametrize("mode", [mode for mode in TRAP_MODES if mode != "nested"])
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
    (struck,) = found.named("nemesis.strike")
    assert struck.get("mode") == (None if mode == "panic" else mode)  # the plain one goes unsaid
    assert len(found.commits("tools.ticket")) == 1  # the second try is absorbed or the first
    assert found.outcomes() == {"s1-t1": "completed"} and not found.end.broke


@both_builds
@both_points
def test_after_a_nested_trap_the_agent_hears_an_ordinary_answer(
    tmp_path: Path, build: str, phase: str
) -> None:
    found = run(
        tmp_path,
        GUEST,
        use={"wasm": {"ticket": build}},
        faults=[strike("wasm.ticket", phase, "trap", mode="nested")],
    )
    calm = run(tmp_path, GUEST, use={"wasm": {"ticket": build}})
    assert found.ends("wasm.ticket") == [("ok", "")]
    assert found.logs() == calm.logs()
    assert len(found.commits("tools.ticket")) == 1  # the inner call traps before it commits
    (poisoned,) = found.named("wasm.poisoned")
    call = found.calls("wasm.ticket")[0]
    assert poisoned.value == {"instance": "home-1/ticket-1", "reason": "nested call trapped"}
    assert (poisoned.call, poisoned.session, poisoned.task) == (call.index, "s1", "s1-t1")
    assert len(found.named("nemesis.strike")) == 1


@both_builds
@pytest.mark.parametrize(("phase", "commits"), [("before-commit", 0), ("after-commit", 1)])
def test_a_failed_import_leaves_the_guest_in_the_middle(
    tmp_path: Path, build: str, phase: str, commits: int
) -> None:
    found = run(
        tmp_path,
        KEEPS,
        use={"wasm": {"ticket": build}},
        faults=[strike("wasm.ticket", phase, "trap", mode="import-error")],
    )
    first, second = found.calls("wasm.ticket")
    assert len(found.view.commits(first.index)) == commits
    told = found.view.completion(first.index)
    assert told is not None and told.type == "info"
    assert told.get("trap") == "import-error"
    assert told.get("poisoned") == "host import failed"
    (poisoned,) = found.named("wasm.poisoned")
    assert poisoned.value == {"instance": "home-1/ticket-1", "reason": "host import failed"}
    # No clean-up ran: the second call finds what the first had left. Where that was committed,
    # the doubled text is another content under a known key.
    answer = found.view.completion(second.index)
    assert answer is not None and answer.get("instance") == "home-1/ticket-1"
    if commits:
        assert (answer.type, answer.get("error")) == ("fail", "bad-request")
    else:
        assert answer.get("output")["text"].count("Customer: Ada") == 2


@pytest.mark.parametrize("mode", ["nested", "import-error"])
def test_trouble_in_the_host_is_the_same_each_time(tmp_path: Path, mode: str) -> None:
    agent = write_agent(tmp_path, GUEST)
    faults = [strike("wasm.ticket", "after-commit", "trap", mode=mode)]
    one, two = (run(tmp_path, agent, faults=faults, tasks=2) for _ in range(2))
    assert one.end.digest == two.end.digest


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("mode", ["nested", "import-error"])
def test_the_modes_of_a_trap_know_the_phases_of_a_trap(mode: str, phase: str) -> None:
    said = problem(Fault(at="wasm:*", phase=phase, kind="trap", mode=mode))
    assert (said == "") is (phase in ("before-commit", "after-commit"))


def test_a_mode_that_is_not_there_is_refused_with_those_that_are() -> None:
    said = problem(Fault(at="wasm:*", phase="before-commit", kind="trap", mode="explode"))
    assert "'explode'" in said
    assert all(mode in said for mode in TRAP_MODES)


ASKS = """
import json
class Agent(Base):
    async def handle(self, task):
        order = task.data["order"]
        data = {"key": "k", "order": order, "customer": "Ada", "subject": "s", "body": "b"}
        guest = await self.world.wasm.instantiate("ticket")
        try:
            await guest.call("open_ticket", json.dumps(data).encode(), fuel=10_000_000)
        except Indeterminate:
            pass
        self.say((await guest.call("output", b"", fuel=10_000_000)).decode())
        return self.done(task)
"""


@both_builds
def test_what_a_guest_has_put_out_can_be_asked_for(tmp_path: Path, build: str) -> None:
    use = {"wasm": {"ticket": build}}
    found = run(tmp_path, ASKS, use=use)
    first, second = (found.view.completion(c.index) for c in found.calls("wasm.ticket"))
    assert first is not None and second is not None
    assert second.get("output") == first.get("output")
    assert second.get("output")["absorbed"] is False


@both_builds
@both_points
def test_after_a_trap_too_and_that_is_the_callers_mistake(
    tmp_path: Path, build: str, phase: str
) -> None:
    use = {"wasm": {"ticket": build}}
    found = run(tmp_path, ASKS, use=use, faults=[strike("wasm.ticket", phase, "trap")])
    assert found.ends("wasm.ticket") == [("info", "trap"), ("ok", "")]
    assert found.logs() == [""]  # this guest empties its output first


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
