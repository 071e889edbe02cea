"""Where a fault strikes is a function of which sites there are, never of their order in time."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaoslab.contract import Contract, ToolContract
from chaoslab.faults import Fault, Nemesis, Placed, Site, at_port, place

CONTRACT = Contract(
    tools={
        "pay": ToolContract(name="pay", keys=True),
        "mail": ToolContract(name="mail"),
        "haul": ToolContract(name="haul", keys=True, long_running=True),
        "ticket": ToolContract(name="ticket", keys=True),
    }
)


def site(port: str = "tools.pay", task: int = 1, marker: str = "o", attempt: int = 1) -> Site:
    return Site(session="s1", task=f"s1-t{task}", port=port, marker=marker, attempt=attempt)


def fault(at: str = "tools.pay", attempt: int = 1, every: bool = False, task: str = "") -> Fault:
    return Fault(
        at=at, phase="after-commit", kind="silence", attempt=attempt, every=every, task=task
    )


SITES = [
    site(port, task, marker)
    for port in ("tools.pay", "tools.mail", "tools.haul", "memory.write", "model.complete")
    for task in (1, 2, 10)
    for marker in ("o-2", "o-10")
]


@given(st.permutations(SITES), st.booleans(), st.sampled_from(["tools:keyed", "tools:*"]))
def test_the_order_in_which_sites_were_seen_does_not_matter(
    seen: list[Site], every: bool, at: str
) -> None:
    plan = (fault(at, every=every), fault("memory.write"))
    assert place(plan, seen, CONTRACT) == place(plan, SITES, CONTRACT)


def test_the_first_in_order_of_name_counts_numbers_as_numbers() -> None:
    placed = place([fault()], [site(task=10), site(task=2)], CONTRACT)
    assert placed[0].sites[0].task == "s1-t2"
    assert placed[0].eligible == 2


@pytest.mark.parametrize(
    ("role", "tools"),
    [
        ("tools:keyed", {"pay", "haul"}),
        ("tools:unkeyed", {"mail", "unheard-of"}),
        ("tools:long-running", {"haul"}),
        ("tools:*", {"pay", "mail", "haul", "unheard-of"}),
    ],
)
def test_roles_are_resolved_through_the_contract(role: str, tools: set[str]) -> None:
    names = ("pay", "mail", "haul", "unheard-of")
    assert {n for n in names if at_port(role, f"tools.{n}", CONTRACT)} == tools
    assert not at_port(role, "memory.write", CONTRACT)
    assert not at_port(role, "tools.pay.lookup", CONTRACT)


def test_a_wasm_role_means_guests_and_never_their_birth() -> None:
    assert at_port("wasm:*", "wasm.ticket", CONTRACT)
    assert not at_port("wasm:*", "wasm.instantiate", CONTRACT)
    assert not at_port("wasm:*", "tools.ticket", CONTRACT)


def test_every_takes_each_matching_site() -> None:
    (placed,) = place([fault(every=True)], SITES, CONTRACT)
    assert len(placed.sites) == placed.eligible == 6
    assert {s.port for s in placed.sites} == {"tools.pay"}


def test_a_later_attempt_is_bound_to_the_place_of_the_first() -> None:
    (placed,) = place([fault(attempt=2)], SITES, CONTRACT)
    assert [(s.task, s.attempt) for s in placed.sites] == [("s1-t1", 2)]
    nemesis = Nemesis([placed], CONTRACT)
    assert nemesis.at(replace(placed.sites[0], attempt=1)) == []
    assert nemesis.at(placed.sites[0]) == [placed]


def test_a_place_that_the_fault_free_run_never_saw_strikes_its_first_match_once() -> None:
    (placed,) = place([fault("memory.scan")], SITES, CONTRACT)
    assert placed.sites == () and placed.eligible == 0
    nemesis = Nemesis([placed], CONTRACT)
    assert nemesis.at(site("memory.read")) == []
    assert nemesis.at(site("memory.scan", task=7)) == [placed]
    assert nemesis.at(site("memory.scan", task=8)) == []


@given(st.integers(0, 2**32))
def test_each_strike_is_handed_out_exactly_once(seed: int) -> None:
    plan = [fault("tools:keyed", every=True), fault("tools.pay"), fault("memory.erase")]
    placed = place(plan, SITES, CONTRACT)
    calls = [*SITES, *SITES, site("memory.erase"), site("memory.erase", task=2)]
    Random(seed).shuffle(calls)
    nemesis = Nemesis(placed, CONTRACT)
    struck = [one.number for call in calls for one in nemesis.at(call)]
    assert sorted(struck) == [0] * 12 + [1] + [2]


def test_nothing_strikes_after_the_heal() -> None:
    nemesis = Nemesis([Placed(number=0, fault=fault())], CONTRACT)
    nemesis.healed = True
    assert nemesis.at(site()) == []


def test_a_task_narrows_a_fault() -> None:
    (placed,) = place([fault(task="s1-t10")], SITES, CONTRACT)
    assert {s.task for s in placed.sites} == {"s1-t10"} and placed.eligible == 2


def test_a_trap_strikes_an_action_and_never_a_mere_question_to_the_guest() -> None:
    trap = Fault(at="wasm:*", phase="after-commit", kind="trap")
    sites = [site("wasm.ticket", marker=""), site("wasm.ticket", marker="o-1")]
    [placed] = place([trap], sites, CONTRACT)
    assert [s.marker for s in placed.sites] == ["o-1"]
