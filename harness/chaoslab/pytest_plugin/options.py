"""What a team asks for: options of the command line, of the ini file, and of the marker.

A path on the command line counts from where pytest was started, one in the ini file from the root
folder, where that file is. The lab itself always works in the root folder, so both are written as
seen from there: a run is found, and replayed, wherever pytest was started.

>>> seed_of("7")
7
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

_AGENT = "run scenarios against this agent: file.py:factory, module:factory or chaoslab.toml"
_SCENARIOS = "a .toml file, a folder, a family or family/name; repeatable; default: matrix"
_CONTRACT = "a contract; default: the one beside the agent, else chaoslab.toml"
_SEED = "instead of the seeds of the scenarios; repeatable"
_REPORTS = "where results go; default: reports"
_PRESETS = ("agent", "scenario", "seeds", "contract")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What holds in this session, as xdist can carry it to another process. Paths are as seen from
    `root`, and `elsewhere` leads there where pytest was not started in it; "" is none. `collect`:
    scenarios are tests."""

    root: str
    elsewhere: str
    agent: str
    contract: str
    scenarios: tuple[str, ...]
    seeds: tuple[int, ...]
    reports: str
    collect: bool


_SETTLED = pytest.StashKey[Options]()
_FOR_WORKERS = "chaoslab"


def add(parser: pytest.Parser, /) -> None:
    """Adds all options, each to the command line and to the ini file."""
    group = parser.getgroup("chaoslab", "crash tests of AI agents")
    group.addoption("--chaos-agent", metavar="AGENT", help=_AGENT)
    group.addoption("--chaos-contract", metavar="FILE", help=_CONTRACT)
    group.addoption("--chaos-scenarios", metavar="NAME", action="append", help=_SCENARIOS)
    group.addoption("--chaos-seed", metavar="N", action="append", type=_seed, help=_SEED)
    group.addoption("--chaos-reports", metavar="FOLDER", help=_REPORTS)
    parser.addini("chaos_agent", f"{_AGENT}, where no test file is named", default="")
    parser.addini("chaos_contract", _CONTRACT, default="")
    parser.addini("chaos_scenarios", _SCENARIOS, type="args", default=["matrix"])
    parser.addini("chaos_seed", _SEED, type="args", default=[])
    parser.addini("chaos_reports", _REPORTS, default="reports")


def seed_of(text: object, /) -> int:
    """A seed. ValueError says what is allowed."""
    try:
        value = int(str(text))
    except ValueError:
        value = -1
    if not 0 <= value < 2**63:
        raise ValueError(f"a seed: got {text!r}; allowed: an integer of 0 or more")
    return value


def _seed(text: str) -> int:
    try:
        return seed_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def settle(config: pytest.Config, /) -> Options:
    """Settles once what holds. A worker of xdist gets what was settled in the process above it,
    which alone knows what was typed."""
    above = getattr(config, "workerinput", {}).get(_FOR_WORKERS)
    found = config.stash[_SETTLED] = Options(**above) if above else _read(config)
    return found


def settled(config: pytest.Config, /) -> Options:
    """What was settled when the session began."""
    return config.stash[_SETTLED]


def hand_down(config: pytest.Config, workerinput: dict[str, Any], /) -> None:
    """Gives a worker of xdist what was settled here."""
    workerinput[_FOR_WORKERS] = asdict(settled(config))


def _read(config: pytest.Config) -> Options:
    said, root, here = config.option, config.rootpath, config.invocation_params.dir
    ini = config.getini

    def path_of(typed: str | None, name: str) -> str:
        return located(typed, [here, root], root) if typed else located(ini(name), [root], root)

    typed = said.chaos_scenarios
    folders = [here, root] if typed else [root]
    try:
        seeds = said.chaos_seed or [seed_of(n) for n in ini("chaos_seed")]
    except ValueError as error:
        raise pytest.UsageError(f"chaos_seed: {error}") from None
    agent = path_of(said.chaos_agent, "chaos_agent")
    if typed and not agent:
        raise pytest.UsageError(
            f"--chaos-scenarios={typed[0]}: no agent is named; next: --chaos-agent=file.py:factory"
        )
    # An agent in the ini file is for whoever runs all tests. Who names a test file wants that one.
    all_tests = config.args_source is not pytest.Config.ArgsSource.ARGS
    reports = said.chaos_reports
    return Options(
        root=str(root),
        elsewhere="" if here == root else os.path.relpath(root, here),
        agent=agent,
        contract=path_of(said.chaos_contract, "chaos_contract"),
        scenarios=tuple(located(n, folders, root) for n in typed or ini("chaos_scenarios")),
        seeds=tuple(seeds),
        reports=seen_from(root, here / reports if reports else root / ini("chaos_reports")),
        collect=bool(agent and (said.chaos_agent or typed or all_tests)),
    )


def located(name: str, folders: Iterable[Path], root: Path, /) -> str:
    """A file, or a folder with a slash in its name, as seen from `root`, found in the first of
    some folders that has it. Anything else, such as a module or a packaged scenario, as it is.

    >>> located("os:getcwd", [Path(".")], Path("."))
    'os:getcwd'
    """
    file, colon, factory = name.rpartition(":") if ":" in name else (name, "", "")
    for folder in folders:
        found = folder / file
        if found.is_file() or ("/" in file and found.is_dir()):
            return seen_from(root, found) + colon + factory
    return name


def seen_from(root: Path, path: Path, /) -> str:
    """A path relative to `root` where it is below, else absolute.

    >>> seen_from(Path("/a"), Path("/a/x/../b")), seen_from(Path("/a"), Path("/c"))
    ('b', '/c')
    """
    plain = Path(os.path.normpath(path))
    return plain.relative_to(root).as_posix() if plain.is_relative_to(root) else str(plain)


def presets(node: pytest.Item | Any, /) -> Mapping[str, Any]:
    """What the `chaos` markers of a test say together, the nearest one last."""
    found: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers("chaos"))):
        odd = [*map(repr, mark.args), *(name for name in mark.kwargs if name not in _PRESETS)]
        if odd:
            pytest.fail(
                f"the marker chaos does not know {', '.join(odd)}; allowed: "
                + ", ".join(f"{name}=…" for name in _PRESETS),
                pytrace=False,
            )
        found |= mark.kwargs
    if "seeds" in found:
        found["seeds"] = _seeds_of(found["seeds"])
    return found


def _seeds_of(given: object) -> list[int]:
    try:
        seeds = [seed_of(n) for n in given] if isinstance(given, Iterable) else []
    except ValueError as error:
        pytest.fail(f"the marker chaos, seeds: {error}", pytrace=False)
    if not seeds:
        pytest.fail(
            f"the marker chaos, seeds: got {given!r}; allowed: a list of integers of 0 or more",
            pytrace=False,
        )
    return seeds
