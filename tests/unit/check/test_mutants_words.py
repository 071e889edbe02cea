"""What the lab says of every golden history, word for word, as a person reads it.

`golden_words.txt` holds it all. It is there to be read when it changes: a changed line is a changed
word to a person, and nobody should have to find that out from a report. To write it anew:

    PYTHONPATH=harness:. python tests/unit/check/test_mutants_words.py
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.check.builder import CONTRACT

from chaoslab.check import CHECK_IDS, Evidence, Judgement, because, judge
from chaoslab.contract import (
    Attribute,
    Budget,
    Capacity,
    Contract,
    Egress,
    Limits,
    MemoryClass,
)
from chaoslab.history import View
from chaoslab.testing import Golden, goldens

PAGE = Path(__file__).with_name("golden_words.txt")
REPLAY = "chaoslab replay RUN"
GOLDENS = {f"{kind}/{one.name}": one for kind in ("valid", "invalid") for one in goldens(kind)}
EVERYTHING = Contract(
    tools=CONTRACT.tools,
    fencing=True,
    loss_ms_max=1_000,
    memory={"p": MemoryClass(name="p", prefix="p/", immutable=True, retention_ms=1_000)},
    attributes={"iban": Attribute(name="iban")},
    egress=Egress(hosts=("kb.example",)),
    budgets={"b": Budget(name="b", tool="refund", most=1)},
    capacity=Capacity(tasks_in_hand_max=1),
)
ALL_LIMITS = Limits(
    attempts_per_operation_max=1,
    failed_tasks_max=1,
    uncertain_tasks_max=1,
    recovery_ms_max=1,
    amplification_percent_max=100,
)
NOTHING = {
    "nothing/promised": Evidence(history=View([]), contract=Contract(), limits=Limits()),
    "nothing/happened": Evidence(
        history=View([]),
        contract=EVERYTHING,
        limits=ALL_LIMITS,
        control=View([]),
        repeats=(View([]),),
    ),
}


def words_of_a_golden(one: Golden) -> Iterator[str]:
    """Title, what each check looked at, and each breach with its story."""
    found = judge(replace(one.evidence))  # without what an earlier judgement has joined
    assert tuple(finding.check for finding in found.findings) == CHECK_IDS
    yield one.title
    for finding in found.findings:
        if finding.looked_at:
            yield f"{finding.check} {finding.verdict}: {finding.reason}"
    for violation in found.violations:
        how = ", ".join(filter(None, (violation.tool, violation.anomaly)))
        yield f"{violation.check} {violation.code} ({how}) in {violation.subject}"
        yield f"  proof: {' '.join(f'#{i}' for i in violation.witness)}"
        yield from because(one.evidence.history, violation, replay=REPLAY)


def words_of_nothing(found: Judgement) -> Iterator[str]:
    """Why each check cannot say anything."""
    assert tuple(finding.check for finding in found.findings) == CHECK_IDS
    for finding in found.findings:
        assert finding.looked_at == 0
        yield f"{finding.check} {finding.verdict}: {finding.reason}"


def words(name: str) -> list[str]:
    """The part of the page below `== name`."""
    if name in NOTHING:
        return list(words_of_nothing(judge(replace(NOTHING[name]))))
    return list(words_of_a_golden(GOLDENS[name]))


def parts_of_the_page() -> dict[str, list[str]]:
    """The page as it was read and approved last."""
    parts: dict[str, list[str]] = {}
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("== "):
            parts[line[3:]] = []
        elif line:
            parts[next(reversed(parts))].append(line)
    return parts


APPROVED = parts_of_the_page() if PAGE.exists() else {}


@pytest.mark.parametrize("name", [*NOTHING, *GOLDENS])
def test_the_words_are_those_that_were_approved(name: str) -> None:
    assert words(name) == APPROVED[name]


def test_the_page_holds_nothing_else() -> None:
    assert set(APPROVED) == {*NOTHING, *GOLDENS}


if __name__ == "__main__":
    PAGE.write_text(
        "\n".join(
            line for name in (*NOTHING, *GOLDENS) for line in (f"== {name}", *words(name), "")
        ),
        "utf-8",
    )
