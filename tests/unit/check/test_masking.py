"""Values that must not be read are found however they are written, and nothing else is touched."""

from __future__ import annotations

import html
import json
import re
import time
import unicodedata
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.check import CHECK_IDS, explain
from chaoslab.check.credentials import names_a_secret, without_credentials
from chaoslab.check.masking import NO_MASK, Mask, mask_of
from chaoslab.contract import Attribute, Contract
from chaoslab.contract.target import Submit, Target
from chaoslab.core.jsons import Json
from chaoslab.core.visible import visible
from chaoslab.history import Op, View

IBAN = "DE00 0000 0000 12345678 00"
TOKEN = "attr-iban:cnry-s1-0123abcd"


def contract(*names: str, **more: Any) -> Contract:
    """A contract with these attributes, kept in memory below `attr/`."""
    return Contract(
        attributes={n: Attribute(name=n, allowed=("memory:attr/",)) for n in names}, **more
    )


def task(data: Any, session: str = "s1", prompt: str = "") -> Op:
    """A task that is handed out."""
    value = {"data": data, "prompt": prompt}
    return Op(index=0, time_ns=0, type="event", f="task.submit", session=session, value=value)


def mask(*ops: Op, names: tuple[str, ...] = ("iban", "pin", "name"), **more: Any) -> Mask:
    """The mask of some entries."""
    return mask_of(contract(*names), [View(ops)], **more)


PLANTED = mask(task({"customer": {"iban": f"{IBAN} {TOKEN}", "pin": 4711, "name": 'Ann "O" Neil'}}))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"pay to {IBAN} {TOKEN} now", "pay to ‹iban of s1› now"),
        (f"pay to {IBAN} now", "pay to ‹iban of s1› now"),
        ("key de00-0000-0000-12345678-00:1", "key ‹iban of s1›:1"),
        ("DE00000000001234567800", "‹iban of s1›"),
        ("?to=DE00%200000%200000%2012345678%2000&x", "?to=‹iban of s1›&x"),
        (visible("DE00\u200b0000\n0000 12345678 00"), "‹iban of s1›"),
        (json.dumps('x ANN "o"\nneil'), '"x ‹name of s1›"'),
        ("the key DE00 0000 00…345678 00 of o-1", "the key ‹iban of s1›…‹iban of s1› of o-1"),
        ("was …00 0000 123… and", "was …‹iban of s1›… and"),
        ("pin 4711, p4711x, 4,711", "pin ‹pin of s1›, p‹pin of s1›x, ‹pin of s1›"),
        ("14711 47110 4.711 s at 47:11", "14711 47110 4.711 s at 47:11"),
        (f"{TOKEN} is told apart from its value", f"{TOKEN} is told apart from its value"),
        ("order o-s1-t1, key cnry-s1-0123abcd", "order o-s1-t1, key cnry-s1-0123abcd"),
    ],
)
def test_a_value_in_text(text: str, shown: str) -> None:
    assert PLANTED.text(text) == shown


PEOPLE = mask(
    task({"iban": IBAN, "name": "Zo\u00eb D'\u00c1rcy-\u0141\u00f3wa", "pin": "CORP\\frank1999"})
)
NAME = "Zo\u00eb D'\u00c1rcy-\u0141\u00f3wa"


@pytest.mark.parametrize(
    "text",
    [
        quote(NAME),
        quote(quote(NAME)),
        quote_plus(NAME),
        html.escape(NAME),
        "".join(f"&#{ord(c)};" for c in NAME),
        unicodedata.normalize("NFD", NAME),
        "ZOE DARCY LOWA",
        repr(NAME.encode()),
        json.dumps(json.dumps(json.dumps(NAME))),
        "Zo\u00eb <b>D'\u00c1rcy</b>\x1b[1m-\u0141\u00f3wa\x1b[0m",
        IBAN.replace(" ", "&nbsp;"),
        IBAN.replace(" ", "%2520"),
        IBAN.replace(" ", "\x1b[0m"),
        IBAN.replace(" ", "</td><td>"),
        visible(IBAN.replace(" ", "\x1b[0m")),
        r"CORP\frank1999",
        json.dumps(r"CORP\frank1999"),
    ],
)
def test_a_value_in_the_spelling_of_another_format(text: str) -> None:
    for shown in (PEOPLE.text(text), PEOPLE.text(f"it is {text}, as said")):
        assert " of s1›" in shown
        assert not re.search("arcy|1234|frank", shown, re.I), shown


def test_a_long_text_that_was_cut_without_saying_so_keeps_no_half_of_a_value() -> None:
    behind = "x" * 4000 + " " + IBAN[:14]
    assert PLANTED.text(behind) == "x" * 4000 + " ‹iban of s1›"
    assert PLANTED.text(IBAN[9:] + " " + "x" * 4000) == " ‹iban of s1› " + "x" * 4000
    assert PLANTED.text(IBAN[:14]) == IBAN[:14]  # a short text is whole


