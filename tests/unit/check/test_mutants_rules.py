"""Promises about data and money that are easily lost: one line for each, and no more proof."""

from typing import Any

from tests.unit.check.builder import CONTRACT, History, check, codes

from chaoslab.contract import Attribute, Budget, Contract, MemoryClass

IBAN = "attr-iban:cnry-s1-0123abcd"
STREET, NAME = "Elm Street [home:r1:street]", "Ada [who:r1:name]"
KEPT = Contract(
    memory={
        name: MemoryClass(name=name, prefix=f"{name}/", retention_ms=1_000)
        for name in ("home", "who")
    }
)


def store(h: History, id: str, value: Any) -> None:
    asked = {"id": id, "value": value, "expires_ms": h.ms + 500}
    h.store(h.invoke("memory.write", asked, "s1-t1"), id, value, expires_ms=h.ms + 500)


def stored() -> History:
    h = History().submit("s1-t1").submit("s1-t2")
    store(h, "home/s1", STREET)
    store(h, "who/s1", NAME)
    return h.wait(2_000)


def test_each_class_that_is_used_too_late_is_told() -> None:
    h = stored()
    h.ask("ship", "o-1", task="s1-t2", args={"to": f"{NAME}, {STREET}"})
    found = check("memory.retention", h, contract=KEPT)
    assert sorted(v.subject for v in found.violations) == ["home/s1", "who/s1"]
    h.ask("ship", "o-2", task="s1-t2", args={"to": STREET})
    assert len(check("memory.retention", h, contract=KEPT).violations) == 2


def test_where_it_was_sent_is_told() -> None:
    h = stored().event("report.intent", {"note": STREET}, task="s1-t2", process="p1")
    (found,) = check("memory.retention", h, contract=KEPT).violations
    assert found.explanation.startswith("s1-t2 sent to a report what home/s1 held")
    assert (found.tool, found.anomaly) == ("", "report")


def test_tools_are_told_apart_by_their_whole_name() -> None:
    h = History().submit("s1-t1")
    for tool in ("crm/update", "crm/delete"):
        h.ask(tool, "o-1", args={"iban": IBAN})
    contract = Contract(attributes={"iban": Attribute(name="iban")})
    found = check("memory.access", h, contract=contract).violations
    assert [v.tool for v in found] == ["crm/update", "crm/delete"]


def test_of_memory_the_folder_is_told() -> None:
    h = History().submit("s1-t1")
    for id in ("home/s1", "home/s2", "who/s1"):
        h.write(id, IBAN, task="s1-t1")
    contract = Contract(attributes={"iban": Attribute(name="iban")})
    found = check("memory.access", h, contract=contract).violations
    assert [v.subject for v in found] == ["iban into memory:home", "iban into memory:who"]


def test_money_that_nobody_asked_to_spend_is_spent() -> None:
    h = History().submit("s1-t1").submit("s1-t2").submit("s1-t3")
    for n in range(2):
        h.add("commit", "tools.refund", {"ref": f"r{n}", "args": {}}, marker=f"o-{n}")
    contract = Contract(
        tools=CONTRACT.tools, budgets={"b": Budget(name="b", tool="refund", most=1)}
    )
    (found,) = check("budgets.spend", h, contract=contract).violations
    assert (found.witness, found.anomaly) == ((3, 4), "in-turn")
    assert codes("budgets.spend", h, contract=Contract()) == []
