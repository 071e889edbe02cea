"""Campaigns made one: what fits together, what is missing, and what comes from elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from chaoslab.check.model import Finding, Violation
from chaoslab.core.clock import Day
from chaoslab.core.errors import ChaosError, FormatError, UsageError
from chaoslab.run.incoming import read_whole
from chaoslab.run.known import known_from
from chaoslab.run.merge import joined, merged
from chaoslab.run.model import RunRecord, RunSpec, run_json
from chaoslab.run.profiles import cut_json
from chaoslab.run.promises import promised_by
from chaoslab.run.results import results_of
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.shards import Shard, part, plan_of, shard_json
from chaoslab.run.store import Campaign, write_json

SPECS = specs_for(scenario_files(["wasm", "delivery"]), REFERENCE, seeds=[0])
OF = 3


def entry(spec: RunSpec, **more: Any) -> dict[str, Any]:
    """A run that held; more fields as given."""
    checks = [Finding(check=c, verdict="valid", reason="so") for c in spec.contract.required]
    record = RunRecord(spec=spec, verdict="valid", findings=tuple(checks), wall_ms=70, digest="d")
    return {**run_json(record), **more}


def broken(spec: RunSpec) -> dict[str, Any]:
    """A run that showed a bug."""
    violation = Violation(
        check="effects.delivery", code="duplicate-effect", subject="o-1", explanation="twice",
        witness=(1, 2), where="fault", tool="refund",
    )  # fmt: skip
    found = Finding(check="effects.delivery", verdict="invalid", violations=(violation,))
    shown = run_json(RunRecord(spec=spec, verdict="invalid", findings=(found,)))
    return {**shown, "checks": {**entry(spec)["checks"], **shown["checks"]}}


def shard_results(index: int, entries: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    specs = part(SPECS, Shard(index=index, of=OF), {})
    found: dict[str, Any] = {
        "wanted": len(specs),
        "promised": promised_by(specs),
        "shard": shard_json(Shard(index=index, of=OF), plan_of(SPECS, {}, of=OF)),
        "started": f"2026-01-31T12:00:0{index}Z",
        "wall_ms": 100 * index,
    }
    return results_of(entries, **{**found, **more})


def write(folder: Path, results: dict[str, Any]) -> Path:
    """A campaign on disk, with a file or two for each run."""
    folder.mkdir(parents=True)
    write_json(folder / "results.json", results)
    for run in results["runs"]:
        (folder / run["id"]).mkdir()
        (folder / run["id"] / "fault.jsonl").write_text(f"history of {run['id']}\n")
    return folder


def shard(folder: Path, index: int, **more: Any) -> Path:
    """A shard of which every run held."""
    specs = part(SPECS, Shard(index=index, of=OF), {})
    return write(folder, shard_results(index, [entry(spec) for spec in specs], **more))


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """All shards of the plan."""
    return [shard(tmp_path / f"in/{n}/20260131-12000{n}", n) for n in (1, 2, 3)]


Merge = Callable[..., tuple[dict[str, Any], list[str]]]


@pytest.fixture
def merge(tmp_path: Path) -> Merge:
    """Merges folders into a new campaign."""

    def run(*folders: Path) -> tuple[dict[str, Any], list[str]]:
        return merged(joined(folders), Campaign.create(tmp_path / "reports"))

    return run


def out(tmp_path: Path) -> Path:
    return tmp_path / "reports" / "latest"


# -- what fits together


def test_shards_are_the_plan_again(three: list[Path], merge: Merge, tmp_path: Path) -> None:
    results, notes = merge(*reversed(three))
    whole = results_of(
        [entry(spec) for spec in SPECS], wanted=len(SPECS), promised=promised_by(SPECS)
    )
    told = ("merged", "started", "wall_ms")
    assert {k: v for k, v in results.items() if k not in told} == {
        k: v for k, v in whole.items() if k not in told
    }
    assert results["merged"] == [f"{n}/20260131-12000{n}" for n in (1, 2, 3)]
    assert results["started"] == "2026-01-31T12:00:01Z" and results["wall_ms"] == 300
    assert results["exit_code"] == 0 and results["complete"] and notes == []
    assert json.loads((out(tmp_path) / "results.json").read_text()) == results
    for spec in SPECS:
        copy = out(tmp_path) / spec.id / "fault.jsonl"
        assert copy.read_text() == f"history of {spec.id}\n"


def test_the_sources_stay_as_they_are(three: list[Path], merge: Merge, tmp_path: Path) -> None:
    def picture() -> dict[str, bytes]:
        files = sorted(p for p in (tmp_path / "in").rglob("*") if p.is_file())
        return {str(p): p.read_bytes() for p in files}

    before = picture()
    merge(tmp_path / "in")
    merge(tmp_path / "in")
    assert picture() == before


def test_a_folder_of_campaigns_is_searched_links_and_copies_count_once(
    three: list[Path], merge: Merge, tmp_path: Path
) -> None:
    (tmp_path / "in/1/latest").symlink_to(three[0].name)
    shutil.copytree(three[1], tmp_path / "in/2/latest")  # as an upload of artifacts leaves it
    results, _ = merge(tmp_path / "in", three[2], tmp_path / "in/1/latest")
    assert len(results["runs"]) == len(SPECS) and len(results["merged"]) == 3


def test_a_campaign_that_is_merged_already_is_not_found_beside_its_parts(
    three: list[Path], tmp_path: Path
) -> None:
    for _ in range(2):
        results, _ = merged(joined([tmp_path / "in"]), Campaign.create(tmp_path / "in"))
        assert len(results["merged"]) == 3
    again, _ = merged(joined([tmp_path / "in/latest"]), Campaign.create(tmp_path / "reports"))
    assert again["runs"] == results["runs"]


def test_a_run_that_was_cut_is_cut_unless_somebody_did_it(
    three: list[Path], merge: Merge, tmp_path: Path
) -> None:
    specs = part(SPECS, Shard(index=2, of=OF), {})
    cut = [cut_json(spec) for spec in specs[1:]]
    write(tmp_path / "cut", shard_results(2, [entry(specs[0])], cut=cut))
    results, _ = merge(three[0], tmp_path / "cut", three[2])
    assert results["cut"] == cut and results["complete"] and results["exit_code"] == 0
    results, _ = merge(tmp_path / "cut", *three)
    assert results["cut"] == [] and len(results["runs"]) == len(SPECS)


def test_more_shards_than_runs(merge: Merge, tmp_path: Path) -> None:
    few = SPECS[:2]
    plan = plan_of(few, {}, of=4)
    for n in range(1, 5):
        this = Shard(index=n, of=4)
        entries = [entry(spec) for spec in part(few, this, {})]
        told = results_of(entries, wanted=len(entries), shard=shard_json(this, plan))
        assert told["complete"] and told["exit_code"] == 0
        write(tmp_path / "in" / str(n), told)
    results, _ = merge(tmp_path / "in")
    assert [run["id"] for run in results["runs"]] == list(plan.runs)
    assert results["complete"] and results["exit_code"] == 0


def test_campaigns_that_are_no_shards_may_be_merged(merge: Merge, tmp_path: Path) -> None:
    for name, specs in (("b", SPECS[:2]), ("a", SPECS[1:4])):
        write(tmp_path / "in" / name, results_of([entry(s) for s in specs], wanted=len(specs)))
    results, _ = merge(tmp_path / "in/b", tmp_path / "in/a")
    assert [run["id"] for run in results["runs"]] == [spec.id for spec in SPECS[:4]]
    assert results["complete"] and results["exit_code"] == 0


# -- what is missing


def test_a_missing_shard_is_named_and_no_green(three: list[Path], merge: Merge) -> None:
    found = joined([three[0], three[2]])
    gone = [spec.id for spec in part(SPECS, Shard(index=2, of=OF), {})]
    assert found.gaps == (
        "shard 2 of 3 is missing",
        f"{len(gone)} runs were not done: {', '.join(gone)}",
    )
    results, _ = merge(three[0], three[2])
    assert results["exit_code"] == 3 and not results["complete"]
    assert [run["id"] for run in results["runs"]] == [s.id for s in SPECS if s.id not in gone]
    assert joined([three[1]]).gaps[0] == "shards 1, 3 of 3 are missing"


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (lambda spec: broken(spec), 1),
        (lambda spec: entry(spec, verdict="unknown", broke="the agent left"), 4),
        (lambda spec: entry(spec, verdict="unknown", differs="entry 3"), 5),
    ],
)
def test_what_is_worse_than_a_missing_shard_stays_worse(
    merge: Merge, tmp_path: Path, bad: Callable[[RunSpec], dict[str, Any]], code: int
) -> None:
    first, *rest = part(SPECS, Shard(index=1, of=OF), {})
    entries = [bad(first), *(entry(spec) for spec in rest)]
    write(tmp_path / "one", shard_results(1, entries))
    results, _ = merge(tmp_path / "one")
    assert results["exit_code"] == code and not results["complete"]
    assert len(results["bugs"]) == (1 if code == 1 else 0)


def test_a_shard_that_was_interrupted_is_named(
    three: list[Path], merge: Merge, tmp_path: Path
) -> None:
    specs = part(SPECS, Shard(index=2, of=OF), {})
    write(tmp_path / "half", shard_results(2, [entry(specs[0])]))
    found = joined([three[0], tmp_path / "half", three[2]])
    assert found.gaps[0] == f"{tmp_path.name}/half was not finished"
    assert merge(three[0], tmp_path / "half", three[2])[0]["exit_code"] == 3
    # Done again, it is there twice, and the second time it is whole.
    assert joined([*three, tmp_path / "half"]).gaps == ()


def test_a_campaign_without_shards_that_was_interrupted_is_no_green(
    merge: Merge, tmp_path: Path
) -> None:
    write(tmp_path / "in", results_of([entry(SPECS[0])], wanted=2))
    results, _ = merge(tmp_path / "in")
    assert results["exit_code"] == 3 and not results["complete"]


def test_results_without_their_folders_count_and_are_told(
    three: list[Path], merge: Merge, tmp_path: Path
) -> None:
    gone = part(SPECS, Shard(index=2, of=OF), {})
    for spec in gone:
        shutil.rmtree(three[1] / spec.id)
    results, notes = merge(*three)
    assert len(results["runs"]) == len(SPECS) and results["exit_code"] == 0
    assert len(notes) == 1 and all(spec.id in notes[0] for spec in gone)
    assert not (out(tmp_path) / gone[0].id).exists()


def test_known_bugs_count_over_all_shards(three: list[Path], tmp_path: Path) -> None:
    first, *rest = part(SPECS, Shard(index=1, of=OF), {})
    entries = [broken(first), *(entry(spec) for spec in rest)]
    whole = joined([write(tmp_path / "one", shard_results(1, entries)), *three[1:]])
    results, _ = merged(whole, Campaign.create(tmp_path / "reports"))
    assert results["exit_code"] == 1
    bug = results["bugs"][0]
    names = ("fingerprint", "contract", "check", "code", "tool")
    row = {name: bug[name] for name in names} | {"owner": "ann", "reason": "PAY-7"}
    row |= {"accepted": "2026-01-10", "expires": "2026-02-10"}
    row |= {"seen_in": [f"{first.scenario.id} seed 0"]}
    known = known_from({"format": 1, "known": [row]}, "k.toml", today=Day(2026, 1, 31))
    results, _ = merged(whole, Campaign.create(tmp_path / "reports"), known=known)
    assert results["exit_code"] == 0
    assert [(k["state"], k["runs"]) for k in results["known"]] == [("known", [first.id])]


# -- what does not fit together


def test_a_run_that_is_there_twice_must_be_the_same(
    three: list[Path], merge: Merge, tmp_path: Path
) -> None:
    specs = part(SPECS, Shard(index=1, of=OF), {})
    slower = shard_results(1, [entry(spec, wall_ms=999) for spec in specs], started="later")
    write(tmp_path / "again", slower)
    results, _ = merge(*three, tmp_path / "again")
    assert len(results["runs"]) == len(SPECS)

    other = shard_results(1, [entry(spec, digest="other") for spec in specs])
    write(tmp_path / "other", other)
    with pytest.raises(UsageError, match="there twice, and it is not the same") as caught:
        joined([*three, tmp_path / "other"])
    assert specs[0].id in str(caught.value) and "/other" in str(caught.value)
    assert caught.value.exit_code == 2


def test_shards_of_different_plans_are_refused(three: list[Path], tmp_path: Path) -> None:
    durations = {SPECS[0].id: 60_000, SPECS[1].id: 10}
    here = Shard(index=2, of=OF)
    specs = part(SPECS, here, durations)
    plans = {
        "durations": shard_json(here, plan_of(SPECS, durations, of=OF)),
        "fewer": shard_json(here, plan_of(SPECS[:9], {}, of=OF)),
        "four": shard_json(Shard(index=2, of=4), plan_of(SPECS, {}, of=4)),
    }
    for name, plan in plans.items():
        entries = [entry(spec) for spec in specs if spec.id in plan["runs"]]
        folder = write(tmp_path / name, results_of(entries, wanted=len(entries), shard=plan))
        with pytest.raises(UsageError, match="no shards of one plan"):
            joined([three[0], folder])


def test_a_shard_and_a_whole_campaign_do_not_go_together(three: list[Path], tmp_path: Path) -> None:
    write(tmp_path / "whole", results_of([entry(SPECS[0])], wanted=1))
    for folders in ([three[0], tmp_path / "whole"], [tmp_path / "whole", three[0]]):
        with pytest.raises(UsageError, match=r"1/20260131-120001 is a shard .*whole is not"):
            joined(folders)


def test_another_version_is_refused(three: list[Path]) -> None:
    change(three[2], lambda results: results.update(chaoslab="99.0"))
    with pytest.raises(UsageError, match=r"different versions of chaoslab: .* '99\.0'"):
        joined(three)


def test_another_environment_is_told(three: list[Path], merge: Merge) -> None:
    change(three[2], lambda results: results["environment"]["packages"].update(faker="1.0"))
    assert any("different versions" in note for note in merge(*three)[1])


def test_folders_without_a_campaign_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        joined([tmp_path / "none"])
    (tmp_path / "empty/below").mkdir(parents=True)
    with pytest.raises(UsageError, match="no campaign in this folder"):
        joined([tmp_path / "empty"])


# -- what comes from elsewhere


def change(folder: Path, how: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "results.json"
    results = json.loads(path.read_text())
    how(results)
    path.write_text(json.dumps(results))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"runs": 7}', "[" * 200_000, '"x"'])
def test_a_damaged_file_is_named(three: list[Path], text: str) -> None:
    (three[1] / "results.json").write_text(text)
    with pytest.raises(FormatError, match=r"2/20260131-120002/results\.json"):
        joined(three)


def test_a_file_of_another_format_is_named(three: list[Path]) -> None:
    change(three[1], lambda results: results.update(format=2))
    with pytest.raises(FormatError, match=r"results\.json has another major version"):
        joined(three)


@pytest.mark.parametrize(
    "run",
    [
        *("..", ".", "", "/etc", "../1", "a/b--c--s0", "a\\b", "results.json", "report.html"),
        *("a" * 300 + "--s0", "ä--b--s0", "\u202e--s0", "x\x00--s0", "x--s0\n"),
    ],
)
def test_a_run_is_the_name_of_a_folder(three: list[Path], tmp_path: Path, run: str) -> None:
    change(three[0], lambda results: results["runs"][0].update(id=run))
    change(three[0], lambda results: results["shard"]["runs"].append(run))
    with pytest.raises(FormatError, match="name of a run's folder"):
        joined(three)
    assert not (tmp_path / "reports").exists()


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a verdict that nobody knows": lambda r: r["runs"][0].update(verdict="fine"),
    "a role that nobody knows": lambda r: r["runs"][0].update(role="bystander"),
    "no verdict": lambda r: r["runs"][0].pop("verdict"),
    "a check without a verdict": lambda r: r["runs"][0]["checks"].update(x={}),
    "a violation without a check": lambda r: r["runs"][0]["violations"].append({}),
    "a seed that is text": lambda r: r["runs"][0].update(seed="0"),
    "a count that is true": lambda r: r["runs"][0].update(ops=True),
    "a run that is a list": lambda r: r["runs"].append([]),
    "a run twice": lambda r: r["runs"].append(r["runs"][0]),
    "a plan with a run twice": lambda r: r["shard"]["runs"].append(r["shard"]["runs"][0]),
    "a run outside its plan": lambda r: r["shard"]["runs"].remove(r["runs"][0]["id"]),
    "a run both done and cut": lambda r: r["cut"].append(cut_json(SPECS[0])) or r["cut"][-1].update(
        id=r["runs"][0]["id"]
    ),
    "a shard beyond the last": lambda r: r["shard"].update(index=4),
    "more shards than there can be": lambda r: r["shard"].update(of=10**9),
    "broken without a breach": lambda r: r["runs"][0].update(verdict="invalid"),
    "held with a check that is broken": lambda r: r["runs"][0]["checks"].update(
        x={"verdict": "invalid", "reason": ""}
    ),
    "held with a check in doubt": lambda r: r["runs"][0]["checks"].update(
        x={"verdict": "unknown", "reason": ""}
    ),
    "held, and it broke": lambda r: r["runs"][0].update(broke="the agent left"),
    "held, and nothing struck": lambda r: r["runs"][0].update(vacuous="never struck"),
    "a find that nobody expected": lambda r: r["runs"][0].update(caught=True),
    "a planted bug of no check": lambda r: r["runs"][0].update(role="negative-control"),
    "a time below nothing": lambda r: r["runs"][0].update(wall_ms=-1),
    "advice without its candidates": lambda r: r["runs"][0].update(
        key_advice=[{"tool": "x", "words": "x"}]
    ),
    "a promise of no group": lambda r: r["promises"][0]["lines"][0].update(group="x"),
    "no promises": lambda r: r.pop("promises"),
    "no version": lambda r: r.pop("chaoslab"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(DAMAGE))
def test_results_that_cannot_be_are_refused(three: list[Path], what: str) -> None:
    change(three[0], DAMAGE[what])
    with pytest.raises(FormatError, match=r"120001/results\.json is damaged") as caught:
        joined(three)
    assert caught.value.exit_code == 2


MADE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no bugs": lambda r: r.pop("bugs"),
    "a line without its counts": lambda r: r["promises"][0]["lines"][0].pop("runs"),
    "a state that nobody knows": lambda r: r["promises"][0]["lines"][0].update(state="fine"),
    "a code that is text": lambda r: r.update(exit_code="0"),
    "a known bug of nobody": lambda r: r["known"].append({"state": "known"}),
}


@pytest.mark.parametrize("what", list(MADE))
def test_what_is_made_from_the_entries_is_looked_through_for_a_report(
    three: list[Path], what: str
) -> None:
    assert read_whole(three[0])["exit_code"] == 0
    change(three[0], MADE[what])
    with pytest.raises(FormatError, match=r"120001/results\.json is damaged"):
        read_whole(three[0])
    assert joined(three).gaps == ()  # a merge makes it anew


def test_nothing_outside_a_campaign_is_copied(
    three: list[Path], merge: Merge, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("s3cret")
    first, second, third, *_ = part(SPECS, Shard(index=1, of=OF), {})
    (three[0] / first.id / "output.txt").symlink_to(secret / "key")
    (three[0] / first.id / "more").symlink_to(secret)
    os.mkfifo(three[0] / first.id / "pipe")
    shutil.rmtree(three[0] / second.id)
    (three[0] / second.id).symlink_to(secret)
    (three[0] / third.id / "deeper").mkdir()
    (three[0] / third.id / "deeper" / "file").write_text("kept")
    _, notes = merge(*three)
    files = [p for p in out(tmp_path).resolve().rglob("*") if not p.is_dir()]
    assert all(p.is_file() and not p.is_symlink() for p in files)
    assert not any("s3cret" in p.read_text() for p in files)
    assert {p.name for p in (out(tmp_path) / first.id).iterdir()} == {"fault.jsonl"}
    assert (out(tmp_path) / third.id / "deeper/file").read_text() == "kept"
    assert any(second.id in note for note in notes)


def test_links_out_of_a_folder_are_not_searched(three: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag/out").symlink_to(three[0])
    (tmp_path / "bag/round").symlink_to(tmp_path / "bag")
    with pytest.raises(UsageError, match="no campaign"):
        joined([tmp_path / "bag"])
    assert len(joined([tmp_path / "bag/out"]).parts) == 1  # a person who names it means it


def test_a_disk_that_refuses_is_said(
    three: list[Path], merge: Merge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ChaosError, match="No space left on device") as caught:
        merge(*three)
    assert caught.value.exit_code == 4
