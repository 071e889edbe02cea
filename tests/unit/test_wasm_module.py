"""A module is loaded only when it is whole, unchanged and of the right shape."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from wasmtime import wat2wasm

from chaoslab.core.errors import UsageError
from chaoslab.core.resources import resource_path
from chaoslab.wasm import Module, ModuleRefused, load_module

BUILDS = ("abort", "unwind")

# The least that is accepted; the tests leave out or change one line each.
PARTS = {
    "memory": '(memory (export "memory") 1)',
    "stack": '(global (export "__stack_pointer") (mut i32) (i32.const 1024))',
    "alloc": '(func (export "alloc") (param i32) (result i32) i32.const 2048)',
    "out_ptr": '(func (export "out_ptr") (result i32) i32.const 2048)',
    "out_len": '(func (export "out_len") (result i32) i32.const 0)',
    "panicking": '(func (export "panicking") (result i32) i32.const 0)',
    "entry": '(func (export "go") (param i32 i32) (result i32) i32.const 0)',
}


def write(folder: Path, data: bytes, *, listed: bytes | None = None) -> Path:
    """Writes odd-abort.wasm and the checksum of `listed`, by default of the same bytes."""
    path = folder / "odd-abort.wasm"
    path.write_bytes(data)
    digest = hashlib.sha256(data if listed is None else listed).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {path.name}\n", "utf-8")
    return path


def module_of(**changes: str) -> bytes:
    """The least module, with some of its parts changed."""
    return bytes(wat2wasm("(module " + " ".join({**PARTS, **changes}.values()) + ")"))


def refused(folder: Path) -> str:
    with pytest.raises(ModuleRefused) as caught:
        load_module("odd", "abort", directory=folder)
    return str(caught.value)


@pytest.mark.parametrize("build", BUILDS)
def test_the_packaged_modules_load(build: str) -> None:
    module = load_module("ticket", build)
    assert module.entries == ("open_ticket",)
    assert set(module.probes) == {"count", "panicking"}
    assert module.size_bytes < 64_000
    assert module.memory_min_bytes % 65_536 == 0


def test_a_module_is_compiled_once_in_a_process(tmp_path: Path) -> None:
    first = load_module("ticket", "abort")
    assert load_module("ticket", "abort") is first
    for name in ("ticket-abort.wasm", "SHA256SUMS"):
        shutil.copy(resource_path("wasm_targets/dist") / name, tmp_path)
    assert load_module("ticket", "abort", directory=tmp_path) is first


def test_a_file_that_changes_after_it_was_loaded_is_refused(tmp_path: Path) -> None:
    data = module_of()
    write(tmp_path, data)
    assert isinstance(load_module("odd", "abort", directory=tmp_path), Module)
    write(tmp_path, module_of(more='(func (export "more"))'), listed=data)
    assert "does not match its checksum" in refused(tmp_path)


def test_a_missing_build_names_those_that_are_there() -> None:
    with pytest.raises(ModuleRefused, match="ticket-abort, ticket-unwind"):
        load_module("ticket", "debug")


@pytest.mark.parametrize("name", ["../ticket", "", "Ticket", "a--b", "a/b", 7])
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(UsageError, match="malformed"):
        load_module(name, "abort")


@pytest.mark.parametrize("data", [b"", b"\0as", b"rubbish" * 100, b"\x7fELF" + bytes(60)])
def test_garbage_is_refused(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, data)
    assert "is not a Wasm binary" in refused(tmp_path)


def test_the_text_form_is_never_parsed(tmp_path: Path) -> None:
    write(tmp_path, b"(module " + " ".join(PARTS.values()).encode() + b")")
    message = refused(tmp_path)
    assert "is not a Wasm binary" in message
    assert "the text form is not read" in message


def test_a_component_is_refused(tmp_path: Path) -> None:
    write(tmp_path, b"\0asm\x0d\0\1\0")
    assert "not a core module" in refused(tmp_path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = module_of()
    for length in range(len(whole)):
        write(tmp_path, whole[:length], listed=whole)
        refused(tmp_path)
    write(tmp_path, whole[:-3])
    assert "is truncated" in refused(tmp_path)


def test_a_changed_byte_is_refused(tmp_path: Path) -> None:
    whole = module_of()
    write(tmp_path, whole[:-1] + bytes([whole[-1] ^ 1]), listed=whole)
    assert "does not match its checksum" in refused(tmp_path)


def test_a_module_without_a_checksum_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, module_of())
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  other-abort.wasm\n", "utf-8")
    assert f"{path.name} is not listed" in refused(tmp_path)
    (tmp_path / "SHA256SUMS").unlink()
    assert "SHA256SUMS is missing" in refused(tmp_path)


def test_what_does_not_validate_is_refused(tmp_path: Path) -> None:
    # A type section with one byte that is no type: whole, with the right checksum, and wrong.
    write(tmp_path, b"\0asm\1\0\0\0" + b"\x01\x02\x01\x00")
    assert "is not valid Wasm" in refused(tmp_path)


@pytest.mark.parametrize("part", ["memory", "stack", "alloc", "out_ptr", "out_len", "panicking"])
def test_missing_exports_are_named(tmp_path: Path, part: str) -> None:
    write(tmp_path, module_of(**{part: ""}))
    name = "__stack_pointer" if part == "stack" else part
    message = refused(tmp_path)
    assert "lacks exports" in message
    assert name in message.split("allowed:")[0]


def test_an_export_of_another_type_is_refused(tmp_path: Path) -> None:
    write(tmp_path, module_of(alloc='(func (export "alloc") (result i32) i32.const 0)'))
    assert "['alloc']" in refused(tmp_path)


def test_a_module_with_nothing_to_call_is_refused(tmp_path: Path) -> None:
    write(tmp_path, module_of(entry=""))
    assert "has nothing to call" in refused(tmp_path)


@pytest.mark.parametrize(
    "wanted",
    [
        '(import "env" "clock" (func (result i64)))',
        '(import "chaoslab" "shell" (func (param i32)))',
        '(import "chaoslab" "fault" (func (param i64) (result i32)))',
        '(import "env" "fault" (func (param i32) (result i32)))',
    ],
)
def test_unknown_imports_are_refused(tmp_path: Path, wanted: str) -> None:
    write(tmp_path, bytes(wat2wasm("(module " + " ".join([wanted, *PARTS.values()]) + ")")))
    assert "import that is not offered" in refused(tmp_path)


def test_the_committed_modules_come_from_the_committed_sources() -> None:
    provenance_path = resource_path("wasm_targets/dist/PROVENANCE.json")
    provenance = json.loads(provenance_path.read_text("utf-8"))
    targets = provenance_path.parent.parent
    if not (targets / "ticket").is_dir():
        pytest.skip("an installed wheel carries the modules without their sources")
    files = [*(targets / "ticket").glob("Cargo.*"), *(targets / "ticket/src").rglob("*.rs")]
    found = {
        file.relative_to(targets).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }
    assert found == provenance["sources_sha256"], "rebuild with wasm_targets/build.sh"


@pytest.mark.parametrize("build", BUILDS)
def test_no_path_of_the_builder_is_in_a_module(build: str) -> None:
    module = resource_path(f"wasm_targets/dist/ticket-{build}.wasm")
    for path in ("/home/", "/root/", "/usr/", "/tmp/", str(module.parent.parent)):
        assert path.encode() not in module.read_bytes()
