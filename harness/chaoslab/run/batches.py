"""A batch of strikes over interpreters that may hang or die: each bad execution costs itself.

An interpreter that breaks in the middle of a batch takes its answer with it. So it keeps a journal
as it goes: a line before each execution and one after it. Whoever asked then knows what is done,
and which execution it was that broke; that one is told as broken off, and the rest goes on in
another interpreter, with what was compared before. An interpreter that died may have been killed
by somebody else, and one that ran out of time may have been slow before; what these were doing is
done once more before it is told.

>>> from chaoslab.run.select import REFERENCE, scenario_files, specs_for
>>> [spec, *_] = specs_for(scenario_files(["timeout-after-commit"]), REFERENCE, seeds=[0])
>>> gone = {"broke": "the execution's interpreter ended itself with code 3", "died": True}
>>> strike_through(StrikeBatch(spec=spec), lambda batch, limit_ms: gone, 1_000, 500).control.word
'broke'
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from chaoslab.core.clock import monotonic_ms
from chaoslab.run.strikes import BatchEnd, Noted, StrikeBatch, Struck, noted_in

_VAIN_MAX: Final = 2  # so often an interpreter may break where nothing of the batch was executed

_HUNG: Final = "did not end within"

Ask = Callable[[StrikeBatch, int], Mapping[str, Any]]


def strike_through(batch: StrikeBatch, ask: Ask, watchdog_ms: int, each_ms: int, /) -> BatchEnd:
    """The executions of a batch, whatever they do to an interpreter.

    `ask` sends a request to an interpreter and waits so long for its answer; `watchdog_ms` is what
    one execution may take, `each_ms` what each adds to the time of a request of many. What the
    batch's `until_ms` leaves no time for has the word "".
    """
    return _Through(batch, ask, watchdog_ms, each_ms).carried_out()


class _Through:
    """The state of one batch."""

    def __init__(self, batch: StrikeBatch, ask: Ask, watchdog_ms: int, each_ms: int) -> None:
        self._batch, self._ask = batch, ask
        self._watchdog_ms, self._each_ms = watchdog_ms, each_ms
        self._control = Struck(word="")
        self._done = dict(batch.done)
        self._vain = self._short = 0
        self._tries: dict[int, int] = {}  # how often an interpreter broke in which execution

    def carried_out(self) -> BatchEnd:
        """All of it, as far as the time goes."""
        count = len(self._batch.strikes)
        while not self._control.word or len(self._done) < count:
            if self._time_is_up:
                break
            end = self._tried()
            if end is not None:
                return end
        rows = tuple(self._done.get(n, Struck(word="")) for n in range(count))
        return BatchEnd(control=self._control, rows=rows)

    @property
    def _time_is_up(self) -> bool:
        return self._batch.until_ms is not None and monotonic_ms() >= self._batch.until_ms

    def _limit_ms(self, executions: int) -> int:
        """How long to wait for so many executions. Between two of them a batch looks at its time,
        so past it there is one at most, and an interpreter to start. Where the time was too short
        for a busy machine, the next request has more."""
        limit = self._watchdog_ms * (1 + self._short) + self._each_ms * executions
        if self._batch.until_ms is None:
            return limit
        left = max(0, self._batch.until_ms - monotonic_ms())
        return min(limit, left + self._watchdog_ms + 2 * self._each_ms)

    def _tried(self) -> BatchEnd | None:
        """One request for all that is not done; the end, unless there is more to ask for."""
        batch = self._batch
        executions = len(batch.strikes) - len(self._done) + 1
        with tempfile.TemporaryDirectory(prefix="chaoslab-") as folder:
            path = Path(folder, "journal")
            request = replace(batch, done=tuple(sorted(self._done.items())), journal=str(path))
            answer = self._ask(request, self._limit_ms(executions))
            if not answer["broke"]:
                return self._with_all(BatchEnd.from_json(answer["batch"]))
            noted = noted_in(path)
        if noted.control is None:
            return self._without_control(noted, answer)
        self._control = noted.control
        self._done |= noted.rows
        if noted.doing is None:
            return self._in_vain(answer)
        word = self._last_word(noted, noted.doing, answer)
        if word is not None:
            self._done[noted.doing] = word
        return None

    def _last_word(self, noted: Noted, number: int, answer: Mapping[str, Any]) -> Struck | None:
        """How the execution ended in which an interpreter broke; None where it is done again."""
        text = str(answer["broke"])
        if _HUNG not in text:
            again = self._tries.get(number, 0) < 1 and not self._time_is_up
        elif self._long_enough(noted):
            again, text = False, self._within(text)
        else:
            again = self._tries.get(number, 0) < _VAIN_MAX and not self._time_is_up
        self._tries[number] = self._tries.get(number, 0) + 1
        return None if again else Struck(word="broke", why=text)

    def _without_control(self, noted: Noted, answer: Mapping[str, Any]) -> BatchEnd | None:
        """An interpreter broke in the execution without strikes, which is no strike's fault; nor
        is it the agent's where a busy machine took the time to start it."""
        text = str(answer["broke"])
        if _HUNG in text and self._long_enough(noted):
            return self._with_all(BatchEnd(control=Struck(word="broke", why=self._within(text))))
        if _HUNG in text or answer.get("died"):
            return self._in_vain(answer)
        return self._with_all(BatchEnd(control=Struck(word="broke", why=text)))

    def _long_enough(self, noted: Noted) -> bool:
        """Whether an execution that hung had all of its wall time."""
        since_ms = noted.since_ms
        enough = since_ms is not None and monotonic_ms() - since_ms >= self._watchdog_ms
        self._short += not enough
        return enough

    def _within(self, text: str) -> str:
        """The words for a hang with the time that one execution has."""
        return re.sub(r"within \d+ ms", f"within {self._watchdog_ms} ms", text, count=1)

    def _in_vain(self, answer: Mapping[str, Any]) -> BatchEnd | None:
        """An interpreter broke where nothing of the batch did it; that is not told of an agent
        before it has happened again and again."""
        self._vain += 1
        if self._vain <= _VAIN_MAX:
            return None
        return self._with_all(BatchEnd(control=Struck(word="broke", why=str(answer["broke"]))))

    def _with_all(self, end: BatchEnd) -> BatchEnd:
        """The end of a request, with what others have done. Where they have, an execution without
        strikes that does not hold any more costs the rest alone."""
        if end.rows or (end.control.word and self._control.word != "held"):
            return end
        rest = Struck(word="")
        if end.control.word:
            why = end.control.why or "; ".join(one[3] for one in end.control.broken)
            rest = Struck(
                word="broke", why=f"the execution without this strike did not hold: {why}"
            )
        rows = tuple(self._done.get(n, rest) for n in range(len(self._batch.strikes)))
        return BatchEnd(control=self._control, rows=rows)
