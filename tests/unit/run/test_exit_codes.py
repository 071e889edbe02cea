"""Exit codes where nothing was looked at, and tasks that nobody asked anything for."""

from __future__ import annotations

from typing import Any

from tests.unit.check.builder import History

from chaoslab.faults import Fault
from chaoslab.history import View
from chaoslab.run.gate import exit_code
from chaoslab.run.plan import vacuity
from chaoslab.scenario import Scenario

STRUCK = {"planned": 1, "eligible": 1, "fired": 1}
SCENARIO = Scenario(
    name="x",
    title="x",
    family="x",
    faults=(Fault(at="tools:*", phase="after-commit", kind="silence"),),
)


def entry(**more: Any) -> dict[str, Any]:
    """An entry of results, as far as the exit code reads it."""
    plain: dict[str, Any] = {"role": "subject", "verdict": "valid", "caught": None, "broke": None}
    plain |= {"agent": "mine.py:f", "contract": "support"}
    plain |= {"differs": None, "required": [], "vacuous": None, "not_applicable": None}
    return {**plain, "checks": {}, **more}


def test_what_is_required_and_never_looked_at_is_no_green() -> None:
    idle = entry(verdict="not-applicable", not_applicable="no such tool")
    assert exit_code([idle]) == 0
    wanted = {**idle, "required": ["effects.delivery"]}
    assert exit_code([wanted]) == 3
    held = entry(required=["effects.delivery"], checks={"effects.delivery": {"verdict": "valid"}})
    assert exit_code([wanted, held]) == 0


def idle_beside(nobody_before_the_end: bool) -> View:
    """Two tasks; nothing is asked for the second, and one request names no task."""
    h = History().submit("s1-t1")
    call = h.ask("refund", "o-1", key="k", task="s1-t1")
    h.commit(call)
    h.ok(call)
    h.outcome("s1-t1")
    if not nobody_before_the_end:
        h.ok(h.ask("refund", "o-9", key="x", task=""))
    h.submit("s1-t2")
    if nobody_before_the_end:
        h.ok(h.ask("refund", "o-9", key="x", task=""))
    h.outcome("s1-t2")
    return View(h.end().ops)


def test_a_request_of_no_task_speaks_for_tasks_that_were_open_then() -> None:
    assert vacuity(SCENARIO, STRUCK, idle_beside(True)) == ""
    words = "completed, and nothing was ever asked for it: s1-t2"
    assert vacuity(SCENARIO, STRUCK, idle_beside(False)) == words
