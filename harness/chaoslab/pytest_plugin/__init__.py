"""The pytest plugin: scenarios as tests, and a fixture for a team's own.

    pytest --chaos-agent=my_agent.py:make_agent       # each scenario and seed is a test

    def test_a_lost_reply(chaos):                     # or one of your own
        chaos.run("matrix/timeout-after-commit", agent="my_agent.py:make_agent").held()

pytest imports this module in every session of every project that has the package installed. So it
imports nothing of the lab itself; what a hook needs is imported inside of it, once it is needed.

>>> [name for name in vars(options) if name.startswith("chaoslab")]
[]
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from chaoslab.pytest_plugin import options
from chaoslab.pytest_plugin.summary import Summary

if TYPE_CHECKING:
    from chaoslab.pytest_plugin.fixture import Chaos

_MARKER = (
    "chaos(agent, scenario, seeds, contract): presets of the `chaos` fixture; with seeds, one "
    "test per seed. A marked test that runs no scenario fails."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--chaos-…` and the ini options of the same names."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, and the collecting of scenarios where an agent is named."""
    config.addinivalue_line("markers", _MARKER)
    config.pluginmanager.register(Summary(), "chaoslab-summary")
    if options.settle(config).collect:
        from chaoslab.pytest_plugin.items import Scenarios  # noqa: PLC0415

        config.pluginmanager.register(Scenarios(config), "chaoslab-scenarios")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hands what was typed to a worker of xdist."""
    options.hand_down(node.config, node.workerinput)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Ends the worker interpreters and writes the results, after Ctrl-C too."""
    _close(session.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The same where the session was refused before it began."""
    _close(config)


def _close(config: pytest.Config) -> None:
    # What was never imported was never used either.
    lab = sys.modules.get("chaoslab.pytest_plugin.lab")
    if lab is not None:
        lab.close(config)


@pytest.fixture
def chaos(request: pytest.FixtureRequest) -> Chaos:
    """Runs scenarios: `chaos.run("matrix/timeout-after-commit", agent="my_agent.py:make_agent")`.

    The result has `verdict`, `violations`, `history`, `folder`, and `held()`, which raises with
    the because-chain and the command that replays it.
    """
    from chaoslab.pytest_plugin.fixture import Chaos  # noqa: PLC0415

    return Chaos(request)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per seed of the marker."""
    if "chaos" in metafunc.fixturenames:
        seeds = options.presets(metafunc.definition).get("seeds")
        if seeds is not None:
            ids = [f"s{seed}" for seed in seeds]
            metafunc.parametrize("chaos", seeds, indirect=True, ids=ids)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test that is marked `chaos` and runs nothing would be green for ever."""
    result = yield
    if isinstance(item, pytest.Function) and item.get_closest_marker("chaos"):
        used: Any = item.funcargs.get("chaos")
        if used is None or not used.ran:
            pytest.fail(
                "nothing was run: a test that is marked `chaos` must take the fixture `chaos` "
                "and call chaos.run() or chaos.scenario()",
                pytrace=False,
            )
    return result
