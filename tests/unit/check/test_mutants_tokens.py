"""Which marked strings are seen, entry by entry, and what a thread of the graph holds of keys."""

from typing import Any

from tests.unit.check.builder import History, evidence

from chaoslab.check.graph import lineage
from chaoslab.check.tokens import Sighting, canaries_in, scan

ONE, TWO = "cnry-s1-0123abcd", "cnry-s2-89abcdef"
IBAN, NAME = f"attr-iban:{ONE}", f"attr-name:{TWO}"
STREET, CITY = "[home:r1:street]", "[home:r1:city]"


def seen(h: History) -> Sighting:
    (found,) = scan(h.view())
    return found


def test_what_the_lab_says_itself_is_not_the_agents_word() -> None:
    h = History()
    for f in ("final.memory", "final.effects", "lab.end", "nemesis.strike", "process.start"):
        h.event(f, {"said": f"{ONE} {STREET}"})
    assert scan(h.view()) == ()
    assert seen(h.event("report.log", {"text": ONE})).op.f == "report.log"


def test_an_answer_counts_where_a_guest_gives_it() -> None:
    h = History()
    for call in (h.ask("audit", "o-1"), h.invoke("memory.read", {"id": "a"})):
        h.ok(call, said=ONE)
    guest = h.wasm("i1", "o-1")
    h.info(guest)
    assert scan(h.view()) == ()
    h.ok(h.wasm("i1", "o-2"), output=ONE)
    assert seen(h).canaries == [(ONE, "s1")]


def test_every_text_of_an_entry_is_read_and_its_key_too() -> None:
    h = History()
    args = {"a": [f"{IBAN} {STREET}", {"b": NAME}], CITY: 1}
    h.ask("audit", "o-1", key=f"k-{TWO}", args=args)
    found = seen(h)
    assert sorted(found.canaries) == [(ONE, "s1"), (TWO, "s2"), (TWO, "s2")]
    assert sorted(found.attributes) == [(IBAN, "iban", "s1"), (NAME, "name", "s2")]
    assert sorted(found.marks) == [("home", "r1", "city"), ("home", "r1", "street")]
    assert found.messages == ()


def prompt(messages: Any) -> Sighting:
    h = History()
    h.invoke("model.complete", {"messages": messages, "extends": 0}, "s1-t1")
    return seen(h)


def test_a_prompt_is_read_message_by_message() -> None:
    found = prompt(
        [
            {"role": "user", "content": f"{STREET} {IBAN}"},
            {"role": "assistant", "content": f"{CITY} {NAME}"},
            {"role": "user", "content": "thanks"},
        ]
    )
    street, city = ("home", "r1", "street"), ("home", "r1", "city")
    assert found.messages == [(False, [street]), (True, [city]), (False, ())]
    assert found.marks == [street, city]
    assert found.canaries == [(ONE, "s1"), (TWO, "s2")]
    assert found.attributes == [(IBAN, "iban", "s1"), (NAME, "name", "s2")]


def test_a_prompt_in_another_form_is_one_message() -> None:
    assert prompt(f"all of it {STREET}").messages == [(False, [("home", "r1", "street")])]
    assert prompt([STREET]).messages == [(False, [("home", "r1", "street")])]


def test_canaries_are_found_side_by_side() -> None:
    assert canaries_in(f"{ONE}-{TWO}") == [(ONE, "s1"), (TWO, "s2")]


def test_the_keys_of_a_thread_are_in_order_of_their_first_use() -> None:
    h = History().submit("s1-t1").intent("refund", "o-1", "s1-t1", key="z")
    h.fail(h.ask("refund", "o-1", key="a"))
    h.intent("refund", "o-1", "s1-t1", key="b")
    h.fail(h.ask("refund", "o-1", key="z"))
    one = evidence(h.outcome("s1-t1", "failed").end())
    assert lineage(one.facts, one.contract).threads["refund", "o-1"].keys == ("z", "a", "b")
