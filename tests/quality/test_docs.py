"""The documentation says what the code does: links, tables, examples, claims are held here."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from tests.quality.markdown import (
    ROOT,
    Rows,
    blocks,
    code,
    named,
    prose,
    sections,
    slug,
    table,
    tables,
    text_of,
)

from chaoslab.check import CHECK_IDS, Violation
from chaoslab.contract import DEFAULT_LIMITS, Contract, Limits, ToolContract
from chaoslab.contract.loader import contract_from
from chaoslab.core.tables import Table
from chaoslab.faults import KINDS, PHASES, PORTS, ROLES, Fault, problem
from chaoslab.run.campaign import run_all
from chaoslab.run.model import RunRecord, run_json
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.store import Campaign
from chaoslab.run.workers import Workers
from chaoslab.scenario import Regions, Schedule, Use, find_workload, scenario_from

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
SCENARIO = DOCS / "reference" / "scenario.md"
CONTRACT = DOCS / "reference" / "contract.md"
RESULTS = DOCS / "reference" / "results.md"
CLI = DOCS / "reference" / "cli.md"
HOWTO = DOCS / "howto" / "plug-in-an-agent.md"
TUTORIAL = DOCS / "tutorial.md"

# -- links and words


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_resolve(page: Path) -> None:
    bad = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in {slug(h) for h in sections(path)}):
            bad.append(target)
    assert not bad


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_page_names_a_machine_or_a_package_host(page: Path) -> None:
    text = text_of(page)
    assert not re.findall(r"(?<![\w.~])/(?:home|root|Users|work|tmp|var|opt|mnt)/\S*", text)
    hosts = r"pypi\.|pythonhosted|npmjs|crates\.io|proxy\.golang|ghcr\.|registry\.\w+\.\w+"
    assert not re.findall(hosts, text, re.I)


def test_the_architecture_fits_one_page_and_names_files_that_exist() -> None:
    page = DOCS / "ARCHITECTURE.md"
    assert len(text_of(page).splitlines()) <= 120
    paths = re.findall(r"`([\w.-]+/[\w./-]*)`", text_of(page))
    assert len(paths) > 15
    folders = (ROOT, ROOT / "harness" / "chaoslab")
    assert [p for p in paths if not any((folder / p).exists() for folder in folders)] == []


def test_the_layers_are_those_that_are_enforced() -> None:
    raw = tomllib.loads(text_of(ROOT / "pyproject.toml"))
    layers = raw["tool"]["importlinter"]["contracts"][0]["layers"]
    enforced = [name for line in layers for name in re.findall(r"\w+", line)]
    there = [n for n in enforced if (ROOT / "harness" / "chaoslab" / n).is_dir()]
    assert [code(row[0]) for row in table(DOCS / "ARCHITECTURE.md", "The layers")] == there


ADRS = sorted((DOCS / "adr").glob("*.md"))


@pytest.mark.parametrize("page", ADRS, ids=named)
def test_a_decision_is_short_and_of_the_form(page: Path) -> None:
    text = text_of(page)
    assert len(text.splitlines()) < 40
    assert text.startswith(f"# {page.name[:4]}: ")
    assert re.findall(r"^## (.+)$", text, re.M) == ["Context", "Decision", "Consequences"]


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(p.name[:4]) for p in ADRS] == list(range(1, len(ADRS) + 1))


WORDS = """
    history; op [entry]; process [incarnation]; world; port [interface]; effect;
    operation [action]; attempt [try]; marker; idempotency key; lineage; site [fault point];
    phase; nemesis; scenario; workload; contract; limits; checker [check]; verdict; violation;
    witness; choice; seed; replay; shrink; control [fault-free run];
    negative control [planted bug]; retired; quarantined
