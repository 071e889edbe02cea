"""The house style that a machine can hold: sizes, one door to the clock, docstrings, no traces."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "harness" / "chaoslab"
FILE_LINES_MAX, FUNCTION_LINES_MAX = 500, 70

# Where the wall clock, sockets and threads may be touched (DESIGN, "The house").
REAL_WORLD = (
    "core.clock",
    "backends",
    "links",
    "regions",
    "serve",
    "adapters",
    "wasm",
    "run.workers",
    "explore.executors",
    "cli.progress",
)
REAL_MODULES = {
    "time",
    "socket",
    "threading",
    "_thread",
    "select",
    "selectors",
    "ssl",
    "http.client",
    "http.server",
    "urllib.request",
    "datetime",
    "sched",
    "queue",
    "concurrent.futures.thread",
}
PAGE_PARTS = sorted(
    p
    for p in (PACKAGE / "report" / "page").rglob("*")
    if p.suffix in (".js", ".css", ".html") and p.is_file()
)
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\|\s*safe\b"
    r"|setAttribute\(\s*[\"']on|\son[a-z]+=[\"']"
)
RANDOM_MODULES = {"random", "secrets"}
# The seed's streams, the guard that shuts all other doors, the generator of an agent in a process
# of its own, and the tokens of an execution and of its regions, which nobody may guess.
RANDOM_DOORS = (
    "core.rng",
    "backends.sim.guard",
    "adapters.remote",
    "backends.process.execution",
    "backends.process.process_homes",
)
MACHINE = re.compile(
    r"(?<![\w.~<{}$-])/(?:home|root|Users|work|var/folders)/[\w.]+|[A-Z]:\\Users\\"
)


def sources(*folders: str) -> list[Path]:
    """All Python files below some folders of the repository."""
    found = [p for f in folders for p in sorted((ROOT / f).rglob("*.py")) if p.stat().st_size]
    return [p for p in found if not {"__pycache__", ".venv"} & {*p.relative_to(ROOT).parts}]


CODE = sources("harness")
ALL = sources("harness", "tests", "fixtures", "docs", ".ci", "wasm_targets")


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file, parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    """The dotted name of a module below the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def place(path: Path, node: ast.AST) -> str:
    """Where a finding is, as one would click on it."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def may_touch_the_world(path: Path) -> bool:
    """Whether a module is one of those that the design names."""
    name = name_of(path)
    return any(name == one or name.startswith(one + ".") for one in REAL_WORLD)


def imports(path: Path) -> Iterator[tuple[ast.AST, str, str]]:
    """Every import as (node, module, name)."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name, ""
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield node, node.module, alias.name


def test_there_is_something_to_look_at() -> None:
    assert len(CODE) > 50 and len(ALL) > len(CODE) + 20


def test_no_file_is_longer_than_one_can_hold_in_mind() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for p in [*ALL, *PAGE_PARTS]
        if (n := len(p.read_text(encoding="utf-8").splitlines())) > FILE_LINES_MAX
    }
    assert PAGE_PARTS and long == {}


