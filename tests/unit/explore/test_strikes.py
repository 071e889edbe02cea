"""Which strikes there are at a site, and which are worth a look for being the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaoslab.explore.strikes import (
    ALONE,
    SIMPLEST_FIRST,
    Call,
    Candidate,
    calls_of,
    candidates,
    fault_from,
    fault_json,
    strikes_at,
    unseen,
    why_same,
)
from chaoslab.faults import KINDS, Fault, Site, matches, problem
from chaoslab.faults.model import TRAP_MODES
from chaoslab.history import Op, OpType, View
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, scenario_files, specs_for

READ = Site(session="s1", task="s1-t1", port="memory.read", marker="profile/1", attempt=1)
WRITE = replace(READ, port="memory.write")
MANY = replace(READ, port="memory.write_many", marker="a+b+c")
MODEL = replace(READ, port="model.complete", marker="turn-1")
TOOL = replace(READ, port="tools.refund", marker="o-1")
LOOKUP = replace(TOOL, port="tools.refund.lookup")
GUEST = replace(READ, port="wasm.ticket", marker="o-1")
BOOT = Site(session="", task="", port="leases.acquire", marker="s1", attempt=1)
SITES = (READ, WRITE, MANY, MODEL, TOOL, LOOKUP, GUEST, BOOT)


def spec_of(name: str) -> RunSpec:
    [spec] = specs_for(scenario_files([name]), REFERENCE, seeds=[0])
    return spec


@pytest.fixture(scope="module")
def one_region() -> RunSpec:
    return spec_of("matrix/timeout-after-commit")


@pytest.fixture(scope="module")
def two_regions() -> RunSpec:
    return spec_of("matrix/failover-killed")


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.port)
def test_every_strike_is_one_that_can_be_and_hits_its_site_alone(
    site: Site, two_regions: RunSpec
) -> None:
    faults = strikes_at(site, two_regions, group_size=3)
    assert len(set(faults)) == len(faults)
    for fault in faults:
        assert problem(fault) == ""
        assert [s for s in SITES if matches(fault, s, two_regions.contract)] == [site]
        assert not matches(fault, replace(site, attempt=2), two_regions.contract)


def test_every_kind_in_every_phase_is_there(two_regions: RunSpec) -> None:
    found = {(f.kind, f.phase) for s in SITES for f in strikes_at(s, two_regions, group_size=3)}
    allowed = {(kind, phase) for kind, (phases, _) in KINDS.items() for phase in phases}
    assert allowed <= found
    assert {phase for _, phase in found - allowed} == {"mid-write"}


def test_the_simplest_kind_comes_first(two_regions: RunSpec) -> None:
    turns = [SIMPLEST_FIRST.index(f.kind) for f in strikes_at(TOOL, two_regions)]
    assert turns == sorted(turns)
    only = strikes_at(TOOL, two_regions, kinds=("crash", "silence"))
    assert list(dict.fromkeys(f.kind for f in only)) == ["silence", "crash"]


def test_regions_are_struck_only_where_there_is_another(
    one_region: RunSpec, two_regions: RunSpec
) -> None:
    alone, beside = strikes_at(TOOL, one_region), strikes_at(TOOL, two_regions)
    assert not [f for f in alone if f.scope == "region" or f.kind == "partition"]
    assert len([f for f in beside if f.scope == "region"]) == 4
    assert len([f for f in beside if f.kind == "partition"]) == 4


def test_a_group_of_writes_is_cut_after_each_item_but_the_last(one_region: RunSpec) -> None:
    cut = [f for f in strikes_at(MANY, one_region, group_size=3) if f.phase == "mid-write"]
    assert {f.after_items for f in cut} == {1, 2}
    assert not [f for f in strikes_at(MANY, one_region, group_size=1) if f.phase == "mid-write"]


def test_a_guest_traps_only_where_it_is_asked_to_act(one_region: RunSpec) -> None:
    traps = [f for f in strikes_at(GUEST, one_region) if f.kind == "trap"]
    assert {(f.mode, f.phase) for f in traps} == {
        (mode, phase) for mode in TRAP_MODES for phase in ("before-commit", "after-commit")
    }
    question = replace(GUEST, marker="")
    assert "trap" not in {f.kind for f in strikes_at(question, one_region)}


def history() -> View:
    """A read, a write, a model's last answer, and a group of two."""
    here: dict[str, Any] = {"process": "home-1", "session": "s1", "task": "s1-t1", "attempt": 1}
    group = {"writes": [{"id": "a"}, {"id": "b"}]}
    rows = [
        Op(index=0, time_ns=1, type="invoke", f="memory.read", marker="profile/1", **here),
        Op(index=1, time_ns=2, type="ok", f="memory.read", call=0, value={"found": False}),
        Op(index=2, time_ns=2, type="invoke", f="memory.write", marker="profile/1", **here),
        Op(index=3, time_ns=3, type="commit", f="memory.write", call=2),
        Op(index=4, time_ns=4, type="ok", f="memory.write", call=2),
        Op(index=5, time_ns=4, type="invoke", f="model.complete", marker="turn-1", **here),
        Op(index=6, time_ns=5, type="ok", f="model.complete", call=5, value={"tool_calls": []}),
        Op(
            index=7,
            time_ns=5,
            type="invoke",
            f="memory.write_many",
            marker="a+b",
            value=group,
            **here,
        ),
    ]
    return View(rows)


def test_a_history_tells_what_its_calls_did() -> None:
    read, write, model, group = calls_of(history()).values()
    assert not read.changes
    assert write.changes
    assert not model.traced
    assert model.changes  # it counts how often it was asked
    assert not model.asks
    assert group.items == 2
    assert group.traced is False  # it never came so far


