"""Ctrl-C while code is loaded is never lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from chaoslab.cli.stopping import not_lost


@pytest.fixture(autouse=True)
def _heeds_ctrl_c() -> Iterator[None]:
    """Also where whoever started the tests ignores it, as a shell does in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_careless_code_has_swallowed_is_raised_at_the_end() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), not_lost():
        with suppress(BaseException):
            signal.raise_signal(signal.SIGINT)
        done.append("the rest was loaded")
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_otherwise_it_is_raised_at_once_and_once() -> None:
    with pytest.raises(KeyboardInterrupt), not_lost():
        signal.raise_signal(signal.SIGINT)
        pytest.fail("this is not reached")
    with not_lost():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_whoever_listens_already_goes_on_to_do_so() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with not_lost():
            signal.raise_signal(signal.SIGINT)
        assert heard == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_thread_hears_no_signals_and_changes_nothing() -> None:
    def load() -> None:
        with not_lost():
            there.append(signal.getsignal(signal.SIGINT))

    there: list[object] = []
    one = threading.Thread(target=load)
    one.start()
    one.join()
    assert there == [signal.default_int_handler]
