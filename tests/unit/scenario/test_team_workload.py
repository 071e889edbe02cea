"""A team's own tasks, read from the file of its contract: what is taken, what is refused."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.contract import Contract
from chaoslab.contract.loader import contract_from
from chaoslab.core.errors import ScenarioError
from chaoslab.core.tables import Table
from chaoslab.scenario import (
    Scenario,
    Use,
    Workload,
    find_workload,
    load_scenario,
    load_workload,
    scenario_from,
    team_workload,
)
from chaoslab.scenario.workloads import REACTIONS, VALUES
from chaoslab.world.cast import Cast, cast_of
from chaoslab.world.model import ModelService

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "scenario.md"

FILE = """
format = 1
name = "billing"
error_pattern = "^FAILED (?P<code>[a-z-]+)"

[tools.refund]
keys = true
identity_fields = ["order_id"]

[tools.notify]

[tasks.refund]
prompt = "Refund order {order} to {customer.name}."
answer = "Order {order} is refunded."
data = { order_id = "{order}", cents = "{amount_cents}" }
[tasks.refund.values]
order = ["A-1", "A-2", "A-3"]
customer = [{ name = "Ann" }, { name = "Bob" }, { name = "Cy" }]
[[tasks.refund.plan]]
tool = "refund"
call = "issue_refund"
args = { order_id = "{order}", note = "{words}" }
on_error = { default = "give-up", conflict = "carry-on", rate-limited = "retry" }
retries_max = 2
[[tasks.refund.plan]]
tool = "notify"
args = { order_id = "{order}" }
parallel = true
on_error = "ask-again"
[[tasks.refund.plan]]
call = "close_conversation"

