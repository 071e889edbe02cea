"""Calls that somebody else than the lab carries out: a service of the team's own, or a region that
is a process of its own. The answer is read in full; a group is written item by item, so that a
fault in its middle strikes between two real commits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from chaoslab.backends.common.call import Call
from chaoslab.world.errors import Indeterminate, PartialWrite, WorldError
from chaoslab.world.request import Caller

CUT_OFF: Final = object()  # a group ended in its middle, and its answer, if any, is on its way


async def asked(call: Call, caller: Caller, cut_off: Callable[[int], bool], /) -> Any:
    """The answer, or CUT_OFF. `cut_off` is asked after each item of a group."""
    if call.remote_steps is None:
        assert call.remote is not None
        return await call.remote(caller)
    done: list[Any] = []
    try:
        async for version in call.remote_steps(caller):
            done.append(version)
            if cut_off(len(done)):
                return CUT_OFF
    except WorldError as error:
        raise stopped(error, done) from None
    return tuple(done)


async def copied(call: Call, caller: Caller, /) -> None:
    """A second copy of the request; nobody waits for its answer."""
    with suppress(WorldError):
        await asked(call, caller, lambda written: False)


def stopped(error: WorldError, done: Sequence[Any], /) -> WorldError:
    """What a group ends with that stopped in its middle."""
    if not done or isinstance(error, Indeterminate):
        return error
    return PartialWrite("the group stopped in its middle", written=len(done), error=error.code)
