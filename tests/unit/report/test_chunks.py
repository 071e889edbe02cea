"""What is in a page and what is left out, under a bound on its size."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaoslab.check.masking import Mask
from chaoslab.history import Op, Writer
from chaoslab.report.page.budget import Pick, picks, size
from chaoslab.report.page.chunks import (
    DETAILS_BLOCK,
    VIOLATIONS_MAX,
    WHY_MAX,
    chunks_of,
    decode,
    encode,
    runs_chunk,
)
from chaoslab.report.page.histories import BLOCK
from chaoslab.report.page.material import Material, RunFiles

AGENT = "agents/one.py:make_agent"


def entry(number: int, **more: Any) -> dict[str, Any]:
    """An entry of results.json that held."""
    base: dict[str, Any] = {
        **{"id": f"run-{number}", "scenario": "matrix/a", "title": "A title", "agent": AGENT},
        **{"contract": "c", "role": "subject", "backend": "sim", "seed": number},
        **{"verdict": "valid", "violations": [], "warnings": [], "checks": {}, "caught": None},
        **{"faults": {"planned": 1, "eligible": 2, "fired": 1}, "ops": 10, "attempts_max": 2},
        **{"recovery_ms": None, "wall_ms": 5, "broke": None, "differs": None, "vacuous": None},
        **{"not_applicable": None},
    }
    return {**base, **more}


def violation(name: str = "f1", **more: Any) -> dict[str, Any]:
    base = {"fingerprint": name, "check": "effects.delivery", "code": "duplicate-effect"}
    told = {"explanation": "2 × refund", "where": "fault", "witness": [1, 2], "because": None}
    return {**base, **told, **more}


def broken(number: int, name: str = "f1", **more: Any) -> dict[str, Any]:
    return entry(number, verdict="invalid", violations=[violation(name)], **more)


def bug(name: str, example: str, **more: Any) -> dict[str, Any]:
    base = {"fingerprint": name, "agent": AGENT, "contract": "c", "title": f"title of {name}"}
    return {**base, "example": example, "where": "fault", "witness": [1, 2], **more}


@dataclass
class Told:
    """A failure as the page has it."""

    bug: Mapping[str, Any]
    run: RunFiles | None = None
    lineage: Mapping[str, Any] = field(default_factory=dict)
    focus: Sequence[int] = (0, 1)


class Disk(Material):
    """A campaign whose runs are made of entries with noise in them, `noise` bytes each."""

    def __init__(self, folder: Path, runs: list[dict[str, Any]], bugs: list[Any] = []) -> None:  # noqa: B006
        super().__init__(folder=folder, results={"runs": runs, "bugs": bugs})
        self.read: list[str] = []
        self.mask = Mask({"hunter22": "‹secret›"})
        for run in runs:
            self.write(run["id"], "fault", run["ops"])
            self.write(run["id"], "control", run["ops"])

    def write(self, name: str, where: str, entries: int) -> None:
        """A history on disk."""
        (self.folder / name).mkdir(exist_ok=True)
        noise = random.Random(f"{name} {where}")
        writer = Writer(self.folder / name / f"{where}.jsonl", {})
        for i in range(entries):
            value = {"noise": noise.randbytes(100).hex(), "said": "hunter22"}
            writer.append(Op(index=i, time_ns=i, type="event", f="report.log", value=value))
        writer.close()

    def run(self, id: str, /) -> RunFiles:
        self.read.append(id)
        [found] = [run for run in self.results["runs"] if run["id"] == id]
        folder = self.folder / id
        return RunFiles(entry=found, folder=folder, present=folder.is_dir(), mask=self.mask)


def of_run(chunks: Mapping[str, bytes], number: int) -> set[str]:
    """The histories of a run that are in the page."""
    head = f"hist-{number}-"
    return {name.removeprefix(head) for name in chunks if name.startswith(head)}


def test_a_chunk_is_the_same_bytes_for_the_same_value_and_opens_again() -> None:
    value = {"b": ["ż", "\ud800", "\u202e"], "a": 2**53 - 1}
    assert encode(value) == encode(dict(reversed(value.items())))
    assert decode(encode(value)) == value
    assert encode(value).isascii()


def test_examples_come_first_then_each_kind_of_ending_then_the_rest() -> None:
    runs = [
        *(entry(0), entry(1), broken(2), broken(3, "f2"), broken(4, "f2")),
        entry(5, verdict="unknown", vacuous="no fault struck"),
        entry(6, differs="entry 4"),
        entry(7, role="negative-control", caught=True),
        entry(8, scenario="matrix/b"),
    ]
    bugs = [bug("f2", "run-4", where="repeat-1"), bug("f1", "run-2"), bug("gone", "not here")]
    order = list(picks({"runs": runs, "bugs": bugs}))
    assert [pick.run for pick in order] == [4, 2, 6, 5, 0, 8, 1, 3, 7]
    assert [pick.run for pick in order if pick.must] == [4, 2, 6, 5, 0, 8]
    assert order[0] == Pick(run=4, must=True, shows=("repeat-1",))
    assert order[7].shows == ("fault",)


def test_everything_of_a_small_campaign_is_in_the_page(tmp_path: Path) -> None:
    material = Disk(tmp_path, [broken(0, ops=BLOCK + 1), entry(1), entry(2)], [bug("f1", "run-0")])
    chunks = chunks_of(material, [Told(material.results["bugs"][0])])
    assert of_run(chunks, 0) == of_run(chunks, 1) == {"fault", "control"}
    assert of_run(chunks, 2) == {"fault"}  # like another; its fault-free history is on disk
    assert decode(chunks["hist-0-fault"])["ops"] == BLOCK + 1
    assert [len(decode(chunks[f"vals-0-fault-{k}"])) for k in (0, 1)] == [BLOCK, 1]
    assert decode(chunks["vals-1-control-0"])[0]["said"] == "‹secret›"
    detail = decode(chunks["run-0"])
    assert detail["histories"] == ["fault", "control"] and detail["left_out"] == ""
    assert detail["word"] == "broken" and detail["violations"][0]["witness"] == [1, 2]
    assert detail["replay"].startswith("chaoslab replay ") and "run-0" in detail["replay"]
    told = decode(chunks["bug-0"])
    assert (told["run"], told["where"], told["focus"]) == (0, "fault", [0, 1])
    assert told["lineage"] == {"nodes": [], "edges": [], "anomalies": []}
    assert [row[12] for row in decode(chunks["runs"])["rows"]] == [1, 1, 1]


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    material = Disk(tmp_path, [broken(0), entry(1)], [bug("f1", "run-0")])
    first = chunks_of(material, [])
    assert list(first.items()) == list(chunks_of(material, []).items())


def test_a_page_stays_within_its_bound(tmp_path: Path) -> None:
    runs = [broken(0, ops=60), *(entry(n, ops=60) for n in range(1, 40))]
    material = Disk(tmp_path, runs, [bug("f1", "run-0")])
    told = [Told(material.results["bugs"][0])]
    whole = size(chunks_of(material, told))
    for most in (whole * 9 // 10, whole * 7 // 10):
        chunks = chunks_of(material, told, bytes_max=most)
        assert most // 2 < size(chunks) <= most
        assert of_run(chunks, 0) == {"fault", "control"}  # what matters is there
        rows = decode(chunks["runs"])["rows"]
        assert len(rows) == 40
        for n, row in enumerate(rows):
            others = decode(chunks["details-0"]) if "details-0" in chunks else {}
            assert bool(row[12]) == (f"run-{n}" in chunks or str(n) in others)
            assert not of_run(chunks, n) or row[12]
        assert 1 < sum(row[12] for row in rows) <= 40


def test_a_history_that_finds_no_room_is_left_out_whole_and_said(tmp_path: Path) -> None:
    material = Disk(tmp_path, [broken(0, ops=3000), entry(1)], [bug("f1", "run-0")])
    chunks = chunks_of(material, [Told(material.results["bugs"][0])], bytes_max=60_000)
    assert not [name for name in chunks if "-0-" in name]
    left_out = decode(chunks["run-0"])["left_out"]
    assert "the history with faults has 3,000 entries" in left_out and "fault.jsonl" in left_out
    assert decode(chunks["bug-0"])["run"] == -1
    assert of_run(chunks, 1) == {"fault", "control"}  # a smaller one behind it still fits


def test_a_run_that_cannot_fit_is_not_even_read(tmp_path: Path) -> None:
    runs = [broken(0, ops=60), *(entry(n, ops=10 if n < 4 else 10**7) for n in range(1, 4))]
    material = Disk(tmp_path, runs, [bug("f1", "run-0")])
    runs.append(entry(9, ops=10**7))
    chunks = chunks_of(material, [])
    assert "run-9" not in material.read and "run-4" not in chunks
    assert "run-3" in chunks


def test_a_run_without_its_folder_still_has_its_checks(tmp_path: Path) -> None:
    checks = {"effects.delivery": {"verdict": "unknown", "reason": "no\u202etool"}}
    material = Disk(tmp_path, [])
    material.results = {"runs": [entry(0, checks=checks)], "bugs": []}
    chunks = chunks_of(material, [])
    detail = decode(chunks["run-0"])
    assert detail["histories"] == [] and detail["left_out"].startswith("no history")
    assert detail["checks"] == [["effects.delivery", "unproven", "no\\u202etool"]]


def test_many_breaches_of_one_run_are_cut_and_counted(tmp_path: Path) -> None:
    found = [violation(f"f{n}") for n in range(VIOLATIONS_MAX + 3)]
    material = Disk(tmp_path, [entry(0, verdict="invalid", violations=found)])
    detail = decode(chunks_of(material, [])["run-0"])
    assert len(detail["violations"]) == VIOLATIONS_MAX and detail["violations_left_out"] == 3


def test_the_list_of_runs_says_why_each_ended_as_it_did() -> None:
    unproven = {
        "a": {"verdict": "valid", "reason": "x"},
        "b": {"verdict": "unknown", "reason": "y"},
    }
    runs = [
        *(entry(0), broken(1), broken(2, "other")),
        entry(3, verdict="unknown", vacuous="no fault struck"),
        entry(4, verdict="unknown", checks=unproven),
        entry(5, broke="the lab broke " + "x" * 500),
        entry(6, differs="entry 4 differs"),
        entry(7, verdict="not-applicable", not_applicable="no memory"),
    ]
    shown = runs_chunk({"runs": runs, "bugs": [bug("f1", "run-1")]})
    rows = [dict(zip(shown["columns"], row, strict=True)) for row in shown["rows"]]
    assert [row["why"] for row in rows[:5]] == [
        *("", "title of f1", "2 × refund", "no fault struck", "y")
    ]
    assert len(rows[5]["why"]) == WHY_MAX and rows[5]["word"] == "could not run"
    assert [row["why"] for row in rows[6:]] == ["entry 4 differs", "no memory"]
    assert shown["fingerprints"] == ["f1", "other"]
    assert [row["bugs"] for row in rows[:3]] == [[], [0], [1]]
    assert rows[1]["folder"] == "run-1" and shown["agents"] == [AGENT]


def test_ten_thousand_rows_are_small() -> None:
    runs = [entry(n, wall_ms=n * 7919 % 4001, seed=n) for n in range(10_000)]
    assert len(encode(runs_chunk({"runs": runs, "bugs": []}))) < 400_000


def test_runs_that_are_not_drawn_share_their_chunks(tmp_path: Path) -> None:
    runs = [entry(n) for n in range(DETAILS_BLOCK + 20)]
    chunks = chunks_of(Disk(tmp_path, runs), [])
    assert of_run(chunks, 0) == {"fault"}
    first, second = decode(chunks["details-0"]), decode(chunks["details-1"])
    assert "0" not in first and first["1"]["id"] == "run-1"
    assert list(second) == sorted(map(str, range(DETAILS_BLOCK, DETAILS_BLOCK + 20)))
    assert "in its folder" in second[str(DETAILS_BLOCK)]["left_out"]
    assert all(row[12] for row in decode(chunks["runs"])["rows"])
