"""Mutates one module of a copied tree and runs the tests against every mutant of it.

    python part.py TREE MODULE RESULT [EVERY]

TREE holds `src/chaoslab` and `tests/`. mutmut makes the mutants: it writes all of them into one
file, and a name that is set while a test runs picks the one that counts. Starting pytest for each
of some thousand mutants would take most of the time, so here it is started once: the tests are
collected, each is run once to learn which of them enter which function and how long they take, and
then a fork of this process runs the tests of one mutant until one fails: first those that killed
another mutant a moment ago, then the quickest.

Hypothesis tests of other modules are cut to a few examples, the same in every fork: what they find
here is a gift.
"""

# ruff: noqa: T201
# mypy: disable-error-code="import-not-found, import-untyped, unused-ignore"
from __future__ import annotations

import difflib
import gc
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

EXAMPLES_MAX = 6
EXAMPLES_OWN_MAX = 150  # of the tests of this very module
# How much slower than the original a mutant may be before it counts as one that never ends.
SLOWER_MAX, PATIENCE_S = 20, 1
QUICK_S = 0.1
LEFT_OUT_MAX = 3
# These judge the golden histories, as the test of their words does, which asks for more.
TWICE = ("tests/unit/check/test_golden_histories.py",)
WRITE_EVERY = 50
KILLED, SURVIVED, TIMEOUT, UNTESTED = "killed", "survived", "timeout", "untested"


def main(tree: Path, module: str, result: Path, every: int) -> int:
    """Writes to `result` {"module", "of", "left_out", "mutants": [MUTANT, …]}, where a MUTANT has
    "name", "function", "was", "now" and "end"."""
    # Imported here, so that whoever only collects the tests need not have it.
    from mutmut.mutation.file_mutation import mutate_file_contents

    os.chdir(tree)
    sys.path[:0] = [str(tree / "src"), str(tree)]
    path = Path("src", *module.split(".")).with_suffix(".py")
    mutated = mutate_file_contents(str(path), path.read_text("utf-8"))
    path.write_text(mutated.code, "utf-8")
    loop = _Loop(module, mutated, result, every)
    options = ["tests/unit/check", "-q", "--import-mode=importlib", "--assert=plain", "--tb=line"]
    options += ["-p", "no:cacheprovider", *(f"--ignore={name}" for name in TWICE)]
    loop.switch("")
    pytest.main(options, plugins=[loop])
    if len(loop.left_out) > LEFT_OUT_MAX:
        print(f"{module}: these tests fail without any mutant: {', '.join(loop.left_out)}")
        return 1
    loop.write()
    return 0


