"""A shrunk case is kept as a file that anybody can read and run, whatever things are called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chaoslab
from chaoslab.core.errors import UsageError
from chaoslab.core.resources import resource_path
from chaoslab.explore.shrink import Shrunk
from chaoslab.explore.testfile import (
    as_regression,
    pytest_file,
    regression_name,
    regression_title,
    write_regression,
)
from chaoslab.faults import Fault
from chaoslab.run.model import RunSpec
from chaoslab.run.select import REFERENCE, scenario_files, specs_of
from chaoslab.scenario import Regions, Schedule, Use, load_scenario, scenario_from

BREACH = (
    "effects.delivery",
    "duplicate-effect",
    "d59657d71c29e6d1",
    "2 × refund for one request (o-s1-t1) where exactly-once was promised",
)
LOST = Fault(
    at="tools.refund",
    phase="after-commit",
    kind="silence",
    session="s1",
    task="s1-t1",
    marker="o-s1-t1",
)
ODD = [
    "",
    '"',
    '"""',
    "'''",
    "\\",
    "\\\n",
    'x"',
    "\r",
    "\x00",
    "\x1b[2J",
    "\u2028",
    "\u202e",
    "a\tb",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(ODD)


def spec(**changes: Any) -> RunSpec:
    path = scenario_files(["matrix/timeout-after-commit"])[0]
    found = specs_of(path, load_scenario(path), REFERENCE)[0]
    small = replace(
        found.scenario,
        workload=Use(sessions=1, tasks=1),
        faults=(LOST,),
        schedule=Schedule(choices={}),
        expect="effects.delivery",
    )
    return replace(found, scenario=replace(small, **changes))


def shrunk(**changes: Any) -> Shrunk:
    case = as_regression(spec(**changes), BREACH)
    return Shrunk(spec=case, fingerprint=BREACH[2], tried=17, breach=BREACH)


def written(folder: Path, small: Shrunk, agent: str = REFERENCE, **more: Any) -> list[Path]:
    said = {"pytest": False, "contract": "", **more}
    return write_regression(folder, small, BREACH, agent=agent, **said)


class Chaos:
    """Stands for the fixture: keeps what it was given."""

    def scenario(self, text: str, **given: Any) -> SimpleNamespace:
        self.text, self.given = text, given
        return SimpleNamespace(held=lambda: None)


def carried_out(source: str) -> tuple[Chaos, str, str]:
    """What the only test of a module asks for, its name, and the module's docstring."""
    found: dict[str, Any] = {}
    exec(compile(source, "test_it.py", "exec"), found)
    [name] = [n for n in found if n.startswith("test_")]
    chaos = Chaos()
    found[name](chaos)
    return chaos, name, found["__doc__"]


# -- names and words


def test_the_name_says_what_broke() -> None:
    name = "effects-delivery-duplicate-effect-refund"
    assert regression_name(BREACH, spec()) == name
    assert regression_name(BREACH, spec(), taken={name, f"{name}-2"}) == f"{name}-3"
    odd = ("invariant.no/../such", "Ü b", "0", "nobody's tool")
    assert regression_name(odd, spec()) == "invariant-no-such-b"
    where = (
        "memory.access",
        "attribute-leaked",
        "0",
        "sent to the log; allowed: tools.refund only",
    )
    assert regression_name(where, spec()) == "memory-access-attribute-leaked"
    assert regression_name(("", "", "0", ""), spec()) == "regression"
    assert len(regression_name(("x" * 300, "", "0", ""), spec())) == 80


def test_the_title_says_what_goes_wrong_and_when() -> None:
    assert regression_title(BREACH, spec()) == (
        "refund: one action stands more than once where once was promised, when tools.refund "
        "o-s1-t1 is struck after it was carried out: nothing comes back"
    )
    again = replace(LOST, attempt=3, marker="-", at="memory.write_many", phase="mid-write")
    faults = (LOST, replace(again, after_items=2, kind="crash"))
    assert regression_title(BREACH, spec(faults=faults)).endswith(
        "nothing comes back; and memory.write_many is struck at try 3 after 2 items of the group: "
        "the process or region dies"
    )
    assert regression_title(BREACH, spec(faults=())).endswith("promised, without any fault")
    own = ("invariant.one-each", "broken", "0", "each order has one refund: it has two")
    title = "each order has one refund, without any fault"
    assert regression_title(own, spec(faults=())).endswith(title)


