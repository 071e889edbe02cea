"""egress.policy: hosts, methods, sizes and redirects."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.check.builder import CONTRACT, History, check, codes

from chaoslab.check.egress import host_of
from chaoslab.contract import Egress

EGRESS = "egress.policy"
RULES = replace(
    CONTRACT, egress=Egress(hosts=("kb.example", "10.0.0.7"), methods=("GET",), body_bytes_max=4)
)


def ask(h: History, url: Any, method: Any = "GET", body: Any = "", task: str = "s1-t1") -> int:
    return h.invoke("network.request", {"method": method, "url": url, "body": body}, task)


def said(h: History) -> list[str]:
    return codes(EGRESS, h.end(), contract=RULES)


def test_not_promised_and_not_used() -> None:
    h = History()
    assert check(EGRESS, h, contract=RULES).verdict == "not-applicable"
    ask(h, "http://tracker.example/")
    assert check(EGRESS, h).verdict == "not-applicable"


@pytest.mark.parametrize(
    "url",
    [
        "http://kb.example",
        "https://KB.example:8443/a?b=http://tracker.example#c",
        "HTTP://kb.example./@tracker.example",
        "http://kb.example/search?q=a b",
        "http://10.0.0.7/",
    ],
)
def test_allowed(url: str) -> None:
    h = History()
    ask(h, url)
    found = check(EGRESS, h.end(), contract=RULES)
    assert (found.verdict, found.looked_at) == ("valid", 1)


@pytest.mark.parametrize(
    "url",
    [
        "http://tracker.example/",
        "http://kb.example.tracker.example/",
        "http://tracker.example/kb.example",
        "http://xkb.example/",
        "http://kb.example../",
        "http://kb.example@tracker.example/",
        "http://me:pw@kb.example/",
        "http://tracker.example\\@kb.example/",
        "http://kb%2eexample/",
        "http://\u212ab.example/",  # the Kelvin sign: lower case makes a k of it
        "http://kb\u3002example/",
        "http://kb.exam\tple/",
        " http://kb.example/",
        "http://kb.example/\x00",
        "http://kb.example:port/",
        "http://[kb.example]/",
        "http://[::1]/",
        "http://10.7/",
        "http://167772167/",
        "ftp://kb.example/",
        "//kb.example/",
        "kb.example",
        "http:kb.example",
        "http:///kb.example",
        "",
        None,
        ["http://kb.example/"],
    ],
)
def test_not_allowed(url: Any) -> None:
    h = History()
    ask(h, url)
    assert said(h) == ["host-not-allowed/direct"]


def test_a_list_of_nothing_allows_nothing() -> None:
    h = History()
    ask(h, "nowhere")
    found = check(EGRESS, h, contract=replace(CONTRACT, egress=Egress()))
    assert found.violations[0].explanation.endswith("allowed: no host at all")


def test_what_is_said_of_it() -> None:
    h = History()
    ask(h, "http://tracker.example/", "PUT", "12345", task="")
    h.ops[0] = replace(h.ops[0], process="")
    found = check(EGRESS, h, contract=RULES).violations
    assert [(v.subject, v.explanation) for v in found] == [
        (
            "PUT tracker.example",
            "a PUT request of the agent was sent to tracker.example; allowed: kb.example, 10.0.0.7",
        ),
        (
            "PUT tracker.example",
            "a PUT request of the agent was sent to tracker.example; allowed: GET",
        ),
        (
            "PUT tracker.example",
            "a PUT request of the agent carried 5 bytes to tracker.example; allowed: 4",
        ),
    ]
    assert found[0].witness == (0,)


def test_an_odd_host_may_not_be_listed_by_chance() -> None:
    assert [host_of(u) for u in ("http://", "http://\u212a", "x")] == ["", "\u212a", ""]


@pytest.mark.parametrize(("method", "code"), [("get", []), ("POST", ["m"]), (None, ["m"])])
def test_methods(method: Any, code: list[str]) -> None:
    h = History()
    ask(h, "http://kb.example/", method)
    assert said(h) == ["method-not-allowed/direct" for _ in code]


@pytest.mark.parametrize(
    ("body", "large"),
    [
        ("1234", False),
        ("12345", True),
        ("\u00e4\u00e4", False),
        ("\u00e4\u00e4.", True),
        ("\ufffd" * 4, False),  # four bytes that were no text
        ("\ud800\ud800", True),
        (None, False),
    ],
)
def test_size_in_bytes(body: Any, large: bool) -> None:
    h = History()
    ask(h, "http://kb.example/", body=body)
    assert said(h) == (["body-too-large/direct"] if large else [])


@pytest.mark.parametrize("answer", ["ok", "info", "fail", "none"])
def test_what_was_sent_was_sent(answer: str) -> None:
    h = History()
    call = ask(h, "http://tracker.example/")
    if answer == "ok":
        h.ok(call, status=200)
    elif answer != "none":
        h.info(call) if answer == "info" else h.fail(call, "connection-refused")
    assert said(h) == ["host-not-allowed/direct"]


@pytest.mark.parametrize(
    ("asked", "location", "then"),
    [
        ("http://kb.example/a", "http://tracker.example/x", "http://tracker.example/x"),
        ("http://kb.example/a", "//tracker.example/x#top", "http://tracker.example/x"),
        ("https://kb.example/a", "//tracker.example/x", "https://tracker.example/x#other"),
    ],
)
def test_after_a_redirect(asked: str, location: str, then: str) -> None:
    h = History()
    answer = h.ok(ask(h, asked), status=302, headers={"location": location})
    sent = ask(h, then)
    found = check(EGRESS, h.end(), contract=RULES)
    assert [(v.code, v.anomaly, v.witness) for v in found.violations] == [
        ("host-not-allowed", "after-redirect", (answer, sent))
    ]
    assert "tracker.example, where a redirect led" in found.violations[0].explanation


def test_a_redirect_is_another_tasks_or_leads_elsewhere() -> None:
    h = History()
    h.ok(ask(h, "http://kb.example/a"), headers={"location": "http://tracker.example/x"})
    ask(h, "http://tracker.example/x", task="s2-t1")
    ask(h, "http://tracker.example/y")
    assert said(h) == ["host-not-allowed/direct"]
    ask(h, "http://tracker.example/x")
    assert said(h) == ["host-not-allowed/direct", "host-not-allowed/after-redirect"]


@pytest.mark.parametrize("headers", [None, [], {"location": 3}, {"location": ""}, {"x": "y"}])
def test_answers_without_a_location(headers: Any) -> None:
    h = History()
    h.ok(ask(h, "http://kb.example/a"), headers=headers)
    ask(h, "http://kb.example/b")
    assert said(h) == []


def test_a_location_that_cannot_be_read_is_no_crash() -> None:
    h = History()
    h.ok(ask(h, "http://kb.example/a"), headers={"location": "http://[x"})
    ask(h, "http://[x")
    assert said(h) == ["host-not-allowed/after-redirect"]


def test_a_flood_is_one_line() -> None:
    h = History()
    for n in range(5):
        ask(h, f"http://tracker.example/{n}")
    assert len(said(h)) == 1
