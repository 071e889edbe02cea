"""`chaoslab run` as a stranger uses it: results, exit codes, resuming, repeating."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import AGENTS, ROOT, Run, environment

SCENARIO = "timeout-after-commit"


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "reports/latest/results.json").read_text())
    return found


def test_the_reference_agent_holds_and_results_have_the_promised_fields(
    chaoslab: Run, here: Path
) -> None:
    done = chaoslab("run", SCENARIO, "--seed", "7")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "held" in done.stdout
    told = results(here)
    assert told["format"] == 1 and told["exit_code"] == 0 and told["complete"]
    run = told["runs"][0]
    promised = (
        "scenario family agent role backend seed verdict violations expected_check caught faults "
        "ops attempts_max recovery_ms wall_ms digest"
    )
    assert set(promised.split()) <= set(run)
    assert run["role"] == "subject" and run["backend"] == "sim" and run["seed"] == 7
    assert run["faults"]["planned"] == run["faults"]["fired"] == 1
    assert run["faults"]["eligible"] >= 1


def test_piped_output_is_plain_lines(chaoslab: Run) -> None:
    done = chaoslab("run", SCENARIO, "--seed", "0")
    assert "\x1b" not in done.stdout
    assert "(virtual)" in done.stdout


def test_the_same_seed_gives_the_same_digest_under_another_hash_seed(
    chaoslab: Run, here: Path
) -> None:
    digests = []
    for hash_seed in ("1", "999"):
        assert chaoslab("run", "concurrent-2-crash", PYTHONHASHSEED=hash_seed).returncode == 0
        digests.append([r["digest"] for r in results(here)["runs"]])
    assert digests[0] == digests[1]


def test_a_naive_agent_is_broken_with_reasons_and_a_replay_command(
    chaoslab: Run, here: Path
) -> None:
    done = chaoslab("run", SCENARIO, "--seed", "0", "--agent", f"{AGENTS}/plain.py:make_agent")
    assert done.returncode == 1
    assert "BROKEN" in done.stdout and "so:" in done.stdout and "what to change:" in done.stdout
    run = results(here)["runs"][0]
    assert f"chaoslab replay reports/latest/{run['id']}" in done.stdout
    assert "No contract was found" in done.stdout
    violation = run["violations"][0]
    promised = {"check", "code", "subject", "explanation", "witness", "fingerprint"}
    assert promised <= set(violation)


def test_replay_is_bit_for_bit_and_notices_another_agent(
    chaoslab: Run, here: Path, bad_agent: Any
) -> None:
    agent = bad_agent("def make_agent(): return Plain()\n")
    chaoslab("run", SCENARIO, "--seed", "3", "--agent", agent)
    run = results(here)["runs"][0]["id"]
    again = chaoslab("replay", f"reports/latest/{run}")
    assert again.returncode == 0 and "Bit for bit the same" in again.stdout, again.stdout
    changed = (here / "plain.py").read_text().replace("60_000", "59_000")
    (here / "plain.py").write_text(changed)
    other = chaoslab("replay", f"reports/latest/{run}")
    assert other.returncode == 5 and "NOT the same" in other.stdout and "59000" in other.stdout


def test_resume_keeps_what_is_finished_and_does_the_rest(chaoslab: Run, here: Path) -> None:
    assert chaoslab("run", SCENARIO, "--seed", "1").returncode == 0
    first = results(here)["runs"][0]
    done = chaoslab("run", SCENARIO, "--seed", "1", "--seed", "2", "--resume")
    assert done.returncode == 0 and done.stdout.count("(kept)") == 1
    told = results(here)["runs"]
    assert [r["seed"] for r in told] == [1, 2] and told[0] == first


def test_resume_without_a_campaign_says_so(chaoslab: Run) -> None:
    done = chaoslab("run", SCENARIO, "--resume")
    assert done.returncode == 2 and "run without --resume" in done.stderr


def hears_ctrl_c() -> None:
    """A background job is started with Ctrl-C ignored; a person's terminal is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_campaign_loses_no_finished_run(
    chaoslab: Run, here: Path, how: signal.Signals
) -> None:
    seeds = [x for n in range(40) for x in ("--seed", str(n))]
    command = [sys.executable, "-m", "chaoslab", "run", SCENARIO, *seeds, "--jobs", "2"]
    with subprocess.Popen(
        command,
        cwd=here,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=hears_ctrl_c,
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline().startswith("held")
        process.send_signal(how)
        rest = process.stdout.read()
        process.wait(20)
    finished = sorted((here / "reports/latest").glob("*/run.json"))
    assert len(finished) >= 3
    if how == signal.SIGINT:
        assert process.returncode == 130
        told = results(here)
        assert not told["complete"] and len(told["runs"]) >= 3, rest
    kept = {path: path.read_bytes() for path in finished}
    done = chaoslab("run", SCENARIO, *seeds[:20], "--resume")
    assert done.returncode == 0 and "(kept)" in done.stdout
    assert all(path.read_bytes() == before for path, before in kept.items())


def test_a_killed_campaign_leaves_no_process_behind(here: Path, bad_agent: Any) -> None:
    agent = bad_agent(
        "class Mine(Plain):\n"
        "    async def handle(self, task):\n"
        "        return await super().handle(task)\n"
        "def make_agent(): return Mine()\n"
    )
    command = [sys.executable, "-m", "chaoslab", "run", SCENARIO, "--agent", agent]
    with subprocess.Popen(
        command, cwd=here, env=environment(CHAOSLAB_MARK=str(here)), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait(10)
    until = time.monotonic() + 10
    while _marked(str(here)) and time.monotonic() < until:
        os.sched_yield()
    assert _marked(str(here)) == []


def _marked(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"CHAOSLAB_MARK={mark}".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_a_full_disk_is_one_clear_message(here: Path) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-m", "chaoslab", "run", SCENARIO, "--seed", "0"],
        cwd=here,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=small,
    )
    assert done.returncode == 4
    assert "cannot be written" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_demo_shows_the_two_charges_and_why(chaoslab: Run, here: Path) -> None:
    done = chaoslab("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "#1" in done.stdout and "#2" in done.stdout
    assert "chaoslab replay reports/latest/" in done.stdout
    replay = next(line for line in done.stdout.splitlines() if "chaoslab replay" in line)
    assert chaoslab(*replay.split()[1:]).returncode == 0


def test_list_doctor_and_explain_work(chaoslab: Run) -> None:
    assert "matrix/failover-zombie" in chaoslab("list").stdout
    doctor = chaoslab("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "duplicate-effect" in chaoslab("explain", "effects.delivery").stdout
    wrong = chaoslab("explain", "effects")
    assert wrong.returncode == 2 and "effects.delivery" in wrong.stderr


def test_the_contract_beside_the_agent_counts_from_anywhere(
    chaoslab: Run, here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = tmp_path_factory.mktemp("project")
    (project / "mine.py").write_text((AGENTS / "plain.py").read_text())
    (project / "chaoslab.toml").write_text('format = 1\nname = "of the project"\n')
    (here / "chaoslab.toml").write_text('format = 1\nname = "of the folder"\n')
    agent = f"{project}/mine.py:make_agent"
    chaoslab("run", "concurrent-2", "--seed", "0", "--agent", agent)
    assert results(here)["runs"][0]["contract"] == "of the project"


def test_a_fault_that_never_struck_is_no_green_where_the_contract_requires_proof(
    chaoslab: Run, here: Path
) -> None:
    text = (ROOT / "scenarios/matrix/timeout-after-commit.toml").read_text()
    (here / "x.toml").write_text(text.replace("attempt = 1", 'task = "s9-t9"'))
    done = chaoslab("run", "x.toml", "--seed", "0")
    assert done.returncode == 3, done.stdout
    assert "unproven" in done.stdout and "never struck" in done.stdout
    weak = f"{AGENTS}/plain.py:make_agent"
    assert chaoslab("run", "x.toml", "--seed", "0", "--agent", weak).returncode == 0