def test_json_keeps_its_structure() -> None:
    value: Json = {"args": {IBAN: [4711, True, None, 500]}, "password": "x1", "n": -4711, "t": IBAN}
    assert PLANTED.json(value) == {
        "args": {"‹iban of s1›": ["‹pin of s1›", True, None, 500]},
        "password": "‹secret›",
        "n": "‹pin of s1›",
        "t": "‹iban of s1›",
    }
    twice = {IBAN: 1, IBAN.replace(" ", ""): 2}
    assert PLANTED.json(twice) == {"‹iban of s1›": 1, "‹iban of s1› (2)": 2}


def test_the_owner_is_named_only_where_it_is_known() -> None:
    both = mask(task({"iban": IBAN}), task({"iban": IBAN}, session="s2"))
    assert both.text(IBAN) == "‹iban›"
    itself = mask(task({"name": "ann@shop.example"}, session="ann@shop.example"))
    assert itself.text("ann@shop.example") == "‹name›"
    two = mask(task({"iban": "DE00 1111 2222"}), task({"iban": "DE00 1111 3333"}, session="s2"))
    assert two.text("DE00 11…") == "‹iban›…"


def test_what_is_no_value_is_not_learned() -> None:
    held = mask(task({"iban": "unknown", "pin": 12, "name": "Li", "order": "o-1234567"}))
    text = "unknown 12 Li o-1234567"
    assert held.text(text) == text


def test_only_attributes_of_the_contract_are_masked() -> None:
    other = mask(
        task({"iban": IBAN, "phone": f"555 0199 attr-phone:{TOKEN[10:]}"}), names=("iban",)
    )
    assert other.text("555 0199") == "555 0199"


def test_values_in_a_prompt_and_in_memory() -> None:
    asked = mask(task({}, prompt=f"Please pay {IBAN} {TOKEN} at once"))
    assert asked.text(f"to {IBAN}") == "to ‹iban of s1›"
    row: Json = {"id": "attr/t/s1", "value": {"iban": "GB33 BUKB 2020", "name": "the agent"}}
    cases: tuple[tuple[str, Json], ...] = (
        ("memory.write", row),
        ("memory.write_many", {"writes": [row]}),
        ("memory.scan", {"items": [row]}),
        ("final.memory", {"items": [row]}),
    )
    for f, value in cases:
        kept = mask(Op(index=0, time_ns=0, type="commit", f=f, session="s1", value=value))
        assert kept.text("gb33bukb2020") == "‹iban of s1›"
        # An agent cannot blot out the report's own words by calling them an attribute.
        assert kept.text("the agent asks for refund") == "the agent asks for refund"
    elsewhere: Json = {"id": "note/1", "value": {"iban": "GB33 BUKB 2020"}}
    op = Op(index=0, time_ns=0, type="commit", f="memory.write", session="s1", value=elsewhere)
    assert mask(op).text("GB33 BUKB 2020") == "GB33 BUKB 2020"


def test_values_in_what_a_service_answers() -> None:
    told: Json = {
        "output": {"rows": [{"IBAN": "GB33 BUKB 2020", "name": "the agent", "pin": 4711}]}
    }

    def of(kind: Any) -> Mask:
        op = Op(index=1, time_ns=0, type=kind, f="tools.customer", session="s1", call=0, value=told)
        return mask(op)

    assert of("ok").text("gb33bukb2020") == "‹iban of s1›"
    # A service may repeat what the agent sent it, so plain words stay, and short numbers.
    assert of("ok").text("the agent 4711") == "the agent 4711"
    assert of("invoke").text("GB33 BUKB 2020") == "GB33 BUKB 2020"