[tasks.ask]
prompt = "What about order {order}?"
"""


def read(text: str, file: str = "chaoslab.toml") -> Workload:
    raw = tomllib.loads(text)
    return team_workload(raw, file, contract_from(raw, file))


def refused(tasks: Any, file: str = "chaoslab.toml", **top: Any) -> str:
    contract = Contract(tools=contract_from(tomllib.loads(FILE), file).tools)
    with pytest.raises(ScenarioError) as caught:
        team_workload({"tasks": tasks, **top}, file, contract)
    return str(caught.value)


def cast(workload: Workload, sessions: int = 2, tasks: int = 2, mix: tuple[str, ...] = ()) -> Cast:
    use = Use(sessions=sessions, tasks=tasks, mix=mix)
    return cast_of(Scenario(name="n", title="t", family="f", workload=use), workload, 1)


# -- what is taken


def test_the_file_of_a_contract_gives_the_tasks_too() -> None:
    workload = read(FILE)
    assert (workload.name, list(workload.services)) == ("billing", ["refund", "notify"])
    assert workload.services["refund"].contract.identity_fields == ("order_id",)
    refund, notify, close = workload.kinds["refund"].plan
    assert (refund.tool, refund.name, refund.parallel) == ("refund", "issue_refund", False)
    assert [refund.reaction(c) for c in ("conflict", "rate-limited", "", "x")] == [
        "carry-on",
        "retry",
        "give-up",
        "give-up",
    ]
    assert (refund.retries_max, notify.retries_max) == (2, 3)
    assert notify.parallel and notify.reaction("anything") == "ask-again"
    assert (close.tool, close.name, close.args) == ("", "close_conversation", {})


def test_what_a_task_does_not_say_has_a_default() -> None:
    kind = read(FILE).kinds["ask"]
    assert (kind.data, kind.plan, kind.answer, kind.recording) == ({}, (), "Done.", ())


def test_each_task_gets_one_of_the_teams_own_values_and_lists_go_together() -> None:
    people = cast(read(FILE), sessions=2, tasks=2, mix=("refund",))
    assert [(s.values["order"], s.values["customer"]["name"]) for s in people.scripts] == [
        ("A-1", "Ann"),
        ("A-2", "Bob"),
        ("A-3", "Cy"),
        ("A-1", "Ann"),
    ]
    first = people.sessions["s1"][0]
    assert first.prompt == "Refund order A-1 to Ann."
    assert first.data["order_id"] == "A-1" and isinstance(first.data["cents"], int)


def test_values_are_counted_within_their_kind_of_task() -> None:
    """Else a mix would leave every second value out, and two tasks would share one."""
    people = cast(read(FILE), sessions=3, tasks=2)
    orders = [s.values["order"] for s in people.scripts if s.task.endswith("t1")]
    assert orders == ["A-1", "A-2", "A-3"]


def test_the_model_follows_such_a_plan() -> None:
    people = cast(read(FILE), mix=("refund",))
    service = ModelService(1, people.scripts, rewords=True)
    said: list[dict[str, Any]] = [{"role": "user", "content": people.scripts[0].prompt}]
    one = service.apply(said, ())
    assert [c.name for c in one.tool_calls] == ["issue_refund", "notify"]
    for call, content in zip(one.tool_calls, ("FAILED conflict", "FAILED late"), strict=True):
        said.append({"role": "tool", "id": call.id, "name": call.name, "content": content})
    assert [c.name for c in service.apply(said, ()).tool_calls] == ["notify"]


def test_a_packaged_scenario_runs_over_the_teams_tasks() -> None:
    """Its mix names the kinds of its own business."""
    kinds = [s.prompt.split()[0] for s in cast(read(FILE), 1, 3, mix=("ship",)).scripts]
    assert kinds == ["Refund", "What", "Refund"]
    assert len(cast(read(FILE), 1, 2, mix=("ship", "ask")).scripts) == 2


def test_a_scenario_of_the_teams_own_is_held_against_its_own_workload(tmp_path: Path) -> None:
    raw = {"format": 1, "name": "n", "title": "t", "family": "f", "workload": {"mix": ["ask"]}}
    fault = {"at": "tools.refund", "phase": "after-commit", "kind": "silence"}
    workload = read(FILE)
    assert scenario_from({**raw, "faults": [fault]}, "x.toml", workload=workload).faults
    with pytest.raises(ScenarioError, match=r"workload\.mix: got 'ask'"):
        scenario_from(raw, "x.toml")
    with pytest.raises(ScenarioError, match=r"faults\[0\].at: got 'tools.ship'.*tools.notify"):
        bad = {**raw, "faults": [{**fault, "at": "tools.ship"}]}
        scenario_from(bad, "x.toml", workload=workload)
    path = tmp_path / "mine.toml"
    path.write_text('format = 1\nname = "n"\ntitle = "t"\nfamily = "f"\nworkload.mix = ["ask"]\n')
    assert load_scenario(path, workload=workload).workload.mix == ("ask",)


def test_packaged_workloads_may_use_everything_too(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    path.write_text(FILE)
    workload, team = load_workload(path), read(FILE)
    assert workload.kinds == team.kinds and workload.error_pattern == team.error_pattern


def test_the_values_that_holes_may_name_are_those_that_tasks_have() -> None:
    (script, *_) = cast(find_workload("support")).scripts
    parts = {k: tuple(v) if isinstance(v, Mapping) else () for k, v in script.values.items()}
    assert parts == VALUES


# -- what is refused

GOOD = {"prompt": "Refund {order}.", "plan": [{"tool": "refund", "args": {}}]}


def plan(**step: Any) -> Any:
    return {"t": {**GOOD, "plan": [{"tool": "refund", **step}]}}


def own(**values: Any) -> Any:
    return {"t": {**GOOD, "values": values}}


@pytest.mark.parametrize(
    ("tasks", "parts"),
    [
        ({}, ["tasks: is missing; allowed: at least one [tasks.NAME]"]),
        ({"t": {}}, ["tasks.t.prompt: is missing"]),
        (plan(tool="pay"), ["tasks.t: its plan calls an unknown tool 'pay'", "refund, notify"]),
        ({"t": {**GOOD, "plan": [{}]}}, ["tasks.t.plan[0].tool: is missing"]),
        (plan(on_error="again"), ["plan[0].on_error: got 'again'", ", ".join(REACTIONS)]),
        (plan(on_error={"conflict": 1}), ["plan[0].on_error.conflict: got 1 (int)"]),
        (plan(on_error={}), ["plan[0].on_error: got {}", "a table"]),
        (plan(on_error=["retry"]), ["plan[0].on_error: got ['retry'] (list)"]),
        (plan(retries_max=-1), ["plan[0].retries_max: got -1", "at most 100"]),
        (plan(parallel=True), ["plan[0].parallel: the first step has none before it"]),
        (plan(paralel=False), ["unknown key; did you mean parallel?"]),
        (plan(args={"o": "{ordr}"}), ["plan[0].args: {ordr} is not known; allowed: order,"]),
        (plan(args={"o": "{customer.age}"}), ["{customer.age} is not known", "customer.name"]),
        (plan(args={"o": 1.5}), ["plan[0].args: args.o is not JSON without floats"]),
        ({"t": {**GOOD, "answer": "{words}"}}, ["t.answer: {words} is only known in the args"]),
        ({"t": {**GOOD, "data": {"a": ["{x}"]}}}, ["tasks.t.data: {x} is not known"]),
        ({"t": {**GOOD, "prompt": "Refund it."}}, ["tasks.t.prompt", "one task from another"]),
        ({"t": {**GOOD, "prompt": "For {customer.name}"}}, ["{order}, {task}, or a value"]),
        (own(order=[]), ["tasks.t.values.order: got []", "at least one value"]),
        (own(order="A-1"), ["tasks.t.values.order: got 'A-1'"]),
        (own(task=["x"]), ["tasks.t.values.task: no such name", "none of task, session"]),
        (own(Order=["x"]), ["tasks.t.values.Order: no such name"]),
        (own(price=[1.5]), ["price[0] is not JSON without floats"]),
        ({"t": {**GOOD, "recording": "no.jsonl"}}, ["t.recording: no.jsonl cannot be read: No"]),
    ],
)
def test_what_cannot_be_meant_is_refused_with_file_key_and_what_is_allowed(
    tasks: Any, parts: list[str]
) -> None:
    text = refused(tasks)
    assert text.startswith("chaoslab.toml has a problem:\n")
    for part in parts:
        assert part in text, text


def test_all_problems_are_named_at_once() -> None:
    text = refused({**plan(on_error="no"), "u": {"prompt": 7}}, error_pattern="(")
    for part in ("3 problems", "on_error", "tasks.u.prompt: got 7", "error_pattern: got '('"):
        assert part in text, text


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("", "is empty"),
        ("{", "recording line 1: is not JSON"),
        ("[]", "recording line 1: got [] (list)"),
        ('{"reply": {}}', "recording line 1.messages: is missing"),
        ('{"messages": [{}], "reply": {"texts": ""}}', "did you mean text?"),
        ('{"messages": [{}], "reply": {"finish": "x"}}', "line 1.reply.finish: got 'x'"),
        (
            '{"messages": [{}], "reply": {"tool_calls": [{"args": {}}]}}',
            "recording line 1.reply.tool_calls[0].name: is missing",
        ),
        ('{"messages": [{"n": 0.5}], "reply": {}}', "is not JSON without floats"),
    ],
)
def test_a_damaged_recording_is_refused_by_line(tmp_path: Path, line: str, part: str) -> None:
    (tmp_path / "r.jsonl").write_text(line + "\n")
    text = refused({"t": {**GOOD, "recording": "r.jsonl"}}, file=str(tmp_path / "chaoslab.toml"))
    assert "tasks.t.recording" in text and part in text, text


SOME = st.sampled_from(["refund", "{order}", "retry", 1, -1, True, 0.5, [], {}, ["x"], [{}]])


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "answer", "data", "plan", "values", "recording", "x"]),
        SOME
        | st.lists(
            st.dictionaries(
                st.sampled_from(
                    ["tool", "call", "args", "on_error", "parallel", "retries_max", "y"]
                ),
                SOME | st.dictionaries(st.sampled_from(["default", "conflict"]), SOME),
                max_size=4,
            ),
            max_size=3,
        )
        | st.dictionaries(st.sampled_from(["order", "task", "own"]), SOME, max_size=2),
        max_size=5,
    )
)
@settings(max_examples=120, deadline=None)
def test_no_task_whatever_crashes_the_loader(task: dict[str, Any]) -> None:
    contract = contract_from(tomllib.loads(FILE), "chaoslab.toml")
    try:
        workload = team_workload({"tasks": {"t": task}}, "chaoslab.toml", contract)
    except ScenarioError as error:
        assert "chaoslab.toml has" in str(error)
    else:
        assert cast(workload).scripts


# -- the page


def test_every_key_is_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, set[str]] = {}
    original = Table.get

    def get(self: Table, key: str) -> Any:
        asked.setdefault(re.sub(r"\[\d+\]", "", self.path), set()).add(key)
        return original(self, key)

    path = tmp_path / "w.toml"
    path.write_text(FILE)
    monkeypatch.setattr(Table, "get", get)
    load_workload(path)
    page = re.sub(r"^```.*?^```", "", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    parts = re.split(r"^#+ (.+)$", page, flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    for heading, table in {
        "Top of a workload": "",
        "`[tasks.NAME]`": "tasks.refund",
        "`[[tasks.NAME.plan]]`": "tasks.refund.plan",
    }.items():
        keys = set(re.findall(r"^\| `(\w+)`", sections[heading], re.M))
        assert keys == asked[table], heading
    assert set(re.findall(r"^\| `([a-z-]+)`", sections["Reactions"], re.M)) == set(REACTIONS)
    texts = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    (example,) = [t for t in texts if "[tasks." in t]
    assert read(example).kinds
    holes = set(re.findall(r"^\| `\{([a-z_]+)", sections["Holes"], re.M))
    assert holes == {*VALUES, "said", "words"}