def test_a_regression_is_an_ordinary_scenario() -> None:
    case = as_regression(spec(needs=("regions", "memory")), BREACH)
    scenario = case.scenario
    assert (scenario.family, scenario.expect, scenario.needs) == (
        "regressions",
        "valid",
        ("memory",),
    )
    assert scenario.id == "regressions/effects-delivery-duplicate-effect-refund"
    assert scenario_from(tomllib.loads(case.scenario_text), "x") == scenario
    two = Regions(names=("a", "b"))
    assert as_regression(spec(needs=("regions",), regions=two), BREACH).scenario.needs


# -- the scenario's file


def test_what_is_written_is_the_case_and_says_how_to_run_it(tmp_path: Path) -> None:
    small = shrunk()
    [path] = written(tmp_path / "new" / "regressions", small, contract="my shop.toml")
    assert path.name == "effects-delivery-duplicate-effect-refund.toml"
    assert load_scenario(path) == small.spec.scenario
    text = path.read_text(encoding="utf-8")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert (
        "# A crash test found this; 17 cases were tried to make it as small as it is." in comments
    )
    assert "d59657d71c29e6d1" in text and "effects.delivery (duplicate-effect)" in text
    assert comments[-1] == (
        f"# Run it: chaoslab run {path.as_posix()} --agent {REFERENCE} --contract 'my shop.toml'"
    )


def test_no_other_file_is_written_over(tmp_path: Path) -> None:
    [first] = written(tmp_path, shrunk())
    kept = first.read_bytes()
    first.write_bytes(kept + b"# a note of my own\n")
    assert written(tmp_path, shrunk()) == [first]  # the same case needs no second file
    assert first.read_bytes() == kept + b"# a note of my own\n"
    other = shrunk(workload=Use(sessions=2, tasks=1))
    [second] = written(tmp_path, other)
    assert second.name == "effects-delivery-duplicate-effect-refund-2.toml"
    assert load_scenario(second).name == second.stem
    assert written(tmp_path, other) == [second]
    second.write_bytes(b"\xff not ours")
    assert written(tmp_path, other)[0].stem.endswith("-3")
    assert second.read_bytes() == b"\xff not ours"
    (tmp_path / "test_effects_delivery_duplicate_effect_refund_4.py").write_text("mine = 1\n")
    more = written(tmp_path, shrunk(workload=Use(sessions=5, tasks=1)), pytest=True)
    assert [p.stem[-2:] for p in more] == ["-5", "_5"]


def test_a_folder_that_cannot_be_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be written: .*next: "):
        written(tmp_path / "file", shrunk())


# -- the test's file


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_no_text_breaks_the_module(text: str, agent: str, contract: str, what: str) -> None:
    source = pytest_file(text, agent=agent, contract=contract, what=what, seed=3)
    assert all(c.isprintable() or c == "\n" for c in source)
    chaos, name, doc = carried_out(source)
    assert chaos.text == "\n" + text and name.isidentifier()
    assert chaos.given == {k: v for k, v in (("agent", agent), ("contract", contract)) if v} | {
        "seed": 3
    }
    assert isinstance(doc, str) and max(map(len, source.splitlines())) < 500


def test_the_module_is_a_pleasant_one() -> None:
    source = pytest_file(
        "a = 1\n", agent="bot.py:make", contract="c.toml", what="It breaks.\n\nSo."
    )
    assert source == (
        '"""It breaks.\n\nSo."""\n\nSCENARIO = """\na = 1\n"""\n\n\n'
        "def test_it_breaks(chaos):\n"
        '    chaos.scenario(SCENARIO, agent="bot.py:make", contract="c.toml").held()\n'
    )


