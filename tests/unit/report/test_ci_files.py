"""The ready-made pipelines: right for their hosts' own linters, and of commands that exist."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tests.require import absent

from chaoslab.cli import main
from chaoslab.core.resources import resource_path
from chaoslab.report.outputs import FILES

GITHUB = resource_path("fixtures/ci/github-actions.yml")
GITLAB = resource_path("fixtures/ci/gitlab-ci.yml")
SCHEMAS = {GITHUB: "vendor.github-workflows", GITLAB: "vendor.gitlab-ci"}
BOTH = pytest.mark.parametrize("path", [GITHUB, GITLAB], ids=["github", "gitlab"])


def lint(*command: str) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def schema_says(path: Path, schema: str) -> tuple[int, str]:
    tool = Path(sys.executable).with_name("check-jsonschema")
    return lint(str(tool), "--builtin-schema", schema, str(path))


@BOTH
def test_the_host_would_read_it(path: Path) -> None:
    assert schema_says(path, SCHEMAS[path]) == (0, "ok -- validation done\n")


@BOTH
def test_the_schema_does_not_take_everything(path: Path, tmp_path: Path) -> None:
    """A linter that is never seen to object proves nothing."""
    spoilt = tmp_path / "x.yml"
    text = path.read_text(encoding="utf-8")
    spoilt.write_text(re.sub(r"runs-on: .*|script:", "nonsense: 1", text), encoding="utf-8")
    assert schema_says(spoilt, SCHEMAS[path])[0] == 1


def test_actionlint_has_nothing_to_say(tmp_path: Path) -> None:
    tool = shutil.which("actionlint")
    if tool is None:
        absent("actionlint", "it is not on the path; .ci/run installs it where there is Go")
    assert lint(tool, str(GITHUB)) == (0, "")
    spoilt = tmp_path / "x.yml"
    text = GITHUB.read_text(encoding="utf-8")
    spoilt.write_text(text.replace("matrix.shard", "matrix.part"), encoding="utf-8")
    assert lint(tool, str(spoilt))[0] == 1


@BOTH
def test_every_command_in_it_is_one(path: Path) -> None:
    parser = importlib.import_module("chaoslab.cli.entry")._parser()
    found = re.findall(r"^\s*(?:- )?chaoslab (.+)$", path.read_text(encoding="utf-8"), re.M)
    verbs = []
    for line in found:
        words = shlex.split(line.partition(" || ")[0])
        values = {"$PROFILE": "pr", "$SHARD": "1/4", "$part": "1/4"}
        parser.parse_args([values.get(word, word) for word in words])
        verbs.append(words[0])
    assert verbs == ["run", "merge"]


@BOTH
def test_it_keeps_what_a_campaign_writes_and_no_histories(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    kept = re.findall(r"for name in (.+); do", text)
    assert len(kept) == 2
    assert all(set(names.split()) == {"results.json", *FILES} for names in kept)
    assert "jsonl" not in text


def test_a_pull_request_gets_no_more_rights_than_a_comment_needs() -> None:
    text = GITHUB.read_text(encoding="utf-8")
    assert "pull_request_target" not in text and "secrets." not in text
    rights = re.findall(r"^ +([a-z-]+): (read|write)", text, re.M)
    assert rights == [("contents", "read"), ("contents", "read"), ("pull-requests", "write")]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", use) for use in uses(text))
    # What a pull request's author names (a branch, a title) must never reach a shell.
    assert len(scripts(GITHUB)) == 5 and not any("${{" in one for one in scripts(GITHUB))


def scripts(path: Path) -> list[str]:
    """What the file gives to a shell."""
    found = YAML(typ="safe").load(path)
    if path == GITLAB:
        return [one for job in found.values() for one in job.get("script", ())]
    steps = [step for job in found["jobs"].values() for step in job["steps"]]
    return [step["run"] for step in steps if "run" in step]


def uses(text: str) -> list[str]:
    return re.findall(r"uses: (\S+)", text)


@pytest.mark.parametrize(
    ("host", "name", "source"),
    [("github", ".github/workflows/chaos.yml", GITHUB), ("gitlab", ".gitlab-ci.yml", GITLAB)],
)
def test_init_writes_it(
    host: str,
    name: str,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--ci", host]) == 0
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == [name]
    assert Path(name).read_bytes() == source.read_bytes()
    assert f"{name} is written" in capsys.readouterr().out
    Path(name).write_text("mine")
    assert main(["init", "--ci", host]) == 2
    assert main(["init", "--python", "--ci", host]) == 2
    assert Path(name).read_text() == "mine" and not Path("agent.py").exists()
    assert main(["init", "--python", "--ci", host, "--force"]) == 0
    text = source.read_text(encoding="utf-8")
    assert text.count("AGENT: chaoslab.toml ") == 1
    wanted = text.replace("AGENT: chaoslab.toml ", "AGENT: agent.py:make_agent ")
    assert Path(name).read_text(encoding="utf-8") == wanted and Path("chaoslab.toml").is_file()


def run_script(script: str, folder: Path, code: int, names: tuple[str, ...]) -> int:
    """A step of the pipeline, with a stand-in for the command that leaves files and a code."""
    tool = folder / "bin" / "chaoslab"
    tool.parent.mkdir(exist_ok=True)
    made = "".join(f"echo x > reports/latest/{name}\n" for name in names)
    tool.write_text(f"#!/bin/sh\nmkdir -p reports/latest\n{made}exit {code}\n")
    tool.chmod(0o755)
    env = {"PATH": f"{tool.parent}:{os.environ['PATH']}", "PROFILE": "pr", "SHARD": "1/4"}
    env |= {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "4", "GITHUB_STEP_SUMMARY": "summary.md"}
    return subprocess.run(["bash", "-e", "-c", script], cwd=folder, env=env, check=False).returncode


@BOTH
@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 130])
def test_a_shard_keeps_its_files_and_only_the_gate_fails_for_a_verdict(
    path: Path, code: int, tmp_path: Path
) -> None:
    shard, gate = (one for one in scripts(path) if "chaoslab run" in one or "merge" in one)
    expected = 0 if code in (0, 1, 3, 4, 5) else code
    assert run_script(shard, tmp_path, code, ("results.json", "junit.xml")) == expected
    kept = tmp_path / ("out" if path == GITHUB else "shards/1")
    assert {p.name for p in kept.iterdir()} == {"results.json", "junit.xml"}
    assert run_script(gate, tmp_path, code, ("results.json", "comment.md")) == code
    assert (tmp_path / "out" / "comment.md").is_file()