"""


def test_the_glossary_has_every_word_once() -> None:
    rows = [row for group in tables(prose(DOCS / "glossary.md")) for row in group]
    found = [row[0] for row in rows]
    assert [w for w in map(str.strip, WORDS.split(";")) if w not in found] == []
    assert len(found) == len(set(found))
    said = " ".join(row[1] for row in rows)
    for word in ("`valid` [held]", "`invalid` [broken]", "`unknown` [unproven]", "not-applicable"):
        assert word in said


def test_every_check_has_a_line() -> None:
    text = text_of(DOCS / "reference" / "checks.md")
    assert [c for c in CHECK_IDS if f"`{c}`" not in text] == []


# -- examples


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_toml_examples_load(page: Path) -> None:
    for block in blocks(page, "toml"):
        raw = tomllib.loads(block)
        if "family" in raw:
            scenario_from(raw, named(page))
        elif "tool" in raw:
            contract_from(raw["tool"]["chaoslab"], named(page), check_ids=CHECK_IDS)
        elif "format" in raw and "known" not in raw:
            contract_from(raw, named(page), check_ids=CHECK_IDS)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_python_examples_compile(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, named(page), "exec")


def parser() -> argparse.ArgumentParser:
    # The package gives its name `main` to the function, so the module is asked for by name.
    found: argparse.ArgumentParser = importlib.import_module("chaoslab.cli.entry")._parser()
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_in_examples_are_commands(page: Path) -> None:
    for block in blocks(page, "(?:console|sh)"):
        for line in re.findall(r"^\$ (?:python -m pdb -m )?chaoslab (.+)$", block, re.M):
            words = [w.replace("<run>", "run") for w in shlex.split(line, comments=True)]
            parser().parse_args(words)


# -- the scenario file and the contract


def asked_keys(monkeypatch: pytest.MonkeyPatch, file: str) -> dict[str, set[str]]:
    """Which keys of which table a loader asks for, as it reads."""
    seen: dict[str, set[str]] = {}
    original = Table.get

    def get(self: Table, key: str) -> Any:
        if self.problems.file == file:
            seen.setdefault(re.sub(r"\[\d+\]", "", self.path), set()).add(key)
        return original(self, key)

    monkeypatch.setattr(Table, "get", get)
    return seen


SCENARIO_TABLES: Mapping[str, tuple[str, type | None]] = {
    "Top of the file": ("", None),
    "`[workload]`": ("workload", Use),
    "`[schedule]`": ("schedule", Schedule),
    "`[[faults]]`": ("faults", Fault),
    "`[regions]`": ("regions", Regions),
    "`[[operator]]`": ("operator", None),
    "`[limits]`": ("limits", None),
}
CONTRACT_TABLES: Mapping[str, tuple[str, type | None]] = {
    "Top of the file": ("", Contract),
    "`[tools.NAME]`": ("tools.refund", ToolContract),
    "`[limits]`": ("limits", Limits),
}
FAULT = {"at": "tools:*", "phase": "after-commit", "kind": "silence"}
HEAD = {"format": 1, "name": "n", "title": "t", "family": "f"}


def test_every_key_of_a_scenario_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = asked_keys(monkeypatch, "x.toml")
    scenario_from({**HEAD, "faults": [FAULT], "operator": [{"release": "s1"}]}, "x.toml")
    for heading, (path, _) in SCENARIO_TABLES.items():
        assert {code(row[0]) for row in key_table(SCENARIO, heading)} == seen[path], heading


def test_every_key_of_a_contract_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = asked_keys(monkeypatch, "x.toml")
    contract_from({"format": 1, "tools": {"refund": {}}}, "x.toml")
    for heading, (path, _) in CONTRACT_TABLES.items():
        assert {code(row[0]) for row in key_table(CONTRACT, heading)} == seen[path], heading


def key_table(page: Path, heading: str) -> Rows:
    """The table of keys below a heading: the one with five columns."""
    (only,) = [t for t in tables(sections(page)[heading]) if len(t[0]) == 5]
    return only


@pytest.mark.parametrize(
    ("page", "heading", "owner"),
    [
        (page, heading, owner)
        for page, group in ((SCENARIO, SCENARIO_TABLES), (CONTRACT, CONTRACT_TABLES))
        for heading, (_, owner) in group.items()
        if owner is not None
    ],
)
def test_defaults_are_those_of_the_code(page: Path, heading: str, owner: Any) -> None:
    defaults = {f.name: f.default for f in fields(owner) if f.default is not MISSING}
    for row in key_table(page, heading):
        name, kind, said = code(row[0]), row[1], row[2]
        if name in defaults and not kind.startswith("table") and name != "name":
            if said != "required":
                assert said == as_cell(defaults[name]), f"{heading} {name}"


def test_default_limits_are_those_of_the_code() -> None:
    for row in key_table(SCENARIO, "`[limits]`"):
        assert row[2] == as_cell(getattr(DEFAULT_LIMITS, code(row[0])))


def as_cell(value: object) -> str:
    if value is None:
        return "none"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


# -- faults

PLACES = (*ROLES, *PORTS, "tools.refund", "tools.refund.lookup", "wasm.ticket")
GROUPS: Mapping[str, Iterable[str]] = {
    "-": (),
    "any": PLACES,
    "any but wasm": [p for p in PLACES if not p.startswith("wasm")],
    "wasm guest": ["wasm:*", "wasm.ticket"],
    "model.complete": ["model.complete"],
    "memory.write_many": ["memory.write_many"],
}


def test_the_table_of_kinds_phases_and_places_is_that_of_the_code() -> None:
    heading = "Kinds, and where each can strike"
    strikes, words = tables(sections(SCENARIO)[heading])
    assert [code(row[0]) for row in strikes] == list(KINDS)
    assert [code(row[0]) for row in words] == list(KINDS)
    for row in strikes:
        for phase, cell in zip(PHASES, row[1:], strict=True):
            found = {p for p in PLACES if allowed(p, phase, code(row[0]))}
            assert found == set(GROUPS[cell]), f"{row[0]} {phase}"


def allowed(place: str, phase: str, kind: str) -> bool:
    items = 1 if phase == "mid-write" else 0
    return problem(Fault(at=place, phase=phase, kind=kind, after_items=items)) == ""


def test_places_and_phases_are_those_of_the_code() -> None:
    places = [code(row[0]) for row in table(SCENARIO, "Places")]
    assert set(places) == {*ROLES, *PORTS, "tools.NAME", "wasm.NAME"}
    assert [code(row[0]) for row in table(SCENARIO, "Phases")] == list(PHASES)


WORKLOADS = {"support": "The packaged workload", "desk": "The workload `desk`"}


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_packaged_workloads_are_described(name: str) -> None:
    workload = find_workload(name)
    kinds, services, *_ = tables(sections(SCENARIO)[WORKLOADS[name]])
    for row in kinds:
        steps = [s.tool for s in workload.kinds[code(row[0])].plan]
        assert [t for t in re.findall(r"`(\w+)`", row[1]) if t in workload.services] == steps
    assert [code(row[0]) for row in kinds] == list(workload.kinds)
    assert [code(row[0]) for row in services] == list(workload.services)


# -- results and commands


def test_results_are_described_field_by_field(tmp_path: Path) -> None:
    (spec, *_) = specs_for(scenario_files(["timeout-after-commit"]), REFERENCE)
    record = RunRecord(spec=spec, verdict="invalid")
    violation = Violation(check="c", code="c", subject="s", explanation="e", witness=())
    record.control_violations = (violation,)
    campaign = Campaign(tmp_path)
    campaign.begin(record.id)
    campaign.finish(record)
    run_all([spec], campaign, Workers(), jobs=1, on_run=lambda entry, record: None)
    results = json.loads(text_of(tmp_path / "results.json"))
    [promises], [bug] = results["promises"], results["bugs"]
    described = {
        "`results.json`": results,
        "An entry of `promises`": promises["lines"][0],
        "An entry of `bugs`": bug,
        "An entry of `runs`": run_json(record),
        "An entry of `violations`": results["runs"][0]["violations"][0],
        "`run.json`": json.loads(text_of(tmp_path / record.id / "run.json")),
    }
    for heading, value in described.items():
        assert {code(row[0]) for row in table(RESULTS, heading)} == set(value), heading


def test_every_command_and_option_is_described() -> None:
    (group,) = [a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    pages = sections(CLI)
    described = [h for h in pages if h.startswith("`chaoslab ")]
    assert described == [f"`chaoslab {name}`" for name in group.choices]
    for name, command in group.choices.items():
        options = {
            (a.option_strings[-1] if a.option_strings else a.dest.upper()): a
            for a in command._actions
            if not isinstance(a, argparse._HelpAction)
        }
        rows = [row for found in tables(pages[f"`chaoslab {name}`"]) for row in found]
        assert [code(row[0]) for row in rows] == list(options), name
        for row in rows:
            said, default = row[1], options[code(row[0])].default
            if said == "off":
                assert default is False
            elif code(said) and options[code(row[0])].option_strings:
                assert code(said) == str(default)


def test_every_target_of_make_is_described() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", text_of(ROOT / "Makefile"), re.M)
    assert [f"make {t}" for t in targets if t != "help"] == [
        code(row[0]) for row in table(CLI, "`make`")
    ]


# -- the pages that are done by hand


class Desk:
    """A folder in which the commands of a page are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def chaoslab(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "chaoslab", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "harness"), "PYTHONUTF8": "1"},
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def verdicts(self) -> dict[str, str]:
        path = self.folder / "reports" / "latest" / "results.json"
        return {r["scenario"]: r["verdict"] for r in json.loads(text_of(path))["runs"]}

    def apply(self, diff: str, name: str) -> None:
        """Does to a file what a diff block says."""
        lines = diff.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line.startswith("-"))
        after = "".join(line[1:] for line in lines if line.startswith("+"))
        path = self.folder / name
        assert text_of(path).count(before) == 1, f"{name} has no such place:\n{before}"
        path.write_text(text_of(path).replace(before, after), "utf-8")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def conclusions(page: Path) -> list[str]:
    """The sentences at the end of the chains that a page shows."""
    return [line for b in blocks(page, "console") for line in b.splitlines() if "  so: " in line]


