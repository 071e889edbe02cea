"""The lab between an agent and its own service, over HTTP, MCP and a wrapped function: what a phase
means is what happens, in that order."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.live.lab import AGENTS, scenario_file, spec_of, verdicts, workers

from chaoslab.history import Op, read
from chaoslab.run.model import RunRecord
from chaoslab.run.perform import perform
from chaoslab.run.workers import Workers

TEAM = """
format = 1
name = "own"
[agent]
command = [{python!r}, {agent!r}, {how!r}]
env = {{ {env} }}
silence_ms = 400
linger_ms = 200
{service}
[tools.refund]
match = {match!r}
keys = {keys}
identity_fields = [{identity!r}]
promise = "exactly-once"
effects = {{ sql = "select id, idem_key, order_id from refunds", database = "{file}" }}
[tasks.refund]
prompt = "Refund the order of {{task}}."
"""
HTTP = """[services.billing]
url = "http://127.0.0.1:{{port}}"
start = [{python!r}, {service!r}, "http", {file!r}, {log!r}]
env = {{ PORT = "{{port}}" }}
"""
MCP = """[services.billing]
mcp = [{python!r}, {service!r}, "mcp", {file!r}, {log!r}]
"""
HOWS = {
    "http": ("POST billing/refunds", '{ header = "Idempotency-Key" }', "body.order_id", HTTP),
    "mcp": ("mcp billing/refund", '{ body = "key" }', "order_id", MCP),
    "python": ("python refund", '{ body = "key" }', "order_id", ""),
}


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    """One worker for all."""
    with workers() as made:
        yield made


def team(folder: Path, how: str, file: str = "{state}/refunds.db") -> Path:
    """The file of a team with a service of its own."""
    match, keys, identity, service = HOWS[how]
    log = str(folder / "asked")
    env = 'BILLING_URL = "{services.billing}"' if service else f'FILE = "{file}", LOG = "{log}"'
    path = folder / "chaoslab.toml"
    common = {"python": sys.executable, "file": file}
    started = service.format(service=str(AGENTS / "refund_service.py"), log=log, **common)
    path.write_text(
        TEAM.format(
            agent=str(AGENTS / "service_agent.py"),
            how=how,
            env=env,
            service=started,
            match=match,
            keys=keys,
            identity=identity,
            **common,
        )
    )
    return path


def struck(folder: Path, pool: Workers, path: Path, phase: str, kind: str) -> RunRecord:
    """A run with one fault."""
    fault = f'[[faults]]\nat = "tools:keyed"\nphase = "{phase}"\nkind = "{kind}"\n'
    (folder / "out").mkdir()
    spec = spec_of(path, scenario_file(folder, "service", fault), repeats=0)
    return perform(spec, pool, folder / "out")


def told(folder: Path) -> list[Op]:
    """All that is on record of the tool, strikes and kills."""
    ops = read(folder / "out" / "fault.jsonl").ops
    kinds = ("tools.refund", "nemesis.strike", "process.kill")
    return [op for op in ops if op.f in kinds]


def asked(folder: Path) -> int:
    """How often the service was reached, over both executions."""
    return len((folder / "asked").read_text().splitlines())


@pytest.mark.parametrize("how", HOWS)
def test_killed_after_the_service_has_answered(tmp_path: Path, pool: Workers, how: str) -> None:
    record = struck(tmp_path, pool, team(tmp_path, how), "after-commit", "crash")
    assert (record.broke, record.violations, record.vacuous) == ("", (), "")
    assert verdicts(record)["effects.delivery"] == "valid"
    first = told(tmp_path)[:5]
    assert [(op.type, op.f) for op in first] == [
        ("invoke", "tools.refund"),
        ("commit", "tools.refund"),
        ("event", "nemesis.strike"),
        ("event", "process.kill"),
        ("info", "tools.refund"),
    ]
    assert first[1].call == first[0].index and first[1].key == "s1-t1"
    assert [op.type for op in told(tmp_path)[5:]] == ["invoke", "ok"]  # the key was known
    assert asked(tmp_path) == 3


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", ["silence", "crash"])
def test_struck_before_it_is_sent(tmp_path: Path, pool: Workers, how: str, kind: str) -> None:
    record = struck(tmp_path, pool, team(tmp_path, how), "before-send", kind)
    assert (record.broke, record.violations, record.vacuous) == ("", (), "")
    ends = [(op.type, op.f) for op in told(tmp_path)]
    assert ends[:2] == [("invoke", "tools.refund"), ("event", "nemesis.strike")]
    assert ends[2 + (kind == "crash")] == ("info", "tools.refund")
    assert [t for t, f in ends[3 + (kind == "crash") :]] == ["invoke", "commit", "ok"]
    assert asked(tmp_path) == 2  # once without faults, and once for the second try


def test_an_effect_that_stood_before_anything_ran(tmp_path: Path, pool: Workers) -> None:
    file = str(tmp_path / "refunds.db")
    record = struck(tmp_path, pool, team(tmp_path, "http", file), "after-commit", "silence")
    assert "state of an earlier execution is still there: the source of refund" in record.broke
    assert "o-s1-t1" in record.broke and "`reset`" in record.broke
