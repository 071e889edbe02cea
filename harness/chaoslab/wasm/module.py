"""Finds a Wasm module, proves that it is the one that was published, and compiles it once.

A test target that is not what it seems would make every verdict about it worthless, so the file
is compared with its checksum at each load, and only the compiled code is kept: under its
checksum, in this process. The library below would also take a module in text form; that is
refused here, since text has no place where a checked binary is expected.
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wasmtime import (
    ExportType,
    FuncType,
    GlobalType,
    ImportType,
    InstancePre,
    MemoryType,
    ValType,
    WasmtimeError,
)
from wasmtime import Module as CompiledModule

from chaoslab.core.errors import UsageError
from chaoslab.core.resources import display_path, resource_path
from chaoslab.wasm.engine import engine
from chaoslab.wasm.errors import ModuleRefused
from chaoslab.wasm.host import IMPORT_MODULE, IMPORTS, linker

PAGE_BYTES: Final = 65_536
_MAGIC: Final = b"\0asm"
_CORE_VERSION: Final = b"\1\0\0\0"
_SUMS: Final = "SHA256SUMS"
_NAME: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_REBUILD: Final = "restore the file, or rebuild it with wasm_targets/build.sh"
_I32: Final = str(ValType.i32())
# Parameters and results of the functions that every guest has.
_HELPERS: Final = {"alloc": (1, 1), "out_ptr": (0, 1), "out_len": (0, 1), "panicking": (0, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A checked and compiled module. `entries` take bytes; `probes` take nothing."""

    name: str
    build: str
    sha256: str
    size_bytes: int
    memory_min_bytes: int
    entries: tuple[str, ...]
    probes: tuple[str, ...]
    code: InstancePre = field(repr=False, compare=False)


_COMPILED: dict[tuple[str, str, str], Module] = {}
_COMPILING = threading.Lock()


def load_module(name: str, build: str, /, *, directory: Path | None = None) -> Module:
    """The module `<name>-<build>.wasm`, from the packaged targets or from `directory`.

    >>> load_module("ticket", "abort").entries
    ('open_ticket',)
    """
    folder = resource_path("wasm_targets/dist") if directory is None else directory
    path = _find(folder, name, build)
    data = path.read_bytes()
    _check_form(path, data)
    digest = _check_sum(path, data)
    key = (name, build, digest)
    # Under a lock, since compiling takes many times longer than finding it compiled.
    with _COMPILING:
        if key not in _COMPILED:
            _COMPILED[key] = _compile(path, data, name=name, build=build, digest=digest)
        return _COMPILED[key]


def _find(folder: Path, name: str, build: str) -> Path:
    for what, value in (("name", name), ("build", build)):
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise UsageError(
                f"the {what} of a module is malformed",
                value=value,
                allowed="lower-case letters and digits, in parts joined by '-'",
                hint="use a name such as 'ticket' and a build such as 'abort'",
            )
    path = folder / f"{name}-{build}.wasm"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in folder.glob("*.wasm"))) or "none at all"
        raise ModuleRefused(
            f"there is no module {name} in a {build} build below {display_path(folder)}",
            value=path.name,
            allowed=there,
            hint="use one of these, or build the missing one with wasm_targets/build.sh",
        )
    return path


def _check_form(path: Path, data: bytes) -> None:
    """Refuses what is not one whole binary core module, saying which of these it is."""
    shown = display_path(path)
    if not data.startswith(_MAGIC):
        raise ModuleRefused(
            f"{shown} is not a Wasm binary",
            value=data[:16],
            allowed="a file that begins with b'\\x00asm'; the text form is not read",
            hint=_REBUILD,
        )
    if len(data) >= 8 and data[4:8] != _CORE_VERSION:
        raise ModuleRefused(
            f"{shown} is not a core module, but a component or of another Wasm version",
            value=data[4:8],
            allowed="version bytes b'\\x01\\x00\\x00\\x00'",
            hint="build it for wasm32-unknown-unknown",
        )
    if not _is_whole(data):
        raise ModuleRefused(
            f"{shown} is truncated: its last section goes on behind the end of the file",
            value=len(data),
            allowed="a whole file",
            hint=_REBUILD,
        )