def ended(port: str, end: OpType, *, committed: bool = False) -> Call:
    """What is known of a call that ended so."""
    here: dict[str, Any] = {"session": "s1", "task": "s1-t1", "marker": "o-1", "attempt": 1}
    rows = [Op(index=0, time_ns=1, type="invoke", f=port, **here)]
    if committed:
        rows.append(Op(index=1, time_ns=2, type="commit", f=port, call=0))
    rows.append(Op(index=len(rows), time_ns=3, type=end, f=port, call=0))
    [call] = calls_of(View(rows)).values()
    return call


def test_what_a_service_never_came_to_is_not_planned(one_region: RunSpec) -> None:
    def phases(call: Call) -> set[str]:
        return {c.fault.phase for c in candidates([call.site], {call.site: call}, one_region)}

    wire = {"before-send", "before-commit", "after-commit", "after-reply"}
    assert phases(ended("tools.refund", "ok", committed=True)) == wire
    assert phases(ended("tools.refund", "info")) == wire
    assert phases(ended("leases.acquire", "fail")) == wire - {"after-commit"}
    assert phases(ended("memory.write_many", "fail")) == wire - {"after-commit"}
    # A tool that has seen the key answers at once; one that refuses does nothing else.
    assert phases(ended("tools.refund", "ok")) == wire - {"before-commit"}
    assert phases(ended("tools.refund", "fail")) == {"before-send", "after-reply"}
    assert phases(unseen(LOOKUP)) == wire - {"before-commit"}


def groups(found: list[Candidate]) -> set[frozenset[tuple[str, str]]]:
    """The groups as sets of (kind, phase)."""
    by_number: dict[int, set[tuple[str, str]]] = {}
    for one in found:
        if one.group != ALONE:
            by_number.setdefault(one.group, set()).add((one.fault.kind, one.fault.phase))
    return {frozenset(group) for group in by_number.values()}


def both(kind: str) -> frozenset[tuple[str, str]]:
    return frozenset(((kind, "before-commit"), (kind, "after-commit")))


UNSENT = frozenset((("silence", "before-send"), ("silence", "before-commit")))


def test_around_a_read_the_work_of_the_service_makes_no_difference(two_regions: RunSpec) -> None:
    call = Call(site=READ, traced=False)
    found = groups(candidates([READ], {READ: call}, two_regions))
    three = UNSENT | {("silence", "after-commit")}
    around = ("reset", "error-reply", "crash", "pause", "partition")
    assert found == {three, *(both(kind) for kind in around)}
    assert groups(candidates([READ], {}, two_regions)) == found  # known by its name


def test_process_and_region_are_never_taken_for_each_other(two_regions: RunSpec) -> None:
    found = candidates([READ], {}, two_regions, ("crash",))
    assert len({one.group for one in found} - {ALONE}) == 2
    for one in found:
        for other in found:
            if one.group == other.group != ALONE:
                assert one.fault.scope == other.fault.scope


def test_what_was_written_tells_before_from_after(one_region: RunSpec) -> None:
    assert groups(candidates([LOOKUP], {}, one_region)) == {
        frozenset((("silence", "before-send"), ("silence", "after-commit")))
    }
    for site in (WRITE, TOOL, MANY, BOOT):
        assert groups(candidates([site], {}, one_region)) == {UNSENT}


def test_a_model_and_a_guest_are_others_after_a_call(one_region: RunSpec) -> None:
    asked = Call(site=MODEL, traced=False, asks=True)
    assert groups(candidates([MODEL], {MODEL: asked}, one_region)) == {UNSENT, both("pause")}
    last = replace(asked, asks=False)
    spoiled = frozenset((("malformed", "after-commit"), ("unknown-tool", "after-commit")))
    assert spoiled in groups(candidates([MODEL], {MODEL: last}, one_region))
    guest = Call(site=GUEST, traced=False)
    assert groups(candidates([GUEST], {GUEST: guest}, one_region)) == {UNSENT, both("pause")}


def test_no_group_reaches_over_two_sites(one_region: RunSpec) -> None:
    found = candidates(SITES, {}, one_region)
    where: dict[int, set[str]] = {}
    for one in found:
        where.setdefault(one.group, set()).add(one.fault.at)
    where.pop(ALONE)
    assert where
    assert all(len(places) == 1 for places in where.values())
    assert list(where) == sorted(where)  # in order of first mention


def test_the_size_of_a_group_is_what_was_asked_for(one_region: RunSpec) -> None:
    odd = replace(MANY, marker="a+b+c+d")  # an id may have a plus in it
    call = Call(site=odd, items=2)
    cut = [c.fault for c in candidates([odd], {odd: call}, one_region, ("reset",))]
    assert {f.after_items for f in cut if f.phase == "mid-write"} == {1}
    assert unseen(odd).items == 4


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.port)
def test_a_fault_is_told_without_its_defaults_and_comes_back(
    site: Site, two_regions: RunSpec
) -> None:
    for fault in strikes_at(site, two_regions, group_size=3):
        raw = fault_json(fault)
        assert fault_from(raw) == fault
        assert not {"every", "for_ms", "attempt"} & raw.keys()


def fault(kind: str, phase: str) -> Fault:
    return Fault(at="memory.read", kind=kind, phase=phase, task="s1-t1", marker="a")


def test_why_two_strikes_are_the_same_is_told_in_words() -> None:
    before, after = fault("silence", "before-commit"), fault("silence", "after-commit")
    unsent = fault("silence", "before-send")
    told = "silence before-send = before-commit: nothing had happened yet"
    assert why_same(before, unsent) == why_same(unsent, before) == told
    assert why_same(after, unsent).endswith("the call changes nothing")
    spoiled = fault("malformed", "after-commit"), fault("unknown-tool", "after-commit")
    assert why_same(*spoiled).endswith("there is nothing to spoil")
