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


def test_each_class_that_is_kept_too_long_is_told() -> None:
    h = History().submit("s1-t1")
    h.write("home/s1", "x", task="s1-t1")
    h.write("who/s1", "x", task="s1-t1")
    found = check("memory.retention", h, contract=KEPT)
    assert [v.subject for v in found.violations] == ["home/s1", "who/s1"]


def test_where_it_was_used_too_late_is_told() -> None:
    h = stored()
    h.ask("crm.update", "o-1", task="s1-t2", args={"to": STREET})
    h.wasm("i1", "o-1", task="s1-t2", to=STREET)
    h.outcome("s1-t2", answer=STREET)
    h.event("report.log", {"text": STREET}, session="s1")
    found = check("memory.retention", h, contract=KEPT).violations
    places = [("crm.update", "tools"), ("ticket", "wasm"), ("", "outcome"), ("", "report")]
    assert [(v.tool, v.anomaly) for v in found] == places
    assert found[-1].explanation.startswith("s1 sent to its log what home/s1 held")


STAYS = Contract(
    memory={
        "rules": MemoryClass(name="rules", prefix="rules/", immutable=True),
        "draft": MemoryClass(name="draft", prefix="rules/draft/"),
    }
)


def test_each_item_that_did_not_stay_is_told() -> None:
    h = History().start("p1").start("p2").submit("s1-t1")
    h.write("rules/draft/1", 1, task="s1-t1")
    h.write("rules/draft/1", 2, task="s1-t1")
    for id in ("rules/1", "rules/2"):
        h.write(id, 1, "p1", "s1-t1")
    for id in ("rules/1", "rules/2"):
        h.write(id, 2, "p2", "s1-t1")
    found = check("memory.policy", h, contract=STAYS).violations
    assert [v.subject for v in found] == ["rules/1", "rules/2"]
    assert " another process" in found[0].explanation


def test_what_was_erased_and_never_written_is_its_own_proof() -> None:
    h = History().submit("s1-t1")
    for id in ("rules/1", "rules/2"):
        call = h.invoke("memory.erase", {"id": id}, "s1-t1")
        h.add("commit", "memory.erase", {"id": id, "erased": True, "over": [1, 1]}, call=call)
    found = check("memory.policy", h, contract=STAYS).violations
    assert [(v.code, v.subject, v.witness) for v in found] == [
        ("erased", "rules/1", (2,)),
        ("erased", "rules/2", (4,)),
    ]


def spent(*args: Any, **fields: Any) -> History:
    h = History().submit("s1-t1")
    for n, value in enumerate(args):
        more = {"ref": f"r{n}", "args": value, **fields}
        h.add("commit", "tools.refund", more, marker=f"o-{n}", session="s1")
    return h


def purse(per: Any) -> Contract:
    budget = Budget(name="b", tool="refund", field="cents", per=per, most=10)
    return Contract(tools=CONTRACT.tools, budgets={"b": budget})


def test_what_cannot_be_counted_is_unproven() -> None:
    for args in ("ten", {"cents": "10"}, {"cents": True}, {"cents": -1}, {}):
        found = check("budgets.spend", spent(args), contract=purse("all"))
        assert found.verdict == "unknown", args
        assert "no whole number cents" in found.reason
    assert check("budgets.spend", spent({"cents": 0}), contract=purse("all")).verdict == "valid"
    found = check("budgets.spend", spent({"cents": 1}, tenant=7), contract=purse("tenant"))
    assert (found.verdict, found.reason[-9:]) == ("unknown", "no tenant")


def test_whose_session_it_is_may_be_told_by_the_entry_alone() -> None:
    h = spent({"cents": 6}, {"cents": 6})
    (found,) = check("budgets.spend", h, contract=purse("session")).violations
    assert "for s1" in found.explanation
    bare = spent({"cents": 6})
    bare.add("commit", "tools.refund", {"ref": "x", "args": {"cents": 1}}, marker="o-9")
    found_bare = check("budgets.spend", bare, contract=purse("session"))
    assert found_bare.verdict == "unknown"