def test_the_agent_of_the_guide_does_what_the_guide_says(desk: Desk) -> None:
    (agent,) = [b for b in blocks(HOWTO, "python") if "def make_agent" in b]
    (contract,) = blocks(HOWTO, "toml")
    (desk.folder / "my_agent.py").write_text(agent, "utf-8")
    (desk.folder / "my_agent.toml").write_text(contract, "utf-8")
    assert set(re.findall(r"from (\S+) import", agent)) == {"chaoslab.world"}

    status, said = desk.chaoslab("run", "matrix", "--agent", "my_agent.py:make_agent", "--seed=0")
    assert status == 0, said
    unproven = {name for name, verdict in desk.verdicts().items() if verdict != "valid"}
    assert unproven == {
        f"matrix/partial-write-{how}-{n}" for how in ("crash", "error") for n in (1, 2)
    }, said
    assert "never struck: crash mid-write at memory.write_many after 1 items" in said

    (change,) = blocks(HOWTO, "diff")
    desk.apply(change, "my_agent.py")
    wanted = ("run", "timeout-after-commit", "--agent", "my_agent.py:make_agent", "--seed", "0")
    status, said = desk.chaoslab(*wanted)
    assert status == 1
    assert "BROKEN  effects.delivery (duplicate-effect)" in said
    assert [line for line in conclusions(HOWTO) if line not in said] == []

    run = "reports/latest/matrix-timeout-after-commit--my_agent--s0"
    status, said = desk.chaoslab("replay", run)
    assert status == 0, said
    (desk.folder / "my_agent.py").write_text(agent, "utf-8")
    status, said = desk.chaoslab("replay", run)
    assert status == 5, said