def _is_whole(data: bytes) -> bool:
    """Whether the sections fill the file exactly: an id, a length in LEB128, a body, and so on."""
    at = 8
    while at < len(data):
        at += 1
        length = shift = 0
        while True:
            if at >= len(data) or shift > 28:
                return False
            byte = data[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        at += length
    return at == len(data)


def _check_sum(path: Path, data: bytes) -> str:
    sums = path.with_name(_SUMS)
    if not sums.is_file():
        raise ModuleRefused(
            f"{display_path(path)} cannot be verified, since {_SUMS} is missing beside it",
            hint=_REBUILD,
        )
    expected = ""
    for line in sums.read_text("utf-8", "replace").splitlines():
        digest, _, listed = line.partition("  ")
        if listed == path.name:
            expected = digest
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise ModuleRefused(
            f"{display_path(path)} does not match its checksum in {_SUMS}",
            value=actual,
            allowed=expected or f"no checksum at all: {path.name} is not listed",
            hint=_REBUILD,
        )
    return actual


def _compile(path: Path, data: bytes, *, name: str, build: str, digest: str) -> Module:
    shown = display_path(path)
    try:
        compiled = CompiledModule(engine(), data)
    except WasmtimeError as error:
        raise ModuleRefused(
            f"{shown} is not valid Wasm", value=str(error), hint=_REBUILD
        ) from error
    _check_imports(shown, compiled.imports)
    memory_min_bytes = _check_exports(shown, compiled.exports)
    calls = {e.name: _arity(e.type) for e in compiled.exports if e.name not in _HELPERS}
    entries = tuple(sorted(name for name, arity in calls.items() if arity == (2, 1)))
    if not entries:
        raise ModuleRefused(
            f"{shown} has nothing to call",
            value=sorted(calls),
            allowed="at least one export (i32, i32) -> i32",
            hint="export an entry that takes the address and the length of a request",
        )
    return Module(
        name=name,
        build=build,
        sha256=digest,
        size_bytes=len(data),
        memory_min_bytes=memory_min_bytes,
        entries=entries,
        probes=("panicking", *sorted(name for name, arity in calls.items() if arity == (0, 1))),
        code=linker().instantiate_pre(compiled),
    )


def _check_imports(shown: str, imports: list[ImportType]) -> None:
    for wanted in imports:
        known = wanted.module == IMPORT_MODULE and IMPORTS.get(wanted.name or "")
        if not known or _arity(wanted.type) != known:
            raise ModuleRefused(
                f"{shown} wants an import that is not offered",
                value=f"{wanted.module}.{wanted.name}",
                allowed="chaoslab.commit (4 x i32) -> i32, chaoslab.fault (i32) -> i32, "
                "chaoslab.log (i32, i32)",
                hint="build the module against these imports only",
            )


def _check_exports(shown: str, exports: list[ExportType]) -> int:
    """Refuses a module without the exports that every guest needs; gives its least memory."""
    found = {export.name: export.type for export in exports}
    memory, stack = found.get("memory"), found.get("__stack_pointer")
    missing = [name for name, arity in _HELPERS.items() if _arity(found.get(name)) != arity]
    if not isinstance(memory, MemoryType) or memory.is_64:
        missing.append("memory")
    if not isinstance(stack, GlobalType) or str(stack.content) != _I32:
        missing.append("__stack_pointer")
    if missing or not isinstance(memory, MemoryType):
        raise ModuleRefused(
            f"{shown} lacks exports that every guest needs, or has them with other types",
            value=sorted(missing),
            allowed="memory, __stack_pointer (i32), alloc (i32) -> i32, and out_ptr, out_len, "
            "panicking () -> i32",
            hint="export them; __stack_pointer needs -Clink-arg=--export=__stack_pointer",
        )
    return memory.limits.min * PAGE_BYTES


def _arity(kind: object) -> tuple[int, int] | None:
    """How many i32 go in and come out; None for what is not a function of i32 alone."""
    if not isinstance(kind, FuncType):
        return None
    takes, gives = kind.params, kind.results
    if any(str(value) != _I32 for value in (*takes, *gives)):
        return None
    return len(takes), len(gives)
