r"""Keeps a shrunk case: as an ordinary scenario file, and as a test that stands by itself.

A breach that was found once must never come back unseen, so what is left of it is a file of the
team's own, with a name and a title that say what goes wrong, and above it how it was found and how
to run it. What an agent, a contract or a path is called is data: it is quoted, never trusted.

>>> test = pytest_file("format = 1\n", agent="bot.py:make", contract="", what='It "breaks".')
>>> print(test.partition("def ")[2], end="")
test_it_breaks(chaos):
    chaos.scenario(SCENARIO, agent="bot.py:make").held()
"""

from __future__ import annotations

import json
import os
import re
import shlex
import textwrap
import tomllib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chaoslab.core.errors import ScenarioError, UsageError, mend_disk
from chaoslab.core.visible import visible
from chaoslab.faults import KINDS, Fault
from chaoslab.faults.model import NONE
from chaoslab.run.bugs import title_of
from chaoslab.run.model import RunSpec
from chaoslab.scenario import scenario_from
from chaoslab.scenario.writing import scenario_toml

if TYPE_CHECKING:
    from chaoslab.explore.shrink import Shrunk

FAMILY: Final = "regressions"
_NAME_MAX: Final = 80
_WIDTH: Final = 98
_QUOTES: Final = '"""'
_PHASES: Final = {
    "before-send": "before the request leaves",
    "before-commit": "before it is carried out",
    "after-commit": "after it was carried out",
    "after-reply": "after the reply has arrived",
}
Breach = tuple[str, str, str, str]  # check, code, fingerprint, explanation


# -- names and words


def regression_name(breach: Breach, spec: RunSpec, /, *, taken: Collection[str] = ()) -> str:
    """What a case is called: the check, the code and the tool; `-2` and so on where taken."""
    check, code, _, _ = breach
    return _free(_slug(f"{check}-{code}-{_tool(breach, spec)}"), taken)


def _free(plain: str, taken: Collection[str]) -> str:
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    return name


def regression_title(breach: Breach, spec: RunSpec, /) -> str:
    """What goes wrong and when, in plain words."""
    check, code, _, explanation = breach
    row = {"check": check, "code": code, "tool": _tool(breach, spec), "explanation": explanation}
    faults = spec.scenario.faults
    when = "; and ".join(_when(fault) for fault in faults)
    return f"{title_of(row)}, {f'when {when}' if faults else 'without any fault'}"


def as_regression(spec: RunSpec, breach: Breach, /, *, taken: Collection[str] = ()) -> RunSpec:
    """The run of a shrunk case under the name and the title that it keeps."""
    scenario = spec.scenario
    several = len(scenario.regions.names) > 1
    named = replace(
        scenario,
        name=regression_name(breach, spec, taken=taken),
        title=regression_title(breach, spec),
        family=FAMILY,
        needs=tuple(need for need in scenario.needs if several or need != "regions"),
        expect="valid",
    )
    return replace(spec, scenario=named, scenario_text=scenario_toml(named), expected_check="")


def _tool(breach: Breach, spec: RunSpec) -> str:
    """The tool that a breach names first, if any. A place where data may go is not meant."""
    names = {*spec.workload.services, *spec.contract.tools}
    for word in re.finditer(r"(?<![\w.-])[\w-]+(?![\w-])", breach[3]):
        if word.group() in names:
            return word.group()
    return ""


def _when(fault: Fault) -> str:
    kind = KINDS[fault.kind][1] if fault.kind in KINDS else fault.kind
    phase = _PHASES.get(fault.phase, f"after {fault.after_items} items of the group")
    named = fault.marker not in ("", NONE)
    site = f"{fault.at} {fault.marker}" if named else fault.at
    again = f" at try {fault.attempt}" if fault.attempt > 1 else ""
    return f"{site} is struck{again} {phase}: {kind}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:_NAME_MAX].strip("-") or "regression"


# -- files


