"""A batch over interpreters that hang, die and are slow: what each execution costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from chaoslab.faults import Fault
from chaoslab.run import batches as module
from chaoslab.run.batches import strike_through
from chaoslab.run.select import REFERENCE, scenario_files, specs_for
from chaoslab.run.strikes import BatchEnd, StrikeBatch, Struck

[SPEC, *_] = specs_for(scenario_files(["timeout-after-commit"]), REFERENCE, seeds=[0])


class Ends:
    """Interpreters that are made up: what a request is answered depends on its next strike alone.
    `now` is the clock: each execution takes one millisecond, one that hangs all of its time."""

    def __init__(self, words: Mapping[int, str]) -> None:
        self.words, self.now, self.late = words, 0, False
        self.asked: list[int] = []
        self.late_after_death = False

    def ask(self, batch: StrikeBatch, limit_ms: int) -> dict[str, Any]:
        journal, done, began = Path(batch.journal), dict(batch.done), self.now
        self.asked.append(len(batch.strikes) - len(done))
        if self.late:  # the time was up while the interpreter was being started
            return {"broke": "", "batch": BatchEnd(control=Struck(word="")).to_json()}

        def note(entry: Mapping[str, Any]) -> None:
            with journal.open("a") as file:
                file.write(json.dumps(entry) + "\n")

        note({"asked": True, "ms": self.now})
        control = Struck(word="held")
        note({"control": asdict(control)})
        for number in range(len(batch.strikes)):
            if number in done:
                continue
            if batch.until_ms is not None and self.now >= batch.until_ms:
                break
            note({"begun": number, "ms": self.now})
            if self.words.get(number) == "hangs":
                self.now = began + limit_ms
                return {"broke": f"the execution did not end within {limit_ms} ms of wall time"}
            if self.words.get(number) == "slow":
                self.words = {**self.words, number: "held"}
                self.now = began + limit_ms
                since = self.now - 50  # a busy machine took the other half to start it
                note({"begun": number, "ms": since})
                return {"broke": f"the execution did not end within {limit_ms} ms of wall time"}
            if self.words.get(number) == "dies":
                self.late = self.late_after_death
                return {"broke": "the execution's interpreter ended itself", "died": True}
            self.now += 1
            done[number] = Struck(word="held", ops=number + 1)
            note({"done": number, "row": asdict(done[number])})
        rows = tuple(done.get(n, Struck(word="")) for n in range(len(batch.strikes)))
        return {"broke": "", "batch": BatchEnd(control=control, rows=rows).to_json()}


def through(
    monkeypatch: pytest.MonkeyPatch, ends: Ends, count: int, until_ms: int | None = None
) -> list[str]:
    """The words of a batch of so many strikes; a hang costs 100 ms."""
    monkeypatch.setattr(module, "monotonic_ms", lambda: ends.now)
    fault = Fault(at="x", phase="before-send", kind="silence")
    batch = StrikeBatch(spec=SPEC, strikes=(fault,) * count, until_ms=until_ms)
    return [row.word for row in strike_through(batch, ends.ask, 100, 5).rows]


def test_each_execution_that_breaks_an_interpreter_costs_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = Ends({2: "hangs", 5: "dies"})
    assert through(monkeypatch, ends, 8) == ["held"] * 2 + ["broke"] + ["held"] * 2 + [
        "broke",
        "held",
        "held",
    ]
    assert ends.asked == [8, 5, 3, 2]  # what dies is done once more before it is told


def test_a_hang_is_told_and_the_rest_is_not_begun_when_the_time_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = Ends({2: "hangs", 3: "hangs"})
    assert through(monkeypatch, ends, 5, until_ms=50) == ["held", "held", "broke", "", ""]
    assert ends.now <= 50 + 100 + 2 * 5  # its time, one execution, and an interpreter to start


def test_a_busy_machine_is_not_taken_for_an_agent_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = Ends({1: "slow"})
    assert through(monkeypatch, ends, 3) == ["held"] * 3
    assert ends.asked == [3, 2]


def test_where_the_time_was_up_before_an_interpreter_was_there_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = Ends({1: "dies"})
    ends.late_after_death = True
    assert through(monkeypatch, ends, 3, until_ms=50) == ["held", "", ""]


def test_an_agent_that_never_gets_through_without_strikes_is_no_strike_s_fault() -> None:
    gone = {"broke": "the execution's interpreter ended itself with code 3", "died": True}
    end = strike_through(StrikeBatch(spec=SPEC), lambda batch, limit_ms: gone, 100, 5)
    assert (end.control.word, end.rows) == ("broke", ())
    assert end.control.why == gone["broke"]
