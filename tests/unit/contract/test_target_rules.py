"""`[agent]`, `[services.NAME]`, and a tool's match, keys and effects, as a person writes them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from chaoslab.contract.holes import PROCESS_HOLES, quoted_hole
from chaoslab.contract.loader import contract_from, load_contract
from chaoslab.contract.model import Contract, ToolContract
from chaoslab.contract.target import Done, EffectSource, Submit, Target, Upstream
from chaoslab.core.errors import ContractError

EXAMPLE = """
format = 1
[agent]
command = ["uv", "run", "worker"]
env     = { BILLING_URL = "{services.billing}", OPENAI_BASE_URL = "{model}" }
submit  = { post = "http://127.0.0.1:{port}/tasks" }
done    = { sql = "select 1 from runs where id = {task} and state in ('done', 'failed')" }
[services.billing]
url = "http://127.0.0.1:9000"
[tools.refund]
match   = "POST billing/v1/refunds"
keys    = { header = "Idempotency-Key", conflict = 409, retention_s = 86400 }
identity_fields = ["body.order_id"]
promise = "exactly-once"
effects = { sql = "select id, idem_key, order_id from refunds where run = {run}" }
"""
HERE = str(Path().resolve())
BILLING = {"billing": {"url": "http://127.0.0.1:9000"}}


def read(text: str) -> Contract:
    return contract_from({"format": 1, **tomllib.loads(text)}, "chaoslab.toml")


def agent(text: str) -> Target:
    target = read(f"[agent]\n{text}").target
    assert target is not None
    return target


def problems_of(raw: dict[str, Any]) -> str:
    with pytest.raises(ContractError) as caught:
        contract_from({"format": 1, **raw}, "chaoslab.toml")
    return str(caught.value)


def test_the_example_loads_as_it_is_written() -> None:
    contract = contract_from(tomllib.loads(EXAMPLE), "chaoslab.toml")
    assert contract.target == Target(
        commands=(("uv", "run", "worker"),),
        env={"BILLING_URL": "{services.billing}", "OPENAI_BASE_URL": "{model}"},
        cwd=HERE,
        submit=Submit(how="post", url="http://127.0.0.1:{port}/tasks"),
        done=Done(
            how="sql",
            sql="select 1 from runs where id = {task} and state in ('done', 'failed')",
        ),
    )
    assert contract.services == {"billing": Upstream(name="billing", url="http://127.0.0.1:9000")}
    sql = "select id, idem_key, order_id from refunds where run = {run}"
    assert contract.tool("refund") == ToolContract(
        name="refund",
        match="POST billing/v1/refunds",
        keys=True,
        key_at="header:Idempotency-Key",
        key_retention_ms=86_400_000,
        identity_fields=("body.order_id",),
        promise="exactly-once",
        effects=EffectSource(sql=sql),
    )


def test_a_contract_without_these_tables_is_as_it_was() -> None:
    contract = contract_from({"format": 1, "tools": {"pay": {"keys": True}}}, "c.toml")
    assert contract.target is None and contract.services == {}
    assert contract.tool("pay") == ToolContract(name="pay", keys=True)
    assert contract.tool("pay").observed


def test_the_tables_of_the_workload_may_stand_in_the_same_file() -> None:
    contract_from(
        {"format": 1, "tasks": {"refund": {"anything": 1}}, "error_pattern": "x"}, "c.toml"
    )


# -- [agent]


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("command = \"python 'my agent.py' -v\"", (("python", "my agent.py", "-v"),)),
        ('commands = [["a", "b"], "c d"]', (("a", "b"), ("c", "d"))),
        ('submit = { run = "python one.py {prompt}" }', ()),
    ],
)
def test_commands(text: str, commands: tuple[tuple[str, ...], ...]) -> None:
    assert agent(text).commands == commands


@pytest.mark.parametrize(
    ("text", "submit"),
    [
        ("", Submit()),
        ('submit = "queue"', Submit()),
        ('submit = "stdin"', Submit(how="stdin")),
        (
            'submit = { run = ["python", "a.py", "{prompt}"] }',
            Submit(how="run", argv=("python", "a.py", "{prompt}")),
        ),
        (
            'submit = { post = "{services.x}/t", body = { in = ["{prompt}", 1] }, '
            'headers = { X = "{task}" } }\n[services.x]\nurl = "http://127.0.0.1:1"',
            Submit(
                how="post",
                url="{services.x}/t",
                body={"in": ["{prompt}", 1]},
                headers={"X": "{task}"},
            ),
        ),
    ],
)
def test_submit(text: str, submit: Submit) -> None:
    assert agent(f'command = "x"\n{text}').submit == submit


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("", Done()),
        ('done = "reply"', Done()),
        (
            'done = { poll = "http://127.0.0.1:{port}/t/{task}", field = "a.b", '
            'completed = ["y"] }',
            Done(
                how="poll",
                url="http://127.0.0.1:{port}/t/{task}",
                field="a.b",
                completed=("y",),
            ),
        ),
    ],
)
def test_done(text: str, done: Done) -> None:
    assert agent(f'command = "x"\nsubmit = "stdin"\n{text}').done == done


def test_every_number_and_command_of_an_agent() -> None:
    target = agent(
        """
        command = "serve"
        restart = ["serve", "--again"]
        reset = "rm -rf {state}"
        inspect = ["python", "state.py", "{process}"]
        pass_env = ["HOME"]
        ready = "http://127.0.0.1:{port}/ok"
        database = "sqlite:///{state}/runs.db"
        timeout_s = 5
        ready_ms = 6
        stop_grace_ms = 0
        silence_ms = 8
        linger_ms = 9
        speed = 10
        """
    )
    assert target == Target(
        commands=(("serve",),),
        restart=(("serve", "--again"),),
        reset=("rm", "-rf", "{state}"),
        inspect=("python", "state.py", "{process}"),
        pass_env=("HOME",),
        cwd=HERE,
        ready="http://127.0.0.1:{port}/ok",
        database="sqlite:///{state}/runs.db",
        timeout_ms=5_000,
        ready_ms=6,
        stop_grace_ms=0,
        silence_ms=8,
        linger_ms=9,
        speed=10,
    )
    assert agent('command = "x"\ntimeout_ms = 7').timeout_ms == 7
    several = agent('commands = ["a", "b"]\nrestart = [["c"], ["d", "e"]]')
    assert several.restart == (("c",), ("d", "e"))
    resumed = agent('submit = { run = "x {task}" }\nresume = "y {task}"')
    assert resumed.resume == ("y", "{task}")


def test_paths_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "effects.py").write_text("")
    path = tmp_path / "chaoslab.toml"
    path.write_text(
        'format = 1\n[agent]\ncommand = "x"\ncwd = "app"\ntemplate = "app"\n'
        'database = "app/runs.db"\n'
        '[services.b]\nurl = "http://127.0.0.1:1"\ndatabase = "{state}/b.db"\n'
        '[tools.pay]\nmatch = "POST b/pay"\neffects = { function = "effects.py:rows" }\n'
        '[tools.note]\nmatch = "python note"\neffects = { sql = "select 1", database = "n.db" }\n'
    )
    contract = load_contract(path)
    assert contract.target is not None
    assert contract.target.cwd == str(tmp_path / "app")
    assert contract.target.template == str(tmp_path / "app")
    assert contract.target.database == str(tmp_path / "app" / "runs.db")
    assert contract.services["b"].database == "{state}/b.db"
    pay, note = contract.tool("pay").effects, contract.tool("note").effects
    assert pay is not None and pay.function == f"{tmp_path / 'effects.py'}:rows"
    assert note is not None and note.database == str(tmp_path / "n.db")


def test_all_slips_of_an_agent_are_told_at_once() -> None:
    text = problems_of(
        {
            "services": BILLING,
            "agent": {
                "command": "python 'agent.py",
                "commands": [["x"]],
                "env": {"A": "{services.biling}", "C": 3},
                "submit": {"post": "127.0.0.1:80", "body": {"a": ["{promt}"]}, "run": ["x"]},
                "done": {"sql": "select 1 from runs where id = '{task}'", "poll": "http://x"},
                "restart": [["a"], ["b"]],
                "resume": "go {task}",
                "reset": ["rm", "{prompt}"],
                "inspect": [],
                "cwd": "there-is-no-such-folder",
                "template": "there-is-no-such-file",
                "timeout_s": 1,
                "timeout_ms": 1,
                "speed": 0,
                "redy": "http://127.0.0.1",
            },
        }
    )
    for part in (
        'agent.command: got "python \'agent.py" (str), which cannot be split: No closing quotation',
        "agent.commands: stands beside command; allowed: one of them",
        "agent.env.A: got '{services.biling}' (str) with the unknown hole {services.biling}; "
        "allowed: {run}, {seed}",
        "{token}, {services.billing}",
        "agent.env.C: got 3 (int); allowed: a string",
        "agent.submit: got {",
        'allowed: "queue", "stdin", { post = URL } or { run = ["command", …] }',
        "agent.done: got {",
        "agent.done.sql: got \"'{task}'\" (str); a hole is a value, so allowed: {task} without",
        "agent.restart: has 2 command(s) for the agent's 1",
        "agent.reset: got ['rm', '{prompt}'] (list) with the hole {prompt}",
        "agent.inspect: got [] (list); allowed: a list of strings",
        "agent.cwd: there is no folder there-is-no-such-folder",
        "agent.template: there is no file or folder there-is-no-such-file",
        "agent.timeout_s: stands beside timeout_ms",
        "agent.speed: got 0 (int)",
        "agent.redy: unknown key; did you mean ready?",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        ({}, "agent.command: is missing"),
        (
            {"command": "x", "env": {"B": "{task}"}},
            "agent.env.B: got '{task}' (str) with the hole {task}, which is only known where",
        ),
        ({"commands": []}, "agent.commands: got [] (list)"),
        ({"command": "x", "submit": "post"}, "agent.submit: got 'post' (str)"),
        ({"command": "x", "submit": {"post": "x"}}, "agent.submit.post: got 'x' (str)"),
        (
            {"command": "x", "submit": {"post": "http://x", "body": {"a": "{promt}"}}},
            "agent.submit.body: got {'a': '{promt}'} (dict) with the unknown hole {promt}",
        ),
        ({"command": "x", "done": "sql"}, "agent.done: got 'sql' (str)"),
        ({"command": "x", "done": {"sql": "select 1"}}, "says the same of every task"),
        ({"command": "x", "done": {"poll": "http://x/y"}}, "agent.done.poll: got"),
        (
            {"command": "x", "done": {"poll": "http://x/{task}", "failed": ["done"]}},
            "agent.done.failed: 'done' stands in completed too",
        ),
        ({"command": "x", "done": {"sql": " "}}, "agent.done.sql: got ' ' (str)"),
        ({"command": "x", "resume": "y"}, "agent.resume: is run for one task"),
        (
            {"submit": {"run": "x {task}"}, "ready": "http://127.0.0.1"},
            "agent.ready: there is no process to wait for",
        ),
        (
            {"submit": {"run": "x {task}"}, "restart": "y"},
            "agent.restart: has 1 command(s) for the agent's 0",
        ),
    ],
)
def test_a_slip_of_an_agent(raw: dict[str, Any], part: str) -> None:
    assert part in problems_of({"agent": raw})


def test_a_date_cannot_be_posted() -> None:
    raw = tomllib.loads('[agent]\ncommand="x"\nsubmit={post="http://x", body={at=2020-01-01}}')
    assert "agent.submit.body: got" in problems_of(raw)


# -- [services.NAME]


def test_services() -> None:
    contract = read(
        """
        [services.billing]
        url = "http://127.0.0.1:{port}"
        start = "python billing.py {port}"
        env = { RUN = "{run}" }
        ready = "http://127.0.0.1:{port}/ok"
        hosts = ["API.example."]
        [services.crm]
        mcp = "http://127.0.0.1:9001/mcp"
        [services.kb]
        mcp = ["python", "kb.py"]
        [services.ux]
        mcp = "python ux.py"
        """
    )
    assert contract.services == {
        "billing": Upstream(
            name="billing",
            url="http://127.0.0.1:{port}",
            start=("python", "billing.py", "{port}"),
            env={"RUN": "{run}"},
            ready="http://127.0.0.1:{port}/ok",
            hosts=("api.example",),
        ),
        "crm": Upstream(name="crm", mcp="http://127.0.0.1:9001/mcp"),
        "kb": Upstream(name="kb", mcp_command=("python", "kb.py")),
        "ux": Upstream(name="ux", mcp_command=("python", "ux.py")),
    }


def test_all_slips_of_services_are_told_at_once() -> None:
    text = problems_of(
        {
            "services": {
                "a": {},
                "b": {"url": "http://x", "mcp": "http://y"},
                "c": {"url": "ftp://x", "hosts": ["http://x"], "start": 3},
                "d e": {"url": "http://x", "env": {"T": "{task}"}},
                "f": 3,
            }
        }
    )
    for part in (
        "services.a: has neither url nor mcp; allowed: one of url",
        "services.b: has both url and mcp",
        "services.c.url: got 'ftp://x' (str); allowed: http://… or https://…",
        "services.c.hosts: got 'http://x' (str); allowed: plain host names",
        "services.c.start: got 3 (int)",
        "services.d e: a name of letters, digits, - and _ is allowed",
        "services.d e.env.T: got '{task}' (str) with the hole {task}",
        "services.f: got 3 (int); allowed: a table [services.f]",
    ):
        assert part in text, part


# -- holes


def test_only_what_stands_in_quotes_is_quoted() -> None:
    assert quoted_hole("select 'a', {run}, 'b'") == ""
    assert quoted_hole("select 'a', {run}, 'b {run}'") == "'b {run}'"


def test_every_hole_of_a_process_is_let_through() -> None:
    every = " ".join(f"{{{name}}}" for name in PROCESS_HOLES)
    assert agent(f'command = ["x", "{every}"]').commands == (("x", every),)