def test_histories_are_not_read_without_attributes() -> None:
    def views() -> Any:
        raise AssertionError("nobody needs them")
        yield

    assert mask_of(Contract(), views()).text("plain") == "plain"


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_DEF-1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ‹secret›"),
        ("authorization: basic dXNlcjpwYXNz=", "authorization: basic ‹secret›"),
        (f"cookie={JWT};", "cookie=‹secret›;"),
        ("key sk-proj-Ab12Cd34Ef56 ok", "key ‹secret› ok"),
        ("sk_live_4eC39HqLyjWD, ghp_1234567890abcdef", "‹secret›, ‹secret›"),
        ("AKIAIOSFODNN7EXAMPLE", "‹secret›"),
        ("password=hunter22&x=1", "password=‹secret›&x=1"),
        ('{"api_key": "a b c"}', '{"api_key": "‹secret›"}'),
        ('{\\"client_secret\\":\\"abcd\\"}', '{\\"client_secret\\":\\"‹secret›\\"}'),
        ("postgres://ann:pw@db/x", "postgres://‹secret›@db/x"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nx",
            "‹secret›\nx",
        ),
        (
            "http://127.0.0.1:8123/r0123456789abcdef/home-1/tools",
            "http://127.0.0.1:8123/‹secret›/home-1/tools",
        ),
    ],
)
def test_credentials(text: str, shown: str) -> None:
    assert Mask().text(text) == shown
    assert Mask().text(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "the same key 8cd2cfdc421fffb0, Idempotency-Key: s1-t1:refund",
        "token = cnry-s1-0123abcd, task-sk-1, risk-free sk-learn",
        "Basic understanding, bearer certificates; password: required",
        "https://shop.example/orders?q=a@b, mailto:ann@shop.example, git@host:repo",
        "http://127.0.0.1:8123/orders, POST billing/v1/refunds",
    ],
)
def test_what_looks_like_none_stays(text: str) -> None:
    assert without_credentials(text) == text


def test_the_lab_has_no_words_that_look_like_a_secret() -> None:
    for check in CHECK_IDS:
        assert Mask().text(explain(check)) == explain(check)


def test_credentials_of_the_contract_and_of_the_caller() -> None:
    target = Target(
        commands=(("agent",),),
        env={"OPENAI_API_KEY": "kt-93x-lab-77", "MODEL": "small-7b", "BASE_KEY": "{model}/v1"},
        submit=Submit(headers={"Authorization": "Bearer qqww99"}),
    )
    held = mask_of(contract(target=target), [], more=["s3cret words", "abc"])
    assert held.text("kt-93x-lab-77 S3CRET-words qqww99") == "‹secret› ‹secret› ‹secret›"
    assert held.text("small-7b {model}/v1 abc") == "small-7b {model}/v1 abc"
    assert names_a_secret("X-Api-Key") and not names_a_secret("idempotency_key")


def test_no_mask_changes_nothing() -> None:
    text = f"{IBAN} password=hunter22"
    assert NO_MASK.text(text) == text
    assert NO_MASK.json({"password": 4711}) == {"password": 4711}


PIECES = st.sampled_from(
    (
        *(IBAN, IBAN[:14], IBAN[9:], "…", "‹iban of s1›", "‹secret›", "‹", "›", "4711", " ", "-"),
        *("ann o neil", "Bearer ", "abc123456", "password=", "://", "u:p@", TOKEN, "\\u200b"),
        *("%20", "sk-", "İß", "\x1b"),
    )
)
TEXT = st.lists(st.one_of(PIECES, st.text(max_size=6)), max_size=8).map("".join)
JSON = st.recursive(
    st.one_of(TEXT, st.integers(-5000, 5000), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=400)
@given(TEXT)
def test_masking_twice_is_masking_once(text: str) -> None:
    once = PLANTED.text(text)
    assert PLANTED.text(once) == once
    assert IBAN not in once


@given(JSON)
def test_masking_json_twice_is_masking_once(value: Any) -> None:
    once = PLANTED.json(value)
    assert PLANTED.json(once) == once
    assert IBAN not in json.dumps(once, ensure_ascii=False)


@given(TEXT, st.text(max_size=10), st.sampled_from([IBAN, IBAN.lower(), IBAN.replace(" ", "-")]))
def test_a_value_is_found_whatever_stands_around_it(left: str, right: str, value: str) -> None:
    assert value not in PLANTED.text(f"{left} {value} {right}")


@given(st.text(st.characters(exclude_characters="0123456789…‹:=@")))
def test_text_without_a_value_is_not_changed(text: str) -> None:
    held = mask(task({"iban": IBAN, "pin": 4711}))
    if not any(word in text.casefold() for word in ("bearer", "basic", "sk-", "-----", "key")):
        assert held.text(text) == text


def test_a_hundred_thousand_texts_take_seconds() -> None:
    people = [task({"iban": f"DE00 0000 {n:08d} 00", "pin": 1000 + n}, f"s{n}") for n in range(500)]
    held = mask(*people)
    texts = [f"the agent asks for credit o-s{n}-t1, key s{n}:credit:1" for n in range(100_000)]
    began = time.process_time()
    changed = sum(held.text(text) != text for text in texts)
    assert changed < len(texts) / 50  # numbers of orders that are somebody's PIN as well
    assert time.process_time() - began < 30


@pytest.mark.parametrize(
    "piece",
    ["…" + IBAN[:12], "‹", "4711 ", "password", "a://", "eyJ-", "bearer ", "\\u0041", IBAN[:-1]],
)
def test_long_hostile_text_takes_no_long_time(piece: str) -> None:
    began = time.process_time()
    PLANTED.text(piece * (100_000 // len(piece)))
    assert time.process_time() - began < 10