def test_the_page_makes_text_nodes_and_never_markup() -> None:
    """What an agent has put into a history can then be nothing but text."""
    found = [
        f"{p.name}: {m.group()}"
        for p in PAGE_PARTS
        if p.suffix in (".js", ".html")
        for m in MARKUP.finditer(p.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{place(path, node)} {node.name}: {lines} lines"
        for path in ALL
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_every_public_module_says_what_it_is_for() -> None:
    bare = [
        str(p.relative_to(ROOT))
        for p in CODE
        if not p.stem.startswith("_") or p.stem in ("__init__", "__main__")
        if not ast.get_docstring(tree(p))
    ]
    assert bare == []


def test_no_package_is_without_its_first_page() -> None:
    empty = [str(p.relative_to(ROOT)) for p in PACKAGE.rglob("__init__.py") if not p.stat().st_size]
    assert empty == []


@pytest.mark.parametrize("forbidden", ["print", "hash", "input", "breakpoint"])
def test_no_code_calls(forbidden: str) -> None:
    found = [
        place(path, node)
        for path in CODE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == forbidden
    ]
    assert found == []


def test_the_real_world_is_touched_only_where_the_design_says() -> None:
    found = [
        f"{place(path, node)} imports {module}"
        for path in CODE
        if not may_touch_the_world(path)
        for node, module, _ in imports(path)
        if module in REAL_MODULES
    ]
    assert found == []


def test_randomness_has_one_door() -> None:
    """Only the type `Random` may be imported elsewhere, to speak of generators, not to make one."""
    found = []
    for path in CODE:
        if name_of(path) in RANDOM_DOORS:
            continue
        for node, module, name in imports(path):
            if module in RANDOM_MODULES and name != "Random":
                found.append(f"{place(path, node)} imports {module} {name}")
            if module == "uuid" and name not in ("UUID", "uuid5"):
                found.append(f"{place(path, node)} imports uuid")
        for call in ast.walk(tree(path)):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                if call.func.id == "Random":
                    found.append(f"{place(path, call)} makes a Random")
    assert found == []


def test_the_order_of_a_set_is_never_written_down() -> None:
    """A set of strings has another order in every interpreter; sort it before it is looped over."""
    found = []
    for path in CODE:
        for node in ast.walk(tree(path)):
            loops = [node.iter] if isinstance(node, (ast.For, ast.AsyncFor)) else []
            loops += [g.iter for g in getattr(node, "generators", [])]
            if isinstance(node, ast.SetComp):
                continue
            found += [
                place(path, it)
                for it in loops
                if isinstance(it, (ast.Set, ast.SetComp))
                or (
                    isinstance(it, ast.Call)
                    and isinstance(it.func, ast.Name)
                    and it.func.id in ("set", "frozenset")
                )
            ]
    assert found == []


TEXTS = {".py", ".toml", ".md", ".rs", ".json", ".jsonl", ".yml", ".yaml", ".sh", ".txt", ""}
TEXTS |= {".js", ".mjs", ".css", ".html"}


def test_no_file_names_a_machine() -> None:
    folders = ("harness", "tests", "fixtures", "scenarios", "docs", "reports", "wasm_targets")
    files = [p for f in folders for p in (ROOT / f).rglob("*")]
    files += [p for p in ROOT.glob("*") if p.suffix in (".md", ".toml") or p.name == "Makefile"]
    files += list((ROOT / ".ci").glob("*"))
    found = []
    for path in files:
        skipped = {"target", "__pycache__", "node_modules", ".venv"} & {*path.parts}
        # What a run of an example leaves beside it is no part of the product.
        skipped |= {"reports"} & {*path.relative_to(ROOT).parts[1:]}
        if skipped or not path.is_file() or path.suffix not in TEXTS or path == Path(__file__):
            continue
        if path.is_relative_to(ROOT / "reports") and not path.is_relative_to(
            ROOT / "reports" / "sample"
        ):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {m.group()}" for m in MACHINE.finditer(text)]
    assert found == []


def test_no_public_class_is_made_to_be_inherited_except_errors_and_protocols() -> None:
    """Extension is by small protocols and plain functions."""
    found = [
        f"{place(path, node)} {node.name}"
        for path in CODE
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(b, ast.Name) and b.id in ("ABC", "ABCMeta") for b in node.bases)
    ]
    assert found == []


def test_every_dataclass_is_frozen_or_private_or_says_that_it_changes() -> None:
    """Values of the public API are frozen, slotted and keyword-only."""
    public = (
        "world/api.py",
        "scenario/model.py",
        "contract/model.py",
        "faults/model.py",
        "history/op.py",
        "check/model.py",
        "backends/api.py",
    )
    wanted = {"frozen", "slots", "kw_only"}
    found = []
    for name in public:
        path = PACKAGE / name
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Name) and mark.id == "dataclass":
                    found.append(f"{place(path, node)} {node.name}")
                if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "dataclass":
                    if {k.arg for k in mark.keywords} & wanted != wanted:
                        found.append(f"{place(path, node)} {node.name}")
    assert found == []
