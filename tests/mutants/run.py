"""`make mutants`: is every line of the checks held by a test?

    python tests/mutants/run.py [MODULE …] [--every N] [--again] [--list]

A mutant is a check with one small mistake in it. Where all tests pass in spite of it, either a
promise has no test, or the mistake changes nothing that anybody could see; `explained.toml` says
which ones do not, and why, one by one. The score is killed / (all - explained); below 90% the exit
code is 1.

mutmut takes a module's name from its path, and knows `src/` only, so each module is mutated in a
copy of the tree in which `harness/` is called that. What was tried is not tried again until a file
changes on which it rests (`--again` does). Two modules at a time. All of them take an hour or more;
`--every 10` tries each tenth mutant only, and says so.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHECKS = ROOT / "harness" / "chaoslab" / "check"
RESULTS = ROOT / "build" / "mutants"
# What the tests of the checks need of the tree, and where mutmut wants it.
COPIED = {
    "harness/chaoslab": "src/chaoslab",
    "tests/unit/check": "tests/unit/check",
    "fixtures": "fixtures",
    "scenarios": "scenarios",
    "wasm_targets/dist": "wasm_targets/dist",
    "docs": "docs",
}
# Tables of texts: a test holds that each is there, a person reads what it says.
LEFT_OUT = ("__init__", "texts")
SCORE_MIN = 90
AT_ONCE = 2

_Row = dict[str, str]


def modules() -> list[str]:
    """The modules whose mutants are made."""
    names = sorted(path.stem for path in CHECKS.glob("*.py"))
    return [name for name in names if not name.startswith(LEFT_OUT)]


def fingerprint() -> str:
    """Of everything that a result rests on."""
    found = hashlib.blake2b(digest_size=16)
    for place in (*COPIED, "tests/mutants/part.py", "tests/mutants/requirements.txt"):
        start = ROOT / place
        for path in sorted(start.rglob("*")) if start.is_dir() else [start]:
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def tried(name: str, state: str, *, every: int, again: bool) -> dict[str, Any]:
    """The mutants of one module and what became of them."""
    state += f"/{every}"
    kept = RESULTS / f"{name}.json"
    if kept.exists() and not again:
        known: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        if known.get("state") == state:
            return known
    RESULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        tree = Path(place)
        for source, target in COPIED.items():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, tree / target, ignore=ignored)
        shutil.copy(ROOT / "tests" / "__init__.py", tree / "tests")
        result = tree / "result.json"
        command = [sys.executable, str(HERE / "part.py"), place, f"chaoslab.check.{name}"]
        command += [str(result), str(every)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name}: no mutant could be tried\n{done.stdout}{done.stderr}")
        found: dict[str, Any] = json.loads(result.read_text("utf-8"))
    kept.write_text(json.dumps(found | {"state": state}, indent=1), "utf-8")
    return found


def explained() -> dict[tuple[str, str, str, str], str]:
    """(module, function, was, now) -> why nobody could see the difference."""
    raw = tomllib.loads((HERE / "explained.toml").read_text("utf-8"))
    return {
        (one["module"], one["function"], one["was"], one["now"]): one["why"]
        for one in raw.get("explained", ())
    }


def survivors(found: Mapping[str, Any]) -> Iterator[_Row]:
    """What no test noticed."""
    yield from (row for row in found["mutants"] if row["end"] in ("survived", "untested"))


def key_of(name: str, row: Mapping[str, str]) -> tuple[str, str, str, str]:
    """By what a mutant is explained: its number would move with every change above it."""
    return name, row["function"], row["was"], row["now"]


def main() -> int:
    """Prints a line a module, the survivors, and the score."""
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("module", nargs="*", help="such as effects; all where none is named")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth mutant only")
    parser.add_argument("--again", action="store_true", help="also where nothing has changed")
    parser.add_argument("--list", action="store_true", help="show the explained ones as well")
    args = parser.parse_args()
    names = args.module or modules()
    unknown = sorted(set(names) - set(modules()))
    if unknown:
        parser.error(f"no module {unknown[0]!r}; allowed: {', '.join(modules())}")
    state, known = fingerprint(), explained()
    seen: set[tuple[str, str, str, str]] = set()
    total: Counter[str] = Counter()
    print(
        f"{'module':<22}{'mutants':>8}{'killed':>8}{'timeout':>8}{'explained':>10}{'survived':>9}"
    )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = pool.map(lambda n: tried(n, state, every=args.every, again=args.again), names)
        for name, found in zip(names, results, strict=True):
            count = Counter(row["end"] for row in found["mutants"])
            left = list(survivors(found))
            plain = [row for row in left if key_of(name, row) in known]
            open_ = [row for row in left if key_of(name, row) not in known]
            seen |= {key_of(name, row) for row in plain}
            line = Counter(
                mutants=len(found["mutants"]),
                killed=count["killed"],
                timeout=count["timeout"],
                explained=len(plain),
                survived=len(open_),
            )
            total += line
            print(_line(name, line), flush=True)
            for row in open_:
                print(
                    f"    {row['function']}: {row['was']}\n        -> {row['now'] or '(nothing)'}"
                )
            for row in plain if args.list else ():
                print(f"    ({row['function']}: {row['now']}: {known[key_of(name, row)]})")
    stale = {key for key in known if key[0] in names} - seen if args.every == 1 else set()
    for key in sorted(stale):
        print(f"explained, but no such survivor: {' | '.join(key)}")
    print(_line("all", total))
    judged = total["mutants"] - total["explained"]
    score = 100 * (total["killed"] + total["timeout"]) / max(judged, 1)
    share = f", each {args.every}th mutant" if args.every > 1 else ""
    print(f"score: {score:.1f}% of {judged}{share} (at least {SCORE_MIN}% is asked for)")
    return int(score < SCORE_MIN or bool(stale))


def _line(name: str, count: Mapping[str, int]) -> str:
    return (
        f"{name:<22}{count['mutants']:>8}{count['killed']:>8}{count['timeout']:>8}"
        f"{count['explained']:>10}{count['survived']:>9}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
