"""Finds a team's agent: `path/to/file.py:factory` or `package.module:factory`.

The simulator starts every incarnation from a fresh import, so that what an agent keeps in module
globals dies with the process, as it would in reality. That goes for the adapter and for all that it
imports from elsewhere, but for the standard library and what is installed.

>>> source = AgentSource("chaoslab.reference:make_agent")
>>> source.name
'chaoslab.reference:make_agent'
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from chaoslab.core.errors import AdapterError
from chaoslab.core.jsons import digest
from chaoslab.core.resources import data_root
from chaoslab.world import Agent

_FORMS = "path/to/file.py:factory, package.module:factory, or a .toml with [agent]"
_METHODS = (("start", 1), ("handle", 1), ("stop", 0))


class AgentSource:
    """Where an agent comes from. `create` makes one incarnation."""

    def __init__(self, reference: str, /) -> None:
        location, colon, factory = reference.rpartition(":")
        if not colon or not location or not factory.isidentifier():
            raise AdapterError(
                "an agent is named wrongly",
                value=reference,
                allowed=_FORMS,
                hint="name the file and the function that makes the agent",
            )
        self.name = reference
        self._factory = factory
        self._path = _existing(location) if _is_path(location) else None
        self._module = "" if self._path else location

    @property
    def path(self) -> Path | None:
        """The file of a path adapter."""
        return self._path

    def create(self) -> Agent:
        """A new agent from a fresh import. AdapterError says what does not fit."""
        module = self.module()
        factory = getattr(module, self._factory, None)
        if factory is None:
            names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
            raise AdapterError(
                f"{self.name}: there is no {self._factory} in it",
                allowed=", ".join(names[:12]) or "nothing callable is there",
            )
        if not callable(factory):
            raise AdapterError(f"{self.name}: the factory is not callable", value=factory)
        agent = self._run("the factory raised", factory)
        return self._shaped(agent)

    def module(self) -> types.ModuleType:
        """The module, imported afresh."""
        return self._load_path(self._path) if self._path else self._load_module()

    def _shaped(self, agent: Any) -> Agent:
        for name, count in _METHODS:
            method = getattr(agent, name, None)
            if not inspect.iscoroutinefunction(method):
                raise AdapterError(
                    f"{self.name}: the agent has no `async def {name}`",
                    value=agent if method is None else method,
                    allowed="async start(world), async handle(task) and async stop()",
                    hint="see the agent of twenty lines in the README",
                )
            _accepts(self.name, name, method, count)
        made: Agent = agent
        return made

    def _load_path(self, path: Path) -> types.ModuleType:
        _enter(str(path.parent))
        code = _compiled(path, path.read_bytes())
        name = f"chaoslab_agent_{digest(str(path))}"
        module = types.ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module
        with _remembering():
            self._run("importing it raised", lambda: exec(code, module.__dict__))
        return module

    def _load_module(self) -> types.ModuleType:
        top = self._module.partition(".")[0]
        if top == "chaoslab":  # the reference agent keeps nothing in modules
            return self._imported()
        _forget("")
        if top not in sys.stdlib_module_names:
            for name in [n for n in sys.modules if n == top or n.startswith(top + ".")]:
                del sys.modules[name]
        with _remembering():
            return self._imported()

    def _imported(self) -> types.ModuleType:
        found = self._run("importing it raised", lambda: importlib.import_module(self._module))
        assert isinstance(found, types.ModuleType)
        return found

    def _run(self, what: str, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (Exception, SystemExit) as error:
            raise AdapterError(
                f"{self.name}: {what} {type(error).__name__}: {error} ({_place(error)})",
                hint="mend the agent, or install what it imports into this environment",
            ) from error


def load_function(reference: str, /) -> Callable[..., Any]:
    """A plain function of a file, `path.py:name`, from a fresh import. AdapterError where it is
    not there or cannot be imported."""
    found = getattr(AgentSource(reference).module(), reference.rpartition(":")[2], None)
    if not callable(found):
        raise AdapterError(f"{reference}: there is no such function", allowed="path.py:function")
    function: Callable[..., Any] = found
    return function


@lru_cache(maxsize=64)
def _compiled(path: Path, source: bytes) -> types.CodeType:
    try:
        return compile(source, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", "?")
        raise AdapterError(f"{path}, line {line}: {error}", hint="mend the file") from None


def _accepts(agent: str, name: str, method: Any, count: int) -> None:
    try:
        inspect.signature(method).bind(*([None] * count))
    except TypeError as error:
        raise AdapterError(
            f"{agent}: `{name}` must take {count} positional argument(s): {error}"
        ) from None
    except ValueError:
        return


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return f"{last.filename}:{last.lineno}" if last else "nowhere"


def _is_path(location: str) -> bool:
    return location.endswith(".py") or "/" in location or "\\" in location


def _existing(location: str) -> Path:
    for candidate in (Path(location), data_root() / location):
        if candidate.is_file():
            return candidate.resolve()
    raise AdapterError(
        "the agent's file does not exist", value=location, allowed=_FORMS, hint="check the path"
    )


# The folder of the adapter that was loaded last, which is on sys.path; the modules that were there
# before any adapter was: those are nobody's to forget; and those that adapters have imported.
_CURRENT: list[str] = []
_BEFORE: set[str] = set()
_IMPORTED: set[str] = set()
_ALONE: list[bool] = []


def alone() -> None:
    """Says that this interpreter is there for agents only: whatever is imported in it from now on,
    late imports of a handler too, is an agent's and is forgotten with it."""
    _ALONE.append(True)


@contextmanager
def _remembering() -> Iterator[None]:
    """Whatever is imported meanwhile is the adapter's."""
    there = set(sys.modules)
    try:
        yield
    finally:
        _IMPORTED.update(sys.modules.keys() - there)


def _enter(folder: str) -> None:
    """Puts an adapter's folder on the path, and forgets what adapters have imported."""
    _forget(folder)
    while _CURRENT:
        old = _CURRENT.pop()
        if old in sys.path:
            sys.path.remove(old)
    if folder not in sys.path:
        sys.path.insert(0, folder)
        _CURRENT.append(folder)
    importlib.invalidate_caches()


def _forget(folder: str) -> None:
    if not _BEFORE:
        _BEFORE.update(sys.modules)
    folders = tuple(filter(None, (*_CURRENT, folder)))
    for name, module in list(sys.modules.items()):
        if name in _BEFORE or not _is_own(name, module):
            continue
        if _ALONE or name in _IMPORTED or str(module.__file__).startswith(folders):
            del sys.modules[name]
            above, _, last = name.rpartition(".")
            package = sys.modules.get(above)
            # `from package import module` takes what the package has before it imports anything.
            if package is not None and vars(package).get(last) is module:
                delattr(package, last)


def _is_own(name: str, module: types.ModuleType) -> bool:
    """Whether a module was written for the agent. What is installed was not, although a virtual
    environment often stands below its folder; and a module in C cannot begin anew."""
    origin = str(getattr(module, "__file__", None) or "")
    top = name.partition(".")[0]
    return (
        origin.endswith(".py")
        and top != "chaoslab"
        and top not in sys.stdlib_module_names
        and "site-packages" not in origin
        and "dist-packages" not in origin
    )
