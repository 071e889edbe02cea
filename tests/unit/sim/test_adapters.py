"""An agent of any wrong shape is told what is wrong with it; a right one starts from nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chaoslab.adapters import AgentSource
from chaoslab.core.errors import AdapterError

from .simlab import run, strike

RIGHT = """
class Agent:
    async def start(self, world): pass
    async def handle(self, task): pass
    async def stop(self): pass
def make(): return Agent()
"""


def loading(text: str, folder: Path, factory: str = "make") -> str:
    """The message with which an adapter is refused."""
    path = folder / "adapter.py"
    path.write_text(text)
    with pytest.raises(AdapterError) as caught:
        AgentSource(f"{path}:{factory}").create()
    assert "adapter.py" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "reference", ["", ":", "agent.py", "agent.py:", ":make", "agent.py:make it", "a.py:1x", "x:y.z"]
)
def test_a_name_without_file_and_factory_is_refused(reference: str) -> None:
    with pytest.raises(AdapterError, match=r"path/to/file\.py:factory"):
        AgentSource(reference)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"does not exist: got '.*gone\.py'"):
        AgentSource(f"{tmp_path}/gone.py:make")
    with pytest.raises(AdapterError, match="does not exist"):
        AgentSource(f"{tmp_path}:make")


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(AdapterError, match=r"ModuleNotFoundError.*no_such_module_at_all"):
        AgentSource("no_such_module_at_all:make").create()


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    assert "line 3" in loading("x = 1\n\ndef (:\n", tmp_path)


@pytest.mark.parametrize("text", ["x = '\0'\n", "# coding: nonsense\n", "\ufeff\ufeff x\n"])
def test_a_file_that_is_no_python_is_an_adapter_error(tmp_path: Path, text: str) -> None:
    loading(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\nraise RuntimeError('boom')\n", "RuntimeError: boom"),
        ("import no_such_thing_at_all\n", "no_such_thing_at_all"),
        ("\n1 / 0\n", "ZeroDivisionError"),
        ("\nraise SystemExit(4)\n", "SystemExit"),
    ],
)
def test_an_import_that_fails_says_how_and_where(tmp_path: Path, text: str, words: str) -> None:
    message = loading(text, tmp_path)
    assert "importing it raised" in message and words in message and "adapter.py:" in message


def test_a_factory_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    message = loading(RIGHT, tmp_path, "maek")
    assert "there is no maek" in message and "make" in message.split("allowed:")[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("make = 3\n", "not callable: got 3 (int)"),
        ("def make():\n    raise KeyError('x')\n", "the factory raised KeyError"),
        ("def make(x): pass\n", "the factory raised TypeError"),
        ("def make(): return None\n", "no `async def start`"),
        (RIGHT.replace("async def handle", "def handle"), "no `async def handle`"),
        (RIGHT.replace("    async def stop(self): pass\n", ""), "no `async def stop`"),
        (RIGHT.replace("handle(self, task)", "handle(self)"), "`handle` must take 1"),
        (RIGHT.replace("start(self, world)", "start(self, world, more)"), "`start` must take 1"),
        (RIGHT.replace("stop(self)", "stop(self, why)"), "`stop` must take 0"),
        (RIGHT.replace("return Agent()", "return Agent"), "`start` must take 1"),
        (RIGHT + "class P(property): pass\nAgent.stop = 3\n", "no `async def stop`"),
    ],
)
def test_every_wrong_shape_has_its_words(tmp_path: Path, text: str, words: str) -> None:
    message = loading(text, tmp_path)
    assert words in message


def test_defaults_keywords_and_wrappers_are_a_right_shape(tmp_path: Path) -> None:
    path = tmp_path / "adapter.py"
    path.write_text(
        RIGHT.replace("handle(self, task)", "handle(self, task, retries=3, *, more=None)").replace(
            "start(self, world)", "start(self, *args, **kwargs)"
        )
        + "import functools\nmake = functools.partial(make)\n"
    )
    AgentSource(f"{path}:make").create()


def test_what_a_module_keeps_dies_with_the_process(tmp_path: Path) -> None:
    (tmp_path / "bench_sibling.py").write_text("seen = []\n")
    package = tmp_path / "bench_package"
    package.mkdir()
    (package / "__init__.py").write_text("from bench_package import deep\n")
    (package / "deep.py").write_text("seen = []\n")
    body = """
    import bench_sibling
    import bench_package
    SEEN = []
    class Agent(Base):
        async def handle(self, task):
            from bench_package.deep import seen
            for place in (SEEN, bench_sibling.seen, seen):
                place.append(task.delivery)
            self.say(f"{SEEN} {bench_sibling.seen} {seen}")
            await self.patient(task)
            return self.done(task)
    """
    found = run(tmp_path, body, faults=[strike("tools.pay", "after-commit", "crash")])
    assert found.logs() == ["[1] [1] [1]", "[2] [2] [2]"]


def test_a_module_imported_only_while_working_dies_with_the_process_too(tmp_path: Path) -> None:
    (tmp_path / "bench_late.py").write_text("seen = []\n")
    body = """
    class Agent(Base):
        async def handle(self, task):
            import bench_late
            bench_late.seen.append(task.delivery)
            self.say(str(bench_late.seen))
            await self.patient(task)
            return self.done(task)
    """
    found = run(tmp_path, body, faults=[strike("tools.pay", "after-commit", "crash")])
    assert found.logs() == ["[1]", "[2]"]


@pytest.mark.parametrize("late", [False, True])
def test_what_an_agent_imports_from_elsewhere_dies_with_the_process_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """A project keeps its code below src, and its adapter beside it."""
    package = tmp_path / "src" / "bench_elsewhere"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "book.py").write_text("seen = []\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr("chaoslab.adapters.loading._ALONE", [True] if late else [])
    (tmp_path / "adapters").mkdir()
    early, inside = ("pass", "import") if late else ("import", "pass")
    work = {"import": "from bench_elsewhere import book", "pass": "pass"}
    body = f"""
    {work[early]}

    class Agent(Base):
        async def handle(self, task):
            {work[inside]}
            book.seen.append(task.delivery)
            self.say(str(book.seen))
            await self.patient(task)
            return self.done(task)
    """
    found = run(tmp_path / "adapters", body, faults=[strike("tools.pay", "after-commit", "crash")])
    assert found.logs() == ["[1]", "[2]"]


def test_each_execution_starts_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "bench_again.py").write_text("count = [0]\n")
    body = """
    import bench_again
    class Agent(Base):
        async def handle(self, task):
            bench_again.count[0] += 1
            self.say(str(bench_again.count))
            return self.done(task)
    """
    assert [run(tmp_path, body).logs() for _ in range(2)] == [["[1]"], ["[1]"]]


def test_agents_of_two_folders_with_a_module_of_the_same_name_do_not_meet(tmp_path: Path) -> None:
    said = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "bench_shared.py").write_text(f"name = {name!r}\n")
        body = """
        import bench_shared
        class Agent(Base):
            async def handle(self, task):
                self.say(bench_shared.name)
                return self.done(task)
        """
        said += run(folder, body).logs()
    assert said == ["one", "two"]


def test_a_module_adapter_is_imported_afresh_for_every_incarnation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "bench_team"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "state.py").write_text("seen = []\n")
    (package / "agent.py").write_text(
        "from chaoslab.world import Outcome\n"
        "from bench_team import state\n"
        "class Agent:\n"
        "    async def start(self, world): self.world = world\n"
        "    async def handle(self, task):\n"
        "        state.seen.append(task.delivery)\n"
        "        self.world.report.log(str(state.seen))\n"
        "        await self.world.memory.write('x', 1)\n"
        "        return Outcome(task=task.id, status='completed')\n"
        "    async def stop(self): pass\n"
        "make = Agent\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = run(
        tmp_path, "bench_team.agent:make", faults=[strike("memory.write", "after-commit", "crash")]
    )
    assert found.logs() == ["[1]", "[2]"]


@pytest.mark.parametrize("library", [".venv/lib/python3/site-packages", "env/lib/dist-packages"])
def test_a_library_installed_below_the_adapter_is_not_imported_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    """A virtual environment often stands in the folder of the project, and many extension modules
    can be loaded only once in a process."""
    folder = tmp_path / library
    folder.mkdir(parents=True)
    name = f"bench_extension_{len(library)}"
    (folder / f"{name}.py").write_text(
        f"import sys\nassert not hasattr(sys, {name!r}), 'loaded twice'\nsys.{name} = True\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    body = f"""
    import {name}
    class Agent(Base):
        async def handle(self, task):
            await self.patient(task)
            return self.done(task)
    """
    try:
        found = run(tmp_path, body, faults=[strike("tools.pay", "after-commit", "crash")])
        assert found.outcomes() == {"s1-t1": "completed"} and not found.end.broke
    finally:
        sys.__dict__.pop(name, None)
        sys.modules.pop(name, None)