class _Loop:
    """A pytest plugin: in place of running the tests once, runs them once per mutant."""

    def __init__(self, module: str, mutated: Any, result: Path, every: int) -> None:
        from mutmut.mutation.trampoline import set_mutant_under_test
        from mutmut.state import state

        self.switch = set_mutant_under_test
        self._state = state()
        self.rows: list[dict[str, str]] = []
        self.left_out: list[str] = []
        self._last_kill: dict[str, int] = {}
        self._result = result
        self._module = module
        self._mutated = mutated
        self._lines = mutated.code.splitlines()
        self._names = mutated.mutant_names[::every]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Cuts the property tests down."""
        for item in items:
            test: Any = getattr(item, "obj", None)
            own = getattr(test, "_hypothesis_internal_use_settings", None)
            if own is not None:
                mine = item.path.stem.split("_")[1] == self._module.rpartition(".")[2].split("_")[0]
                few = min(EXAMPLES_OWN_MAX if mine else EXAMPLES_MAX, own.max_examples)
                less = settings(
                    own, max_examples=few, derandomize=True, database=None, deadline=None
                )
                test._hypothesis_internal_use_settings = less

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """The whole work; True says that there is nothing left to do for pytest."""
        took_s = self._learn(session.items)
        gc.freeze()  # else each fork would copy every page on its first collection
        if len(self.left_out) > LEFT_OUT_MAX:
            return True
        entered = self._state.tests_by_mangled_function_name
        for name in self._names:
            tests = entered.get(f"{self._module}.{name.partition('__mutmut_')[0]}", ())
            items = [i for i in session.items if i.nodeid in tests and i.nodeid in took_s]
            items.sort(key=lambda item: self._place(item.nodeid, took_s[item.nodeid]))
            end = self._judged(f"{self._module}.{name}", items, took_s) if items else UNTESTED
            self.rows.append({"name": name, "end": end, **self._changed(name)})
            if len(self.rows) % WRITE_EVERY == 0:
                self.write()
        return True

    def write(self) -> None:
        """What is known so far."""
        found = {"module": self._module, "of": len(self._names)}
        found |= {"left_out": self.left_out, "mutants": self.rows}
        self._result.write_text(json.dumps(found, indent=1), "utf-8")

    def _learn(self, items: Sequence[pytest.Item]) -> dict[str, float]:
        """How long each test takes, and, for mutmut's state, which functions it enters.

        A test that fails although no mutant is on is left out: it reads the source text, which
        holds all mutants at once.
        """
        took_s: dict[str, float] = {}
        self._state._stats.clear()
        self.switch("stats")
        for item, following in _pairs(items):
            begun = time.process_time()
            if not _passes(item, following):
                self.left_out.append(item.nodeid)
                continue
            took_s[item.nodeid] = time.process_time() - begun
            for function in self._state._stats:
                self._state.tests_by_mangled_function_name[function].add(item.nodeid)
            self._state._stats.clear()
        self.switch("")
        return took_s

    def _place(self, test: str, took_s: float) -> tuple[float, float]:
        """What killed the last mutant is likely to kill the next, which is mostly beside it; but a
        slow test only comes after all quick ones."""
        recent = self._last_kill.get(test, 0) if took_s < QUICK_S else 0
        return -recent, took_s

    def _judged(
        self, mutant: str, items: Sequence[pytest.Item], took_s: Mapping[str, float]
    ) -> str:
        ear, mouth = os.pipe()
        child = os.fork()
        if child == 0:
            self.switch(mutant)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
            for item, following in _pairs(items):
                limit_s = PATIENCE_S + SLOWER_MAX * took_s[item.nodeid]
                signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
                if not _passes(item, following):
                    os.write(mouth, item.nodeid.encode())
                    os._exit(1)
            os._exit(0)
        os.close(mouth)
        with os.fdopen(ear, encoding="utf-8") as said:
            killer = said.read()
        _, status = os.waitpid(child, 0)
        if killer:
            self._last_kill[killer] = len(self.rows)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGVTALRM:
            return TIMEOUT
        return SURVIVED if status == 0 else KILLED

    def _changed(self, name: str) -> dict[str, str]:
        """What a mutant changes, as text that does not move when lines are added above."""
        function = name.partition("__mutmut_")[0]
        before, after = self._body(f"{function}__mutmut_orig"), self._body(name)
        changes = [
            line
            for line in difflib.ndiff(before, after)
            if line[:2] in ("- ", "+ ") and "__mutmut_" not in line
        ]
        was = [line[2:].strip() for line in changes if line[0] == "-"]
        now = [line[2:].strip() for line in changes if line[0] == "+"]
        return {"function": _plain(function), "was": " ".join(was), "now": " ".join(now)}

    def _body(self, name: str) -> list[str]:
        span = self._mutated.line_span_by_function_name[name]
        lines: list[str] = self._lines[span.start - 1 : span.end]
        return lines


def _pairs(items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True)


def _passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    reports = runtestprotocol(item, log=False, nextitem=following)
    return not any(report.failed for report in reports)


def _plain(mangled: str) -> str:
    """mutmut's name of a function as a person writes it: `Class.method` or `function`."""
    return mangled[2:] if mangled.startswith("x_") else mangled[1:].strip("ǁ").replace("ǁ", ".")


if __name__ == "__main__":
    every = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), every))
