"""Mutates one module of a copied tree and runs the tests against every mutant of it.

    python part.py TREE MODULE RESULT

TREE holds `src/chaoslab` and `tests/`. mutmut makes the mutants: it writes all of them into one
file, and a name that is set while a test runs picks the one that counts. Starting pytest for each
of some thousand mutants would take most of the time, so here it is started once: the tests are
collected, each is run once to learn which of them enter which function and how long they take, and
then a fork of this process runs the few tests of one mutant, the quickest first, until one fails.

Hypothesis tests are cut to a few examples, the same in every fork: what they find here is a gift.
"""

from __future__ import annotations

import difflib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings
from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

EXAMPLES_MAX = 10
# How much slower than the original a mutant may be before it counts as one that never ends.
SLOWER_MAX, PATIENCE_S = 20, 3
LEFT_OUT_MAX = 3
KILLED, SURVIVED, TIMEOUT, UNTESTED = "killed", "survived", "timeout", "untested"


def main(tree: Path, module: str, result: Path) -> int:
    """Writes {"module", "left_out", "mutants": [{"name", "function", "was", "now", "end"}, …]}."""
    os.chdir(tree)
    sys.path[:0] = [str(tree / "src"), str(tree)]
    path = Path("src", *module.split(".")).with_suffix(".py")
    mutated = mutate_file_contents(str(path), path.read_text("utf-8"))
    path.write_text(mutated.code, "utf-8")
    loop = _Loop(module, mutated)
    options = ["tests/unit/check", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    set_mutant_under_test("")
    pytest.main(options, plugins=[loop])
    if len(loop.left_out) > LEFT_OUT_MAX:
        print(f"{module}: these tests fail without any mutant: {', '.join(loop.left_out)}")
        return 1
    found = {"module": module, "left_out": loop.left_out, "mutants": loop.rows}
    result.write_text(json.dumps(found, indent=1), "utf-8")
    return 0


class _Loop:
    """A pytest plugin: in place of running the tests once, runs them once per mutant."""

    def __init__(self, module: str, mutated: MutatedFile) -> None:
        self.rows: list[dict[str, str]] = []
        self.left_out: list[str] = []
        self._module = module
        self._mutated = mutated
        self._lines = mutated.code.splitlines()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Cuts the property tests down."""
        for item in items:
            test = getattr(item, "obj", None)
            own = getattr(test, "_hypothesis_internal_use_settings", None)
            if own is not None:
                few = min(EXAMPLES_MAX, own.max_examples)
                setattr(
                    test,
                    "_hypothesis_internal_use_settings",
                    settings(own, max_examples=few, derandomize=True, database=None, deadline=None),
                )

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """The whole work; True says that there is nothing left to do for pytest."""
        took_s = self._learn(session.items)
        if len(self.left_out) > LEFT_OUT_MAX:
            return True
        entered = state().tests_by_mangled_function_name
        for name in self._mutated.mutant_names:
            tests = entered.get(f"{self._module}.{name.partition('__mutmut_')[0]}", ())
            items = [i for i in session.items if i.nodeid in tests and i.nodeid in took_s]
            items.sort(key=lambda item: took_s[item.nodeid])
            end = self._judged(f"{self._module}.{name}", items, took_s) if items else UNTESTED
            self.rows.append({"name": name, "end": end, **self._changed(name)})
        return True

    def _learn(self, items: Sequence[pytest.Item]) -> dict[str, float]:
        """How long each test takes, and, for mutmut's state, which functions it enters.

        A test that fails although no mutant is on is left out: it reads the source text, which
        holds all mutants at once.
        """
        took_s: dict[str, float] = {}
        state()._stats.clear()
        set_mutant_under_test("stats")
        for item, following in _pairs(items):
            begun = time.process_time()
            if not _passes(item, following):
                self.left_out.append(item.nodeid)
                continue
            took_s[item.nodeid] = time.process_time() - begun
            for function in state()._stats:
                state().tests_by_mangled_function_name[function].add(item.nodeid)
            state()._stats.clear()
        set_mutant_under_test("")
        return took_s

    def _judged(
        self, mutant: str, items: Sequence[pytest.Item], took_s: Mapping[str, float]
    ) -> str:
        child = os.fork()
        if child == 0:
            set_mutant_under_test(mutant)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
            for item, following in _pairs(items):
                limit_s = PATIENCE_S + SLOWER_MAX * took_s[item.nodeid]
                signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
                if not _passes(item, following):
                    os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
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
        return self._lines[span.start - 1 : span.end]


def _pairs(items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True)


def _passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    reports = runtestprotocol(item, log=False, nextitem=following)
    return not any(report.failed for report in reports)


def _plain(mangled: str) -> str:
    """mutmut's name of a function as a person writes it: `Class.method` or `function`."""
    return mangled[2:] if mangled.startswith("x_") else mangled[1:].strip("ǁ").replace("ǁ", ".")


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
