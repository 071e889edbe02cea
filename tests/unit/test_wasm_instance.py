"""What a call does to an instance, and what is said of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.core.errors import UsageError
from chaoslab.wasm import (
    BAD_REQUEST,
    REFUSED,
    UNAVAILABLE,
    GuestInstance,
    GuestResult,
    InstanceBusy,
    InstanceRetired,
    ReentryRefused,
    load_module,
)

FUEL = 10_000_000
both_builds = pytest.mark.parametrize("build", ["abort", "unwind"])
both_points = pytest.mark.parametrize("point", ["before-commit", "after-commit"])
FAULTS = ("panic", "abort", "loop", "out-of-bounds")


class Desk:
    """A host that remembers what was committed and strikes where it is told to."""

    def __init__(self) -> None:
        self.plan: dict[str, object] = {}
        self.committed: list[dict[str, object]] = []
        self.logged: list[str] = []
        self.answer: Callable[[bytes], object] | None = None

    def commit(self, request: bytes, /) -> tuple[int, bytes]:
        self.committed.append(json.loads(request))
        if self.answer is not None:
            return self.answer(request)  # type: ignore[return-value]
        return 0, b'{"ref":"T-%d","absorbed":false}' % len(self.committed)

    def fault(self, point: str, /) -> str | None:
        return self.plan.get(point)  # type: ignore[return-value]

    def log(self, text: str, /) -> None:
        self.logged.append(text)


def ticket(customer: str, **more: object) -> bytes:
    fields = {"key": f"key-{customer}", "order": "A-1", "customer": customer}
    return json.dumps({**fields, "subject": "late", "body": "where is it?", **more}).encode()


def new(build: str, name: str = "guest-1") -> GuestInstance:
    return GuestInstance(load_module("ticket", build), id=name)


def file_ticket(guest: GuestInstance, desk: Desk, customer: str, fuel: int = FUEL) -> GuestResult:
    return guest.call("open_ticket", ticket(customer), fuel=fuel, host=desk)


def count(guest: GuestInstance) -> bytes:
    return guest.call("count", b"", fuel=FUEL, host=Desk()).output


@both_builds
def test_an_ordinary_call(build: str) -> None:
    guest, desk = new(build), Desk()
    result = file_ticket(guest, desk, "Ada")
    text = "Customer: Ada\nOrder: A-1\nSubject: late\nBody: where is it?\n"
    assert result.status == "ok"
    assert json.loads(result.output) == {"ref": "T-1", "absorbed": False, "text": text}
    assert (result.trap, result.poisoned, guest.poisoned) == ("", "", "")
    assert desk.committed == [
        {
            "key": "key-Ada",
            "order": "A-1",
            "customer": "Ada",
            "subject": "late",
            "body": "where is it?",
            "text": text,
        }
    ]
    assert (guest.calls, count(guest)) == (1, b"1")


@both_builds
def test_a_healthy_instance_never_mixes(build: str) -> None:
    guest, desk = new(build), Desk()
    for customer in ("Ada", "Grace", "Edsger"):
        file_ticket(guest, desk, customer)
    for customer, committed in zip(("Ada", "Grace", "Edsger"), desk.committed, strict=True):
        assert str(committed["text"]).count("Customer:") == 1
        assert committed["customer"] == customer


@both_builds
def test_texts_survive_the_crossing(build: str) -> None:
    desk = Desk()
    hard = 'quote " back \\ tab \t bell \x07 nul \x00 euro € face \U0001f600'
    for ascii_only in (True, False):
        request = json.dumps(
            {"order": -7, "customer": hard, "subject": "", "body": ""}, ensure_ascii=ascii_only
        )
        result = new(build).call("open_ticket", request.encode(), fuel=FUEL, host=desk)
        assert result.status == "ok"
        assert hard in json.loads(result.output)["text"]
    assert [seen["customer"] for seen in desk.committed] == [hard, hard]
    assert [seen["order"] for seen in desk.committed] == [-7, -7]
    assert [seen["key"] for seen in desk.committed] == [None, None]


@both_points
def test_a_panic_is_a_trap_where_panics_abort(point: str) -> None:
    guest, desk = new("abort"), Desk()
    desk.plan = {point: "panic"}
    result = file_ticket(guest, desk, "Ada")
    assert (result.status, result.trap, result.output) == ("trapped", "unreachable", b"")
    assert result.poisoned == guest.poisoned == "trap: unreachable"
    assert len(desk.committed) == (0 if point == "before-commit" else 1)


@both_points
def test_a_panic_is_caught_where_panics_unwind(point: str) -> None:
    guest, desk = new("unwind"), Desk()
    desk.plan = {point: "panic"}
    result = file_ticket(guest, desk, "Ada")
    assert (result.status, result.trap, result.output) == ("panicked", "", b"")
    assert result.poisoned == "panic caught at the export"
    assert desk.logged == ["a panic was caught at the export"]
    assert len(desk.committed) == (0 if point == "before-commit" else 1)


@both_builds
@both_points
@pytest.mark.parametrize(
    ("fault", "trap"),
    [
        ("abort", "unreachable"),
        ("loop", "out-of-fuel"),
        ("out-of-bounds", "memory-out-of-bounds"),
    ],
)
def test_the_other_faults_trap_in_both_builds(
    build: str, point: str, fault: str, trap: str
) -> None:
    guest, desk = new(build), Desk()
    desk.plan = {point: fault}
    result = file_ticket(guest, desk, "Ada")
    assert (result.status, result.trap, result.output) == ("trapped", trap, b"")
    assert result.poisoned == f"trap: {trap}"
    assert 0 < result.fuel_used <= FUEL


@both_builds
@both_points
@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_instance_looks_healthy_and_mixes_two_customers(
    build: str, point: str, fault: str
) -> None:
    guest, desk = new(build), Desk()
    desk.plan = {point: fault}
    reason = file_ticket(guest, desk, "Ada").poisoned
    desk.plan = {}
    assert count(guest) == b"0"
    result = file_ticket(guest, desk, "Grace")
    assert result.status == "ok"
    text = str(desk.committed[-1]["text"])
    assert text.startswith("Customer: Ada\n")
    assert text.count("Customer:") == 2
    assert json.loads(result.output)["text"] == text
    assert result.poisoned == guest.poisoned == reason != ""


@both_builds
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fresh_instance_does_not_mix(build: str, fault: str) -> None:
    guest, desk = new(build), Desk()
    desk.plan = {"before-commit": fault}
    file_ticket(guest, desk, "Ada")
    desk.plan = {}
    guest.retire()
    result = file_ticket(new(build, "guest-2"), desk, "Grace")
    assert (result.status, result.poisoned) == ("ok", "")
    assert "Ada" not in str(desk.committed[-1]["text"])


@both_builds
@pytest.mark.parametrize("code", [REFUSED, UNAVAILABLE, BAD_REQUEST])
def test_a_refusal_is_an_ordinary_end(build: str, code: int) -> None:
    guest, desk = new(build), Desk()
    desk.answer = lambda _: (code, b'{"why":"closed"}')
    result = file_ticket(guest, desk, "Ada")
    assert (result.status, result.output, result.poisoned) == ("refused", b'{"why":"closed"}', "")
    desk.answer = lambda _: (code, b"")
    empty = file_ticket(guest, desk, "Ada")
    assert empty.status == "refused"
    assert set(json.loads(empty.output)) == {"error"}
    desk.answer = None
    assert file_ticket(guest, desk, "Grace").status == "ok"
    assert "Ada" not in str(desk.committed[-1]["text"])


def test_a_reply_that_does_not_fit_or_cannot_be_read() -> None:
    guest, desk = new("abort"), Desk()
    desk.answer = lambda _: (0, b" " * 40_000)
    assert json.loads(file_ticket(guest, desk, "Ada").output) == {"error": "reply-too-long"}
    for rubbish in (b"", b"[]", b"\xff", b'{"ref":{}}'):
        desk.answer = lambda _, rubbish=rubbish: (0, rubbish)
        assert file_ticket(guest, desk, "Ada").status == "error"
    assert guest.poisoned == ""


@pytest.mark.parametrize("answer", [None, 0, (0, "text"), (1, b""), (-9, b""), (-1, b"a\0b")])
def test_a_host_that_answers_rubbish_is_told_so(answer: object) -> None:
    guest, desk = new("abort"), Desk()
    desk.answer = lambda _: answer
    with pytest.raises(UsageError, match="cannot be passed to the guest"):
        file_ticket(guest, desk, "Ada")
    assert guest.poisoned == "host import failed"


def test_a_fault_that_no_guest_knows_is_told_so() -> None:
    guest, desk = new("abort"), Desk()
    desk.plan = {"before-commit": "explode"}
    with pytest.raises(UsageError, match="explode"):
        file_ticket(guest, desk, "Ada")


@both_builds
@pytest.mark.parametrize("failure", [ValueError("boom"), KeyboardInterrupt(), SystemExit(3)])
def test_what_a_host_raises_waits_until_the_guest_has_returned(
    build: str, failure: BaseException
) -> None:
    guest, desk = new(build), Desk()

    def broken(_: bytes) -> object:
        raise failure

    desk.answer = broken
    with pytest.raises(type(failure)) as caught:
        file_ticket(guest, desk, "Ada")
    assert caught.value is failure
    assert guest.poisoned == "host import failed"
    desk.answer = None
    assert file_ticket(guest, desk, "Grace").status == "ok"


def test_the_first_reason_stays_the_first() -> None:
    guest, desk = new("abort"), Desk()

    def broken(_: bytes) -> object:
        desk.plan = {"before-commit": "panic"}
        raise ValueError("boom")

    desk.answer = broken
    with pytest.raises(ValueError, match="boom"):
        file_ticket(guest, desk, "Ada")
    assert file_ticket(guest, desk, "Ada").trap == "unreachable"
    assert guest.poisoned == "host import failed"


@both_builds
@pytest.mark.parametrize("swallowed", [True, False])
def test_reentry_is_refused_and_poisons(build: str, swallowed: bool) -> None:
    guest, desk = new(build), Desk()

    def nested(_: bytes) -> object:
        try:
            return 0, file_ticket(guest, desk, "Grace").output
        except ReentryRefused:
            if not swallowed:
                raise
            return 0, b'{"ref":"never"}'

    desk.answer = nested
    result = file_ticket(guest, desk, "Ada")
    assert (result.status, result.output) == ("refused", b'{"error":"re-entered"}')
    assert result.poisoned == guest.poisoned == "nested re-entry"
    assert guest.calls == 1


def test_another_instance_may_be_called_from_an_import() -> None:
    outer, inner, desk, inner_desk = new("abort"), new("unwind", "inner"), Desk(), Desk()

    def nested(_: bytes) -> object:
        assert file_ticket(inner, inner_desk, "Grace").status == "ok"
        return 0, b'{"ref":"outer"}'

    desk.answer = nested
    result = file_ticket(outer, desk, "Ada")
    assert json.loads(result.output)["ref"] == "outer"
    assert (outer.poisoned, inner.poisoned) == ("", "")
    assert len(desk.committed) == len(inner_desk.committed) == 1


def test_a_second_thread_is_not_let_in() -> None:
    guest, desk = new("abort"), Desk()
    seen: list[BaseException] = []

    def from_elsewhere() -> None:
        try:
            file_ticket(guest, desk, "Grace")
        except InstanceBusy as busy:
            seen.append(busy)

    def answer(_: bytes) -> object:
        thread = threading.Thread(target=from_elsewhere)
        thread.start()
        thread.join()
        return 0, b"{}"

    desk.answer = answer
    assert file_ticket(guest, desk, "Ada").status == "ok"
    assert len(seen) == 1
    assert guest.poisoned == ""


def test_a_retired_instance_refuses() -> None:
    guest, desk = new("abort", "guest-7"), Desk()
    file_ticket(guest, desk, "Ada")
    guest.retire()
    guest.retire()
    with pytest.raises(InstanceRetired, match="guest-7 was retired"):
        file_ticket(guest, desk, "Grace")
    assert (guest.retired, guest.calls, len(desk.committed)) == (True, 1, 1)


def test_retiring_from_within_waits_for_the_end_of_the_call() -> None:
    guest, desk = new("abort"), Desk()

    def answer(_: bytes) -> object:
        guest.retire()
        return 0, b"{}"

    desk.answer = answer
    assert file_ticket(guest, desk, "Ada").status == "ok"
    with pytest.raises(InstanceRetired):
        file_ticket(guest, desk, "Grace")


@both_builds
@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_the_same_call_costs_the_same_fuel(build: str, fault: str | None) -> None:
    def once() -> list[GuestResult]:
        guest, desk = new(build), Desk()
        desk.plan = {"before-commit": fault}
        first = file_ticket(guest, desk, "Ada")
        desk.plan = {}
        return [first, file_ticket(guest, desk, "Grace"), file_ticket(guest, desk, "Ada")]

    assert once() == once()


@both_builds
def test_too_little_fuel_traps_and_is_armed_anew_for_each_call(build: str) -> None:
    needed = file_ticket(new(build), Desk(), "Ada").fuel_used
    enough = file_ticket(new(build), Desk(), "Ada", fuel=needed + 1)
    assert (enough.status, enough.fuel_used) == ("ok", needed)
    guest, desk = new(build), Desk()
    starved = file_ticket(guest, desk, "Ada", fuel=needed // 2)
    assert (starved.status, starved.trap, starved.output) == ("trapped", "out-of-fuel", b"")
    assert starved.poisoned == "trap: out-of-fuel"
    assert file_ticket(guest, desk, "Ada", fuel=needed * 2).status == "ok"


@given(cut=st.integers(min_value=1, max_value=60_000))
@settings(deadline=None, max_examples=60)
def test_any_amount_of_fuel_ends_in_an_answer_or_a_trap(cut: int) -> None:
    guest, desk = new("unwind"), Desk()
    result = file_ticket(guest, desk, "Ada", fuel=cut)
    assert result.status == "ok" or (result.trap == "out-of-fuel" and result.output == b"")
    assert result == file_ticket(new("unwind"), Desk(), "Ada", fuel=cut)


HOSTILE = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.builds(lambda cut: ticket("Ada \U0001f600")[:cut], st.integers(min_value=0, max_value=90)),
)


@pytest.fixture(scope="module")
def long_lived() -> dict[str, GuestInstance]:
    return {build: new(build) for build in ("abort", "unwind")}


@both_builds
@given(data=HOSTILE)
@settings(deadline=None, max_examples=150)
def test_hostile_input_is_an_error_and_never_a_trap(
    long_lived: dict[str, GuestInstance], build: str, data: bytes
) -> None:
    guest, desk = long_lived[build], Desk()
    result = guest.call("open_ticket", data, fuel=FUEL, host=desk)
    assert (result.status, result.poisoned, desk.committed) == ("error", "", [])
    assert set(json.loads(result.output)) == {"error"}


@both_builds
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), min_size=3),
    order=st.integers(min_value=-(2**63), max_value=2**63 - 1),
)
@settings(deadline=None, max_examples=60)
def test_whatever_is_well_formed_is_committed_unchanged(
    long_lived: dict[str, GuestInstance], build: str, texts: list[str], order: int
) -> None:
    guest, desk = long_lived[build], Desk()
    fields = {"order": order, "customer": texts[0], "subject": texts[1], "body": texts[2]}
    data = json.dumps(fields).encode()
    assert guest.call("open_ticket", data, fuel=FUEL, host=desk).status == "ok"
    assert {name: desk.committed[0][name] for name in fields} == fields


def test_input_that_is_too_long_is_an_error() -> None:
    guest, desk = new("abort"), Desk()
    for size in (30_000, 70_000, 1_000_000):
        result = guest.call("open_ticket", ticket("Ada", body="x" * size), fuel=FUEL, host=desk)
        assert result.status == "error"
        assert set(json.loads(result.output)) == {"error"}
    assert file_ticket(guest, desk, "Grace").status == "ok"
    assert (guest.poisoned, len(desk.committed)) == ("", 1)


@pytest.mark.parametrize(
    ("export", "data", "fuel", "message"),
    [
        ("alloc", b"", FUEL, "no such export"),
        ("nothing", b"", FUEL, "open_ticket, panicking, count"),
        ("count", b"x", FUEL, "wrong kind"),
        ("open_ticket", "text", FUEL, "wrong kind"),
        ("open_ticket", b"", 0, "out of range"),
        ("open_ticket", b"", True, "out of range"),
        ("open_ticket", b"", 1 << 63, "out of range"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_beforehand(
    export: str, data: bytes, fuel: int, message: str
) -> None:
    guest = new("abort")
    with pytest.raises(UsageError, match=message):
        guest.call(export, data, fuel=fuel, host=Desk())
    assert (guest.calls, guest.poisoned) == (0, "")


@pytest.mark.parametrize("limit", [0, -1, 65_536, True, 1.5])
def test_a_memory_limit_below_the_least_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match="memory limit is too small"):
        GuestInstance(load_module("ticket", "abort"), id="small", memory_limit_bytes=limit)


@both_builds
@pytest.mark.parametrize("pages", [0, 1])
def test_the_memory_limit_ends_in_an_answer_or_a_trap(build: str, pages: int) -> None:
    module = load_module("ticket", build)
    limit = module.memory_min_bytes + pages * 65_536
    guest = GuestInstance(module, id="tight", memory_limit_bytes=limit)
    result = guest.call("open_ticket", ticket("Ada", body="x" * 20_000), fuel=FUEL, host=Desk())
    if pages:
        assert (result.status, result.poisoned) == ("trapped", "trap: unreachable")
    else:
        assert result.output == b'{"error":"the guest made no room for the request"}'
        assert (result.status, result.poisoned) == ("error", "")


@both_builds
def test_what_failed_calls_leave_behind_adds_up(build: str) -> None:
    guest, desk = new(build), Desk()
    desk.plan = {"before-commit": "panic"}
    long = ticket("Ada", body="x" * 2_000)
    statuses = [guest.call("open_ticket", long, fuel=FUEL, host=desk).status for _ in range(13)]
    # Once the draft is full the ticket is refused, and that ordinary end empties it.
    assert statuses == ["trapped" if build == "abort" else "panicked"] * 12 + ["error"]
    desk.plan = {}
    assert file_ticket(guest, desk, "Grace").status == "ok"
    assert "Ada" not in str(desk.committed[-1]["text"])
    assert guest.poisoned != ""
