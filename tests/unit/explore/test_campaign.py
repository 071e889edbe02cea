"""The end of a campaign: which cases are run whole, what results say, and the exit code."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.unit.explore.test_store import disk_of, strings

from chaoslab.cli import main
from chaoslab.core.errors import LabError, UsageError
from chaoslab.explore.campaign import conclude
from chaoslab.explore.rows import Row
from chaoslab.explore.shrink import Shrunk
from chaoslab.explore.store import Head, Rows, open_rows
from chaoslab.explore.strikes import fault_json
from chaoslab.explore.worlds import worlds_of
from chaoslab.faults import Fault
from chaoslab.history import read
from chaoslab.report.outputs import write_outputs
from chaoslab.run.gate import exit_code, unobserved
from chaoslab.run.incoming import read_whole
from chaoslab.run.known import Known, KnownBug
from chaoslab.run.merge import joined
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.store import Campaign
from chaoslab.run.workers import Workers

AGENTS = Path(__file__).resolve().parents[3] / "fixtures" / "agents"
DOUBLE = f"{AGENTS / 'double_charge.py'}:make_agent"
HEAD = Head(kind="sweep", fingerprint="f0", plan={"depth": 1})
LOST = Fault(at="tools.refund", phase="after-commit", kind="silence", task="s1-t1")
EARLY = replace(LOST, phase="before-send")
TWICE = ("effects.delivery", "duplicate-effect", "d59657d71c29e6d1", "2 x refund, raw words")
MADE_UP = ("effects.delivery", "duplicate-effect", "00112233aabbccdd", "made up")


def world(agent: str = DOUBLE, scenario: str = "matrix/timeout-after-commit") -> RunSpec:
    specs = specs_for(scenario_files([scenario]), agent, seeds=[0])
    [found] = worlds_of(specs, sessions=1, tasks=1)
    return found.spec


def row(spec: RunSpec, number: int, word: Any, *faults: Fault, **more: Any) -> Row:
    plain: dict[str, Any] = {"name": f"{spec.scenario.name}-s0/1-00000/{number:02}", "seed": 0}
    plain |= {"world": spec.scenario.name, "faults": tuple(map(fault_json, faults)), "ops": 60}
    if word in ("held", "broken"):
        plain["shown"] = ("outcome.honest",)
    return Row(word=word, **{**plain, **more})


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    found = Workers()
    yield found
    found.close()


def campaign_of(root: Path, *rows: Row, head: Head = HEAD) -> tuple[Campaign, Rows]:
    campaign, found = open_rows(root, head, resume=False)
    found.add("b", rows)
    return campaign, found


def concluded(
    root: Path, spec: RunSpec, workers: Workers, *rows: Row, **more: Any
) -> dict[str, Any]:
    campaign, found = campaign_of(root, *rows)
    with found:
        kind = more.pop("kind", "sweep")
        return conclude(kind, found, more.pop("coverage", None), [spec], campaign, workers, **more)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> tuple[Path, Any]:
    """A campaign in which one strike of two broke a promise."""
    root, spec = tmp_path_factory.mktemp("broken"), world()
    rows = [row(spec, n, "held", EARLY) for n in range(1, 4)]
    rows += [row(spec, n, "broken", LOST, breaches=(TWICE,)) for n in range(4, 9)]
    rows += [row(spec, 9, "equivalent", EARLY, same_as="x")]
    claim = ["ran 8 of 9, 1 equivalent because x, under seeds 0"]
    results = concluded(root, spec, workers, *rows, samples=1, claim=claim, jobs=2)
    return (root / "latest").resolve(), results


def test_a_finding_is_run_whole_and_all_that_reads_results_reads_it(broken: Any) -> None:
    folder, results = broken
    assert results["exit_code"] == 1 and results["complete"]
    assert results == read_whole(folder)
    told = results["exploration"]
    assert told["words"] == {"held": 3, "broken": 5, "equivalent": 1} and told["executions"] == 8
    assert told["checks"] == {"effects.delivery": 5, "outcome.honest": 8}
    [found] = told["findings"]
    assert (found["executions"], found["state"], found["shown_again"]) == (5, "new", True)
    assert found["tool"] == "refund" and found["consequence"] == "money"
    # The run's words, which are masked; those of the row are not told.
    assert found["explanation"].startswith("2 × refund for one request")
    run, sample = results["runs"]
    assert run["id"] == found["run"] and run["verdict"] == "invalid" and not run["differs"]
    assert any("refund" in line for line in run_because(run))
    [bug] = [one for one in results["bugs"] if one["fingerprint"] == TWICE[2]]
    assert (bug["executions"], bug["runs"]) == (5, [run["id"]])
    assert sample["scenario"].startswith("sweep/held-w-")
    assert results["coverage"]["rows"][0]["broken"] == "5"
    assert (folder / run["id"] / "fault.jsonl").is_file()


def run_because(run: Mapping[str, Any]) -> list[str]:
    return [line for v in run["violations"] for line in v["because"] or ()]


def test_every_output_is_made_from_it(broken: Any, tmp_path: Path) -> None:
    folder, results = broken
    names = {path.name for path in write_outputs(folder, shown="reports/latest", into=tmp_path)}
    assert {"report.html", "junit.xml", "events.ndjson", "comment.md"} <= names
    run = results["exploration"]["findings"][0]["run"]
    for name in ("report.html", "events.ndjson"):
        assert run in (tmp_path / name).read_text(encoding="utf-8")
    assert 'failures="0"' not in (tmp_path / "junit.xml").read_text(encoding="utf-8")[:200]


def test_the_run_of_a_finding_is_replayed_bit_for_bit(
    broken: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, results = broken
    main(["replay", str(folder / results["runs"][0]["id"])])
    assert "Bit for bit the same" in capsys.readouterr().out


def test_merge_refuses_in_words(broken: Any) -> None:
    folder, _ = broken
    with pytest.raises(UsageError, match=r"is an exploration.*chaoslab run"):
        joined([folder])


def test_the_same_command_does_no_run_twice(broken: Any, workers: Workers) -> None:
    folder, results = broken
    before = (folder / results["runs"][0]["id"] / "run.json").stat().st_mtime_ns
    with Rows.resume(folder, HEAD) as rows:
        again = conclude("sweep", rows, None, [world()], Campaign(folder), workers, samples=1)
    assert again["runs"] == results["runs"]
    assert (folder / results["runs"][0]["id"] / "run.json").stat().st_mtime_ns == before


# -- the exit code


def known_of(mark: str, contract: str) -> Known:
    bug = KnownBug(
        fingerprint=mark,
        contract=contract,
        check="effects.delivery",
        code="duplicate-effect",
        tool="refund",
        owner="pay",
        reason="PAY-1",
        accepted=date(2026, 2, 1),
        expires=date(2026, 4, 1),
        seen_in=("sweep/x seed 0",),
    )
    return Known(path="k", entries=(bug,), today=date(2026, 3, 1))


def told_of(*findings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"words": {"held": 5}, "findings": list(findings), "agent": "a"}
    return {**plain, "judged": 5, "contract": "c", "required": [], "checks": {}, **more}


def seen(**more: Any) -> dict[str, Any]:
    return {"fingerprint": "f1", "contract": "c", "warning": False, "shown_again": None, **more}


def test_what_executions_showed_counts_as_what_runs_show() -> None:
    def code(*args: Any, known: Known = Known(), **more: Any) -> int:  # noqa: B008
        return exit_code([], exploration=told_of(*args, **more), known=known)

    assert code() == 0
    assert code(seen()) == 1 and code(seen(shown_again=True)) == 1
    assert code(seen(), known=known_of("f1", "c")) == 0
    assert code(seen(), known=known_of("f1", "d")) == 1
    assert code(seen(warning=True)) == 0
    # Not shown again is another mistake: the run says so by `differs`.
    assert code(seen(shown_again=False)) == 0
    assert code(words={"held": 5, "broke": 1}) == 4 and code(problems=["full"]) == 4
    assert code(seen(), words={"held": 5, "broke": 1}) == 1
    assert code(differs=["entry 7"]) == 5
    assert code(differs=["entry 7"], words={"held": 1, "broke": 1}) == 4
    assert code(words={}, judged=0) == 3
    assert code(words={"never-struck": 7, "unproven": 2, "held": 1}, judged=0) == 3
    assert code(required=["keys.lineage"]) == 3
    assert code(required=["keys.lineage"], checks={"keys.lineage": 1}) == 0
    assert code(required=["keys.lineage"], checks={"keys.lineage": 0}, differs=["x"]) == 5
    told = told_of(required=["keys.lineage", "outcome.honest"], checks={"outcome.honest": 2})
    assert unobserved([], told) == ["keys.lineage"]


def test_a_known_finding_passes_and_is_counted(tmp_path: Path, workers: Workers) -> None:
    spec = world(agent=REFERENCE)
    spec = replace(spec, contract=replace(spec.contract, required=()))
    rows = [row(spec, 1, "held", LOST), row(spec, 2, "broken", LOST, breaches=(MADE_UP,))]
    known = known_of(MADE_UP[2], spec.contract.name)
    results = concluded(tmp_path, spec, workers, *rows, known=known, findings_max=0, samples=0)
    assert results["exit_code"] == 0 and results["known"][0]["state"] == "known"
    [found] = results["exploration"]["findings"]
    assert (found["state"], found["run"]) == ("known", None)
    # Without a history there is no mask, so nothing that an agent said is told.
    assert found["explanation"] is None and "made up" not in json.dumps(results)
    assert results["exploration"]["not_run_whole"] == [MADE_UP[2]]
    assert "1 of 1 findings were not run whole" in results["exploration"]["notes"][0]


def test_what_the_run_does_not_show_is_not_repeatable(tmp_path: Path, workers: Workers) -> None:
    spec = world(agent=REFERENCE)
    rows = [row(spec, 1, "held", EARLY), row(spec, 2, "broken", LOST, breaches=(MADE_UP,))]
    results = concluded(tmp_path, spec, workers, *rows, samples=0)
    assert results["exit_code"] == 5
    [found] = results["exploration"]["findings"]
    assert found["shown_again"] is False
    assert "its execution was broken, and this run of the same choices is not" in found["differs"]
    [run] = results["runs"]
    assert run["differs"] == found["differs"] and run["verdict"] == "unknown"
    assert read_whole((tmp_path / "latest").resolve()) == results


def test_another_history_than_that_of_the_execution(tmp_path: Path, workers: Workers) -> None:
    spec = world(agent=REFERENCE)
    first = concluded(tmp_path / "a", spec, workers, row(spec, 1, "held", LOST), samples=1)
    assert first["exit_code"] == 0
    right = first["runs"][0]["digest"]
    same = concluded(
        tmp_path / "b", spec, workers, row(spec, 1, "held", LOST, digest=right), samples=1
    )
    assert same["exit_code"] == 0 and same["runs"][0]["digest"] == right
    other = concluded(
        tmp_path / "c", spec, workers, row(spec, 1, "held", LOST, digest="0" * 32), samples=1
    )
    assert other["exit_code"] == 5
    assert "its execution left another history" in other["runs"][0]["differs"]


def test_the_first_entry_that_differs_is_named(tmp_path: Path, workers: Workers) -> None:
    """The sweep has found that a strike is not repeatable, and had no time to make it."""
    agent = f"{AGENTS / 'order_of_a_set.py'}:make_agent"
    name = "matrix/crash-after-commit-unkeyed"
    [found] = worlds_of(specs_for(scenario_files([name]), agent, seeds=[0]))
    spec = found.spec
    crash = Fault(
        at="tools.ship",
        phase="after-commit",
        kind="crash",
        session="s1",
        task="s1-t2",
        marker="o-s1-t2",
    )
    doubts = [{"world": spec.scenario.name, "seed": 0, "differs": crash.where()}]
    results = concluded(
        tmp_path,
        spec,
        workers,
        row(spec, 1, "held", EARLY),
        samples=0,
        coverage={"title": "t", "rows": [{"a": "b"}], "worlds": doubts},
    )
    told = results["exploration"]
    assert told["differs"] == [
        f"{spec.scenario.name}, seed 0: {crash.where()} had another history in another interpreter"
    ]
    [run] = results["runs"]
    assert re.match(r"entry \d+ \(", run["differs"])
    # The set decides which tasks are left to a person, which breaks a promise as well.
    assert results["exit_code"] == (1 if run["violations"] else 5)
    assert (tmp_path / "latest" / run["id"] / "repeat.jsonl").is_file()
    assert exit_code([], exploration=told) == 5


def test_executions_that_broke_are_told(tmp_path: Path, workers: Workers) -> None:
    spec = world(agent=REFERENCE)
    hung = "the execution did not end within 20000 ms of wall time"
    secret = "the agent passed password=hunter22 \x1b[2J"
    rows = [row(spec, n, "broke", LOST, why=hung) for n in (1, 2)]
    rows += [row(spec, 3, "broke", LOST, why=secret), row(spec, 4, "held", LOST)]
    results = concluded(tmp_path, spec, workers, *rows, samples=0)
    assert results["exit_code"] == 4
    first, second = results["exploration"]["broke"]
    assert (first["why"], first["executions"]) == (hung, 2)
    # The contract names attributes, which the words might quote.
    assert spec.contract.attributes and "rows.ndjson" in second["why"]
    plain = replace(spec, contract=replace(spec.contract, attributes={}))
    bare = concluded(tmp_path / "b", plain, workers, *rows, samples=0)
    assert bare["exploration"]["broke"][1]["why"] == r"the agent passed password=‹secret› \x1b[2J"


# -- what must not be read


def test_secrets_and_words_that_act_do_not_reach_results(tmp_path: Path, workers: Workers) -> None:
    [base] = specs_for(scenario_files(["memory/attributes-reply-lost"]), REFERENCE, seeds=[0])
    [found] = worlds_of([base])
    spec = found.spec
    learn = concluded(tmp_path / "a", spec, workers, row(spec, 1, "held", *base.scenario.faults))
    folder = tmp_path / "a" / "latest" / learn["runs"][0]["id"]
    submitted = [op for op in read(folder / "control.jsonl").ops if op.f == "task.submit"]
    texts = json.dumps([op.to_json() for op in submitted])
    [iban, *_] = re.findall(r'"iban": "([^"]{8,}?)\s*attr-', texts)
    evil = f"{iban} password=hunter22 \x1b[2J\n::error::x"
    fault = replace(LOST, marker=evil)
    one = row(spec, 2, "broken", fault, breaches=((*MADE_UP[:3], f"sent {evil}"),))
    results = concluded(
        tmp_path / "b",
        spec,
        workers,
        one,
        row(spec, 3, "held", *base.scenario.faults),
        claim=[f"struck {evil}"],
        statistics={"places": evil},
        differs=[evil],
        coverage={"title": evil, "rows": [{"place": evil}]},
        problems=[evil],
    )
    written = (tmp_path / "b" / "latest" / "results.json").read_text(encoding="utf-8")
    assert json.loads(written) == results
    for text in strings(results):
        assert iban not in text and "hunter22" not in text
        assert "\x1b" not in text and "\n" not in text
    told = results["exploration"]["findings"][0]
    assert told["shown_again"] is False
    for words in (told["explanation"], *told["faults"], "\n".join(told["scenario"])):
        assert "‹iban" in words and "‹secret›" in words
    # The evidence is whole: the case is run again from it.
    assert iban in (tmp_path / "b" / "latest" / told["run"] / "scenario.toml").read_text()


def test_a_world_that_is_broken_without_faults_is_not_quoted(
    tmp_path: Path, workers: Workers
) -> None:
    spec = world(agent=REFERENCE)
    why = "sent DE02 1203 0000 4711 to the log"
    coverage = {"title": "t", "rows": [], "worlds": [{"world": "w", "seed": 0, "why": why}]}
    results = concluded(
        tmp_path,
        spec,
        workers,
        row(spec, 1, "held", LOST),
        samples=0,
        coverage=coverage,
        claim=[f"World w was not swept: already without any fault, {why}."],
    )
    assert "4711" not in json.dumps(results)
    assert results["exploration"]["claim"][0].startswith("World w was not swept")


# -- what is chosen, and what the disk refuses


def test_twenty_findings_are_run_and_the_rest_is_named(tmp_path: Path) -> None:
    spec = world(agent=REFERENCE)
    marks = [f"{n:016x}" for n in range(25)]
    rows = [
        row(spec, n, "broken", LOST, breaches=((*MADE_UP[:2], m, "x"),))
        for n, m in enumerate(marks)
    ]
    rows += [
        row(spec, 90 + n, "broken", LOST, breaches=((*MADE_UP[:2], marks[24], "x"),))
        for n in (1, 2)
    ]
    campaign, found = campaign_of(tmp_path, *rows)
    asked: list[RunSpec] = []

    class Counting(Workers):
        def side_by_side(self, action: Any, items: Any, *, jobs: int) -> Iterator[Any]:
            asked.extend(case.spec for case in items)
            return iter(())

    with found:
        results = conclude("sweep", found, None, [spec], campaign, Counting())
    assert len({one.id for one in asked}) == len(asked) == 20
    told = results["exploration"]
    assert told["findings"][0]["fingerprint"] == marks[24]  # the most frequent
    assert results["exit_code"] == 1 and len(told["not_run_whole"]) == 25


def test_a_shrunk_case_is_run_under_its_own_name(tmp_path: Path, workers: Workers) -> None:
    spec = world()
    one = row(spec, 1, "broken", LOST, EARLY, breaches=(TWICE,))
    scenario = replace(spec.scenario, name="small", family="regressions", faults=(LOST,))
    from chaoslab.scenario.writing import scenario_toml

    small = Shrunk(
        spec=replace(spec, scenario=scenario, scenario_text=scenario_toml(scenario)),
        fingerprint=TWICE[2],
        tried=12,
        steps=("one fault less",),
        breach=TWICE,
    )
    results = concluded(tmp_path, spec, workers, one, shrunk={TWICE[2]: small})
    [run] = results["runs"]
    assert run["scenario"] == "regressions/small" and run["scenario_faults"] == 1
    [found] = results["exploration"]["findings"]
    assert (found["tried"], found["steps"]) == (12, ["one fault less"])
    assert found["scenario"] == scenario_toml(scenario).splitlines()
    assert found["shown_again"] and not found["differs"]


def test_where_no_drawn_execution_was_kept_there_is_no_sample(
    tmp_path: Path, workers: Workers
) -> None:
    [base] = specs_for(scenario_files(["matrix/timeout-after-commit"]), REFERENCE, seeds=[0])
    held = row(base, 1, "held", LOST, name="1/000001", world="timeout", seed=9)
    results = concluded(tmp_path, base, workers, held, kind="stress")
    assert results["runs"] == []
    assert "none was run whole" in results["exploration"]["notes"][0]


def test_a_full_disk_is_told_with_what_was_found(tmp_path: Path) -> None:
    spec = world()
    campaign, rows = campaign_of(tmp_path, row(spec, 1, "held", EARLY))
    size = (campaign.folder / "rows.ndjson").stat().st_size
    workers = Workers()  # of its own: interpreters keep the limit under which they were started
    with rows, disk_of(size), closing(workers):
        with pytest.raises(LabError, match="free some space"):
            rows.add("c", [row(spec, 2, "broken", LOST, breaches=(TWICE,))])
        results = conclude(
            "sweep", rows, None, [spec], campaign, workers, problems=["rows.ndjson is full"]
        )
    told = results["exploration"]
    assert results["exit_code"] == 1  # a broken promise stays what it is
    assert [one["fingerprint"] for one in told["findings"]] == [TWICE[2]]
    assert told["problems"][0] == "rows.ndjson is full" and len(told["problems"]) > 1
    assert all("free some space" in one for one in told["problems"][1:])
    assert not list(campaign.folder.glob("results.*"))


def test_the_command_tells_a_full_disk_and_what_was_found_until_then(tmp_path: Path) -> None:
    """The system itself refuses, in a process of its own: no file may be longer than 12 kB."""
    command = [sys.executable, "-m", "chaoslab", "sweep", "matrix/timeout-after-commit"]
    command += ["--sessions", "1", "--tasks", "1", "--kinds", "silence,crash,delay"]
    command += ["--agent", DOUBLE, "--reports", "r", "--regressions", "g"]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        # It must not leave halves of compiled modules behind.
        env={
            **os.environ,
            "PYTHONPATH": str(AGENTS.parents[1] / "harness"),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_288, 12_288)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    out = re.sub(r"\s+", " ", ended.stdout)
    assert "rows.ndjson cannot be written: File too large; next: free some space" in out
    assert "effects.delivery" in out and "results.json cannot be written" in out


def test_an_interrupt_keeps_what_is_done(tmp_path: Path) -> None:
    spec = world()
    campaign, rows = campaign_of(tmp_path, row(spec, 1, "broken", LOST, breaches=(TWICE,)))

    class Interrupted(Workers):
        def side_by_side(self, action: Any, items: Sequence[Any], *, jobs: int) -> Iterator[Any]:
            raise KeyboardInterrupt
            yield

    with rows, pytest.raises(KeyboardInterrupt):
        conclude("sweep", rows, None, [spec], campaign, Interrupted())
    results = read_whole(campaign.folder)
    assert results["exit_code"] == 1 and results["exploration"]["findings"]
    assert not results["complete"]


def test_it_is_compared_with_an_older_exploration(
    broken: Any, tmp_path: Path, workers: Workers
) -> None:
    _, old = broken
    spec = world()
    mended = row(spec, 1, "held", LOST, shown=("effects.delivery",))
    results = concluded(tmp_path, spec, workers, mended, samples=0, against=old)
    compared = results["exploration"]["compared"]
    assert [one["fingerprint"] for one in compared["resolved"]] == [TWICE[2]]
    elsewhere = row(spec, 1, "held", EARLY, shown=("effects.delivery",))
    results = concluded(tmp_path / "b", spec, workers, elsewhere, samples=0, against=old)
    compared = results["exploration"]["compared"]
    assert [one["fingerprint"] for one in compared["not_looked_at"]] == [TWICE[2]]
    plain = concluded(tmp_path / "c", spec, workers, mended, samples=0, against={"runs": []})
    assert "no exploration" in plain["exploration"]["notes"][0]