def write_regression(
    folder: Path,
    shrunk: Shrunk,
    breach: Breach,
    /,
    *,
    pytest: bool,
    agent: str,
    contract: str,
) -> list[Path]:
    """Writes the case as `NAME.toml` into a folder, and as `test_NAME.py` beside it with `pytest`;
    the files that now hold it. A file that says something else is never written over: then the
    case gets another name. `contract` is the file that was named, "" where none was. A case that
    names what must not be read is written nowhere.

    UsageError where the folder cannot be written to.
    """
    if shrunk.private:
        return []
    plain, taken = shrunk.spec.scenario.name, set[str]()
    while True:
        scenario = replace(shrunk.spec.scenario, name=_free(plain, taken))
        spec = replace(shrunk.spec, scenario=scenario)
        path = folder / f"{spec.scenario.name}.toml"
        test = folder / f"test_{spec.scenario.name.replace('-', '_')}.py"
        if _says(path, spec) if path.exists() else not (pytest and test.exists()):
            break
        taken.add(spec.scenario.name)
    seed = spec.scenario.schedule.seeds[0]
    command = _command(path, agent, contract)
    comments = [*_story(shrunk, breach), "", f"Run it: {command}"]
    text = scenario_toml(spec.scenario, comments=comments)
    files = {} if path.exists() else {path: text}
    if pytest and not test.exists():
        files[test] = pytest_file(
            scenario_toml(spec.scenario),
            agent=_from(folder, agent),
            contract=_from(folder, contract),
            what="\n".join([spec.scenario.title, "", *_story(shrunk, breach)]),
            seed=seed,
            name=spec.scenario.name,
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one, content in files.items():
            _write(one, content)
    except OSError as error:
        raise UsageError(
            f"{error.filename or folder} cannot be written: {error.strerror}",
            hint=mend_disk(error),
        ) from None
    return [path, test] if pytest else [path]


def _write(path: Path, content: str) -> None:
    """A new file, whole or not at all: half a scenario would be taken for a person's own."""
    with path.open("x", encoding="utf-8") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            path.unlink(missing_ok=True)
            raise


def pytest_file(
    scenario_text: str,
    /,
    *,
    agent: str,
    contract: str,
    what: str,
    seed: int | None = None,
    name: str = "",
) -> str:
    """A test module that needs no other file: the scenario stands in it, and the fixture `chaos`
    runs it. Paths in `agent` and `contract` count from the folder of the test. Its name is `name`,
    else what its first words say."""
    words = name or what.strip().partition("\n")[0]
    given = {"agent": agent, "contract": contract}
    options = [f"{name}={_literal(value)}" for name, value in given.items() if value]
    options += [] if seed is None else [f"seed={seed}"]
    call = f"    chaos.scenario(SCENARIO, {', '.join(options)}).held()"
    if len(call) > _WIDTH:
        lines = "".join(f"        {option},\n" for option in ("SCENARIO", *options))
        call = f"    chaos.scenario(\n{lines}    ).held()"
    return (
        f"{_block(visible(what.strip(), lines=True))}\n\n"
        f"SCENARIO = {_block(chr(10) + scenario_text)}\n\n\n"
        f"def test_{_slug(words).replace('-', '_')}(chaos):\n{call}\n"
    )


def _story(shrunk: Shrunk, breach: Breach) -> list[str]:
    """How it was found and what it breaks, in lines of a comment."""
    check, code, fingerprint, explanation = breach
    cases = f"{shrunk.tried} case{' was' if shrunk.tried == 1 else 's were'} tried"
    story = [
        f"A crash test found this; {cases} to make it as small as it is.",
        f"Broken: {check} ({code}): {visible(explanation)}.",
        f"Fingerprint {fingerprint}.",
    ]
    return [part for line in story for part in textwrap.wrap(line, _WIDTH, break_long_words=False)]


def _says(path: Path, spec: RunSpec) -> bool:
    """Whether a file holds this very case, whatever its comments say."""
    try:
        raw = tomllib.loads(path.read_bytes().decode("utf-8"))
        return scenario_from(raw, str(path), workload=spec.workload) == spec.scenario
    except (OSError, ValueError, ScenarioError):
        return False


def _command(path: Path, agent: str, contract: str) -> str:
    parts = ["chaoslab", "run", path.as_posix(), "--agent", agent]
    return shlex.join([*parts, "--contract", contract] if contract else parts)


def _from(folder: Path, name: str) -> str:
    """A file as seen from a folder, with its factory; anything else, such as a module or a file of
    the package, as it is."""
    file, colon, factory = name.rpartition(":") if ":" in name else (name, "", "")
    if not file or not Path(file).is_file():
        return name
    return Path(os.path.relpath(file, folder)).as_posix() + colon + factory


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else repr(text)


def _block(text: str) -> str:
    """A text over several lines as a literal of Python."""
    inner = text.replace("\\", "\\\\")
    inner = re.sub(r'"(?=""|\Z)', r"\"", inner)  # where quotes would end it
    inner = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in inner)
    return f"{_QUOTES}{inner}{_QUOTES}"
