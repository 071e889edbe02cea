"""Guests that break the rules, written by hand, since the ticket tool keeps to them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from wasmtime import wat2wasm

from chaoslab.core.errors import LabError
from chaoslab.wasm import GuestBroke, GuestInstance, GuestResult, load_module

FUEL = 10_000_000


class Desk:
    """A host that only remembers that it was called."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def commit(self, request: bytes, /) -> tuple[int, bytes]:
        self.seen.append(request)
        return 0, b"{}"

    def fault(self, point: str, /) -> str | None:
        self.seen.append(point)
        return None

    def log(self, text: str, /) -> None:
        self.seen.append(text)


def odd_guest(folder: Path, entry: str, **changes: str) -> GuestInstance:
    parts = {
        "imports": '(import "chaoslab" "commit" (func $commit (param i32 i32 i32 i32)'
        ' (result i32))) (import "chaoslab" "fault" (func $fault (param i32) (result i32)))'
        ' (import "chaoslab" "log" (func $log (param i32 i32)))',
        "memory": '(memory (export "memory") 1)',
        "stack": '(global $sp (export "__stack_pointer") (mut i32) (i32.const 1024))',
        "alloc": '(func (export "alloc") (param i32) (result i32) i32.const 2048)',
        "out_ptr": '(func (export "out_ptr") (result i32) i32.const 2048)',
        "out_len": '(func (export "out_len") (result i32) i32.const 2)',
        "panicking": '(func (export "panicking") (result i32) i32.const 0)',
        **changes,
        "entry": f'(func $go (export "go") (param i32 i32) (result i32) {entry})',
    }
    data = bytes(wat2wasm("(module " + " ".join(parts.values()) + ")"))
    (folder / "odd-abort.wasm").write_bytes(data)
    sums = f"{hashlib.sha256(data).hexdigest()}  odd-abort.wasm\n"
    (folder / "SHA256SUMS").write_text(sums, "utf-8")
    module = load_module("odd", "abort", directory=folder)
    return GuestInstance(module, id="odd")


def go(guest: GuestInstance, desk: Desk | None = None) -> GuestResult:
    return guest.call("go", b"{}", fuel=FUEL, host=desk or Desk())


def test_a_guest_that_keeps_to_the_rules(tmp_path: Path) -> None:
    assert go(odd_guest(tmp_path, "i32.const 0")).output == b"{}"


def test_a_panic_that_is_still_under_way_is_not_believed(tmp_path: Path) -> None:
    flag = '(func (export "panicking") (result i32) i32.const 1)'
    guest = odd_guest(tmp_path, "i32.const 0", panicking=flag)
    first = go(guest)
    assert (first.status, first.output) == ("panicked", b"")
    assert first.poisoned == "panicking() after the call"
    # What an older panic left says nothing about a later call; the instance stays poisoned.
    second = go(guest)
    assert (second.status, second.output) == ("ok", b"{}")
    assert second.poisoned == "panicking() after the call"


def test_a_stack_that_is_not_restored_poisons(tmp_path: Path) -> None:
    guest = odd_guest(tmp_path, "(global.set $sp (i32.const 1000)) i32.const 0")
    result = go(guest)
    assert (result.status, result.output) == ("ok", b"{}")
    assert result.poisoned == "stack pointer not restored"


@pytest.mark.parametrize(
    ("entry", "changes"),
    [
        ("i32.const 9", {}),
        ("i32.const -1", {}),
        ("i32.const 0", {"alloc": '(func (export "alloc") (param i32) (result i32) i32.const -4)'}),
        ("i32.const 0", {"out_len": '(func (export "out_len") (result i32) i32.const -1)'}),
        ("i32.const 0", {"out_ptr": '(func (export "out_ptr") (result i32) i32.const -1)'}),
    ],
)
def test_a_status_or_an_address_that_does_not_exist(
    tmp_path: Path, entry: str, changes: dict[str, str]
) -> None:
    guest = odd_guest(tmp_path, entry, **changes)
    with pytest.raises(GuestBroke):
        go(guest)
    assert guest.poisoned == "the guest broke the rules of its interface"


@pytest.mark.parametrize(
    "entry",
    [
        "(call $commit (i32.const -8) (i32.const 4) (i32.const 0) (i32.const 9)) drop i32.const 0",
        "(call $commit (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 9)) drop i32.const 0",
        "(call $commit (i32.const 0) (i32.const 4) (i32.const -9) (i32.const 9)) drop i32.const 0",
        "(call $log (i32.const 65530) (i32.const 7)) i32.const 0",
    ],
)
def test_an_import_with_an_address_outside_the_memory(tmp_path: Path, entry: str) -> None:
    desk = Desk()
    result = go(odd_guest(tmp_path, entry), desk)
    assert result.poisoned == "import called with an address outside the memory"
    assert desk.seen == []


def test_a_stack_overflow_has_a_name(tmp_path: Path) -> None:
    guest = odd_guest(tmp_path, "(call $go (local.get 0) (local.get 1)) drop i32.const 0")
    result = guest.call("go", b"{}", fuel=1 << 40, host=Desk())
    assert (result.trap, result.poisoned) == ("stack-overflow", "trap: stack-overflow")


def test_an_exception_that_nobody_catches_has_a_name(tmp_path: Path) -> None:
    guest = odd_guest(tmp_path, "(throw $oops)", tag="(tag $oops)")
    result = go(guest)
    assert (result.status, result.trap) == ("trapped", "exception")


def test_a_fault_point_that_nobody_knows_is_in_nobodys_plan(tmp_path: Path) -> None:
    desk = Desk()
    assert go(odd_guest(tmp_path, "(call $fault (i32.const 3))"), desk).status == "ok"
    assert desk.seen == []


def test_a_log_line_is_cut_and_decoded_whatever_it_holds(tmp_path: Path) -> None:
    data = '(data (i32.const 0) "ok \\ff")'
    desk = Desk()
    go(odd_guest(tmp_path, "(call $log (i32.const 0) (i32.const 65536)) i32.const 0", d=data), desk)
    (text,) = desk.seen
    assert isinstance(text, str)
    assert text.startswith("ok \ufffd")
    assert len(text) == 4096


def test_a_start_function_gets_no_fuel(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="cannot be instantiated"):
        odd_guest(tmp_path, "i32.const 0", start="(func $first) (start $first)")