def test_the_tutorial_goes_as_it_says(desk: Desk) -> None:
    for suffix in (".py", ".toml"):
        source = ROOT / "fixtures" / "agents" / f"double_charge{suffix}"
        (desk.folder / f"bot{suffix}").write_text(text_of(source), "utf-8")
    key, promise, no_second_try, honest = blocks(TUTORIAL, "diff")
    agent = ("--agent", "bot.py:make_agent")
    demo, twice = conclusions(TUTORIAL)

    status, said = desk.chaoslab("demo")
    assert status == 0 and demo in said, said
    status, said = desk.chaoslab("run", "timeout-after-commit", *agent)
    assert status == 1, said
    desk.apply(key, "bot.py")
    status, said = desk.chaoslab(
        "run", "timeout-after-commit", "timeout-after-commit-unkeyed", *agent
    )
    assert status == 0 and set(desk.verdicts().values()) == {"valid"}, said
    desk.apply(promise, "bot.toml")
    status, said = desk.chaoslab("run", "timeout-after-commit-unkeyed", *agent)
    assert status == 1 and twice in said, said
    desk.apply(no_second_try, "bot.py")
    desk.apply(honest, "bot.py")
    status, said = desk.chaoslab(
        "run", "timeout-after-commit", "timeout-after-commit-unkeyed", *agent
    )
    assert status == 0 and set(desk.verdicts().values()) == {"valid"}, said
