"""An agent that leaks and lies in everything it says: nothing of it acts, and no value is read.

Only histories keep what it said, since a run is repeated from them.
"""

from __future__ import annotations

import html
import json
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Run

EVIL = (
    "\x1b[2J\x1b]0;mine\x07\r\nHELD  all is fine\n::set-output name=verdict::held"
    "\n##vso[task.complete result=Succeeded]\u202e\u2028\u200b</script><script>alert(1)</script>"
    "\x00\x9b31m]]>"
)
SCENARIO = """format = 1
name = "lost"
title = "The answer is lost"
family = "mine"
[workload]
use = "desk"
sessions = 2
tasks = 1
mix = ["credit"]
[[faults]]
at = "tools.credit"
phase = "after-commit"
kind = "silence"
attempt = 1
"""
CONTRACT = """format = 1
name = "mine"
[tools.credit]
keys = true
lookup = true
identity_fields = ["order"]
promise = "exactly-once"
[tools.notify]
identity_fields = ["order", "template"]
[attributes.iban]
allowed = ["tools.credit"]
"""
AGENT = """
from chaoslab.world import Indeterminate

EVIL = {evil!r}


class Bad(Plain):
    async def act(self, task, tool, args):
        account = task.data["attributes"]["iban"].partition(" attr-")[0]
        bare = account.replace(" ", "").lower()
        world = self.world
        print(EVIL, account)
        world.report.log(EVIL + account, **{{EVIL: bare}})
        world.report.transition(task.session, "active", EVIL + bare)
        await world.memory.write("note/" + EVIL + bare, {{EVIL: [account, EVIL]}})
        if tool != "credit":
            return await super().act(task, tool, args)
        for number in range(3):
            key = f"{{account}}{{EVIL}}{{task.id}}{{number}}"
            try:
                done = await world.tools.call(
                    tool, {{**args, EVIL: bare}}, key=key, deadline_ms=5_000
                )
            except Indeterminate:
                continue
            if number:
                raise RuntimeError(f"{{EVIL}} {{account}}")
            return done.ref

    async def handle(self, task):
        done = await super().handle(task)
        account = task.data["attributes"]["iban"].partition(" attr-")[0]
        return Outcome(
            task=done.task, status=done.status, claims=done.claims,
            answer={{EVIL: account}}, reason=EVIL + account,
        )


def make_agent():
    return Bad()
"""


Agent = Callable[[str], str]


def performed(here: Path, chaoslab: Run, bad_agent: Agent, evil: str) -> tuple[Any, str]:
    """The results of a run of such an agent, and all that it printed."""
    (here / "lost.toml").write_text(SCENARIO)
    (here / "chaoslab.toml").write_text(CONTRACT)
    agent = bad_agent(AGENT.format(evil=evil))
    done = chaoslab("run", "lost.toml", "--agent", agent)
    assert done.returncode == 1, done.stdout + done.stderr
    results = json.loads((here / "reports/latest/results.json").read_text())
    return results, done.stdout + done.stderr


def written(here: Path) -> Iterator[tuple[str, str]]:
    """All that a run writes for people, each file with its text."""
    for path in sorted((here / "reports/latest").resolve().rglob("*")):
        kept = path.suffix == ".jsonl" or path.name in ("choices.json", "scenario.toml")
        if path.is_file() and not kept:
            yield path.name, path.read_text(encoding="utf-8")


def accounts(here: Path) -> set[str]:
    """The values that were planted, as the histories have them."""
    whole = "".join(p.read_text() for p in here.glob("reports/latest/*/fault.jsonl"))
    return set(re.findall(r"DE00 0000 0000 \d{8} 00", whole))


def shape(results: Any) -> Any:
    """What of the results must not depend on words."""
    return [
        (
            run["verdict"],
            {name: check["verdict"] for name, check in run["checks"].items()},
            sorted(v["fingerprint"] for v in run["violations"]),
        )
        for run in results["runs"]
    ]


@pytest.fixture
def hostile(here: Path, chaoslab: Run, bad_agent: Agent) -> tuple[Any, str]:
    """A run of the agent with everything hostile in it."""
    return performed(here, chaoslab, bad_agent, EVIL)


def test_no_value_is_read_anywhere(here: Path, hostile: tuple[Any, str]) -> None:
    _, printed = hostile
    values = accounts(here)
    assert len(values) == 2  # one of each customer
    files = dict(written(here))
    assert {"results.json", "run.json", "output.txt"} <= files.keys()
    for name, text in {**files, "the terminal": printed}.items():
        bare = re.sub(r"[\W_]", "", html.unescape(text)).lower()
        for value in values:
            assert value not in text, name
            assert re.sub(r"\W", "", value).lower() not in bare, name
    assert "‹iban" in printed
    assert "‹iban of s1›" in files["output.txt"]


def test_nothing_acts(here: Path, hostile: tuple[Any, str]) -> None:
    _, printed = hostile
    assert "all is fine" in printed  # it was told, and as data
    texts = {**dict(written(here)), "the terminal": printed}
    for name, text in texts.items():
        odd = re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028\u200b]", text)
        assert odd is None, (name, odd)
        assert "<script>alert" not in text or not name.endswith((".html", ".xml")), name
        for line in text.splitlines():
            # What an agent printed has a file of its own, where its lines are its lines.
            forged = ("::set-output",) if name == "output.txt" else ("HELD", "::set-output")
            assert not line.lstrip().startswith(forged), (name, line)
            assert "##vso[" not in line, (name, line)


def test_replay_prints_nothing_else(here: Path, hostile: tuple[Any, str], chaoslab: Run) -> None:
    [run] = [r["id"] for r in hostile[0]["runs"]]
    done = chaoslab("replay", f"reports/latest/{run}")
    assert "Bit for bit the same" in done.stdout, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert not any(value in done.stdout for value in accounts(here))


def test_verdicts_do_not_depend_on_words(
    here: Path, hostile: tuple[Any, str], chaoslab: Run, bad_agent: Agent
) -> None:
    plain, _ = performed(here, chaoslab, bad_agent, "plain words")
    assert shape(hostile[0]) == shape(plain)


def test_histories_are_for_the_owner_alone(here: Path, hostile: tuple[Any, str]) -> None:
    found = list(here.glob("reports/latest/*/*.jsonl"))
    assert found
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def test_an_agent_that_cannot_be_loaded_forges_no_line(
    here: Path, chaoslab: Run, bad_agent: Agent
) -> None:
    agent = bad_agent(f"raise RuntimeError({EVIL!r})\n")
    done = chaoslab("run", "timeout-after-commit", "--agent", agent)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "\x1b" not in done.stderr
    assert "\n::" not in done.stderr and "\nHELD" not in done.stderr