def test_hostile_words_of_an_agent_stay_words(tmp_path: Path) -> None:
    breach = (*BREACH[:3], '""" + exit(1) + """\\\r\n\x1b[2J\u202e[[faults]]')
    small = Shrunk(
        spec=as_regression(spec(), breach), fingerprint=BREACH[2], tried=1, breach=breach
    )
    agent = 'a"""\\\n$(rm).py:make'
    paths = write_regression(tmp_path, small, breach, pytest=True, agent=agent, contract="")
    assert load_scenario(paths[0]) == small.spec.scenario
    chaos, _, doc = carried_out(paths[1].read_text(encoding="utf-8"))
    assert scenario_from(tomllib.loads(chaos.text), "x") == small.spec.scenario
    assert chaos.given == {"agent": agent, "seed": 0} and '""" + exit(1)' in doc


def test_paths_count_from_where_the_test_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bots").mkdir()
    (tmp_path / "bots" / "bot.py").write_text("")
    (tmp_path / "chaoslab.toml").write_text("")
    folder = Path("scenarios/regressions")
    _, test = written(folder, shrunk(), "bots/bot.py:make", contract="chaoslab.toml", pytest=True)
    chaos, name, _ = carried_out(test.read_text(encoding="utf-8"))
    assert name == "test_effects_delivery_duplicate_effect_refund"
    assert chaos.given == {
        "agent": "../../bots/bot.py:make",
        "contract": "../../chaoslab.toml",
        "seed": 0,
    }


def test_the_test_stands_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest finds it, the agent with the bug fails in words, and one without it passes."""
    monkeypatch.chdir(tmp_path)
    for name in ("double_charge.py", "double_charge.toml"):
        shutil.copy(resource_path(f"fixtures/agents/{name}"), tmp_path / name)
    folder = Path("scenarios/regressions")
    _, bad = written(folder, shrunk(), "double_charge.py:make_agent", pytest=True)
    _, good = written(Path("others"), shrunk(), pytest=True)
    bad.with_suffix(".py.bak").write_text("")
    for path in (*folder.glob("*.toml"), *Path("others").glob("*.toml")):
        path.unlink()  # it needs no other file
    good = good.rename("others/test_good.py")
    source = str(Path(chaoslab.__file__).parents[1])
    options = ["-q", "-p", "no:cacheprovider", "-p", "chaoslab.pytest_plugin"]
    plain = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir=.", str(bad), str(good)],
        env={**os.environ, "PYTHONPATH": source, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed" in plain.stdout, plain.stdout + plain.stderr
    assert "2 × refund for one request (o-s1-t1)" in plain.stdout


def test_what_must_not_be_read_is_written_nowhere(tmp_path: Path) -> None:
    assert written(tmp_path / "r", replace(shrunk(), private=True), pytest=True) == []
    assert not (tmp_path / "r").exists()


def test_the_words_of_a_breach_do_not_change_what_a_file_is_called(tmp_path: Path) -> None:
    small = shrunk()
    masked = (*BREACH[:3], "2 × ‹iban of s1› for one request")
    said = write_regression(tmp_path, small, masked, pytest=False, agent="a.py:make", contract="")
    assert [path.name for path in said] == [f"{small.spec.scenario.name}.toml"]
    assert "‹iban of s1›" in said[0].read_text()


def test_no_link_is_followed_and_half_a_file_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = tmp_path / "r", shrunk().spec.scenario.name
    folder.mkdir()
    (folder / f"{name}.toml").symlink_to(tmp_path / "elsewhere.toml")
    with pytest.raises(UsageError, match="cannot be written"):
        written(folder, shrunk())
    assert not (tmp_path / "elsewhere.toml").exists()
    full, small, real = tmp_path / "full", shrunk(), Path.open

    def device(self: Path, *arguments: Any, **more: Any) -> Any:
        file = real(self, *arguments, **more)
        if self.parent == full:
            os.dup2(os.open("/dev/full", os.O_WRONLY), file.fileno())
        return file

    monkeypatch.setattr(Path, "open", device)
    with pytest.raises(UsageError, match="No space left"):
        write_regression(full, small, BREACH, pytest=False, agent="a.py:make", contract="")
    assert list(full.iterdir()) == []
