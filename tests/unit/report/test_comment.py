"""The comment: it says what was seen and what was not, always fits, and nothing in it acts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from tests.unit.report.campaigns import (
    GAPS,
    HOSTILE,
    cut,
    hostile_results,
    known,
    known_bug,
    line,
    planted,
    promised,
    results,
    run,
    violation,
)

from chaoslab.report.comment import COMMENT_MAX_BYTES, comment
from chaoslab.report.markdown import block, plain, row, span

OTHER = violation("keys.lineage", code="key-changed", fingerprint="ff" * 8)
PARSER = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
OUR_HTML = re.compile(
    r"<!-- chaoslab -->|</details>"
    r"|<details><summary>Bug \d+: why, and how to see it again</summary>"
)


def broken(seed: int = 0, *found: dict[str, Any], **more: Any) -> dict[str, Any]:
    return run(seed, violations=list(found) or [violation()], **more)


def answer(text: str) -> str:
    return text.splitlines()[2]


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^### (.+?)(?: \(\d+\))?$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# -- what it says


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (results(), "Nothing was observed: no run was done."),
        (results(run(0), run(1)), "No promise was seen broken: 2 of 2 runs held."),
        (results(broken(0), run(1)), "Broken: 1 bug in 1 of 2 runs."),
        (
            results(broken(0), run(1), known=known(known_bug())),
            "Nothing new was seen broken: 1 of 2 runs held, known bugs in 1.",
        ),
        (
            results(broken(0), known=known(known_bug(until="2026-01-02"))),
            "Broken: 1 bug in 1 of 1 runs, 1 of them accepted for a time that is over.",
        ),
        (
            results(run(0, broke="x", verdict="unknown"), planted(1, caught=False)),
            "No answer: 1 run could not be done, 1 bug planted on purpose not found.",
        ),
        (results(run(0, differs="x")), "No answer: 1 run could not be repeated."),
        (
            results(run(0), gaps=GAPS),
            "Not proven: what the contract requires was not seen, or runs are missing.",
        ),
        (
            results(run(0, vacuous="x", verdict="unknown")),
            "Nothing was proven: 0 of 1 run held, 1 unproven.",
        ),
        (
            results(run(0), run(1, vacuous="x", verdict="unknown"), cut=[cut()]),
            "No promise was seen broken: 1 of 2 runs held, 1 unproven, 1 left out.",
        ),
        (results(planted(0)), "No agent of yours was looked at, only planted bugs."),
    ],
)
def test_the_answer_in_one_sentence(found: dict[str, Any], words: str) -> None:
    assert answer(comment(found)) == f"**{words}**"


def test_new_bugs_come_with_their_chain_and_their_replay() -> None:
    text = comment(results(broken(0), broken(1, OTHER), run(2)), folder="reports/x")
    new = sections(text)["New"]
    assert "| 1 | money | refund: one action stands more than once" in new
    assert "`matrix/timeout` | 1 run |" in new
    assert "  #1 the agent asks\n  so: twice" in text
    assert "chaoslab replay reports/x/matrix-timeout--mine--s0\n" in text
    assert text.count("<details>") == 2


def test_known_expired_gone_and_not_run_each_have_their_place() -> None:
    bugs = [
        known_bug(),
        known_bug("ff" * 8, until="2026-01-20"),
        known_bug("dd" * 8),
        known_bug("ee" * 8),
    ]
    found = results(broken(0), broken(1, OTHER), known=known(*bugs))
    found["known"][2]["state"], found["known"][3]["state"] = "gone", "not-run"
    parts = sections(comment(found))
    assert "| 1 run | `ann` | `PAY-7` | `2026-03-01` |" in parts["Known"]
    assert "`2026-01-20`" in parts["Expired"] and "New" not in parts
    assert "did not; take them out" in parts["Resolved: known, and no longer seen"]
    assert "not resolved" in parts["Known, not run"]


def test_unproven_promises_are_told_the_required_ones_first() -> None:
    found = results(run(0), run(1, vacuous="no fault struck", verdict="unknown"))
    found["promises"] = promised(
        line("a", says="notify: done at least once"),
        line("b", says="refund: done exactly once", required=True),
        line("c", says="proven anyhow", state="proven"),
    )
    told = sections(comment(found))["Unproven"]
    assert told.index("refund: done exactly once | yes |") < told.index("notify: done at least")
    assert "`matrix/timeout seed 1` | no | `no fault struck`" in told
    assert "proven anyhow" not in told


def test_what_was_cut_or_is_missing_is_told() -> None:
    text = comment(results(run(0), cut=[cut(8), cut(9)], gaps=GAPS, merged=["a", "b"]))
    parts = sections(text)
    assert (
        "| 2 | `10 m were over` | `matrix/timeout seed 8`, `matrix/timeout seed 9` |"
        in (parts["Left out"])
    )
    assert GAPS[0] in parts["Missing, and to keep in mind"]
    first = run(0)
    plan = {"index": 1, "of": 2, "plan": "d", "runs": [first["id"], "x", "y"]}
    text = comment(results(first, shard=plan))
    assert "This is shard 1 of 2 alone: 2 of 3 planned runs are not in it." in text


def test_planted_bugs_are_one_line() -> None:
    text = comment(results(run(0), planted(1), planted(2)))
    assert text.endswith("Planted bugs of this version: 1 of 1 found, each by its check.\n")
    text = comment(results(run(0), planted(1, caught=False)))
    assert text.endswith("Planted bugs of this version: 0 of 1 found; MISSED: `planted`.\n")
    assert "bug missed" in text


def test_against_an_older_campaign() -> None:
    third = violation("outcome.honest", code="claimed-nothing", fingerprint="ee" * 8)
    old = results(broken(0), broken(1, OTHER), broken(2, third))
    parts = sections(comment(results(broken(0), run(1)), against=old))
    assert "New" not in parts and "| 1 | money |" in parts["Still broken, as in the older campaign"]
    assert "1 of 1 runs that showed it were done" in parts["Resolved since the older campaign"]
    assert "Not run is not resolved." in parts["Not run since the older campaign"]
    text = comment(results(broken(0)), against=results(run(0, contract="other")))
    assert "The older campaign cannot be compared" in text and "### New (1)" in text


def test_warnings_count_nothing_and_are_shown() -> None:
    text = comment(results(run(0, warnings=[violation()])))
    assert answer(text) == "**No promise was seen broken: 1 of 1 run held.**"
    assert "they count nothing yet" in sections(text)["Warnings"]


def test_the_same_results_give_the_same_bytes() -> None:
    found = hostile_results("x | y")
    assert comment(found, against=found) == comment(found, against=found)


def test_results_of_an_older_version_are_read() -> None:
    kept = ("format", "exit_code", "complete", "stopped", "runs")
    old = {k: v for k, v in results(broken(0)).items() if k in kept}
    for name in ("warnings", "scenario_faults", "tools", "ruleset"):
        del old["runs"][0][name]
    text = comment(old)
    assert answer(text) == "**Broken: 1 bug in 1 of 1 runs.**" and "### New (1)" in text


# -- it fits


def bugs(count: int, text: str) -> list[dict[str, Any]]:
    return [
        violation(fingerprint=f"{n:016x}", explanation=text, tool=f"t{n}", because=[text] * 40)
        for n in range(count)
    ]


@pytest.mark.parametrize("text", ["short", "`" * 3_000, "𝕏" * 3_000, "\x00" * 3_000])
def test_it_fits_whatever_comes(text: str) -> None:
    many = bugs(60, text)
    runs = [broken(n, *many, agent=f"{text}{n % 7}.py:make") for n in range(14)]
    runs += [run(n, vacuous=f"{n}{text}", verdict="unknown") for n in range(100, 160)]
    runs += [run(n, broke=f"{n}{text}", verdict="unknown") for n in range(200, 260)]
    found = results(*runs, cut=[cut(n) | {"why": f"{n}{text}"} for n in range(300, 360)])
    entry = hostile_results(text)["known"][0]
    found["known"] = [entry | {"state": state} for state in ("gone", "not-run") for _ in range(60)]
    found["promises"] = promised(*(line(f"l{n}", says=text, reason=text) for n in range(60)))
    found["stopped"] = text * 10
    old = results(*[broken(n, *bugs(90, text)[30:]) for n in range(5)])
    old["promises"] = promised(*(line(f"l{n}", state="proven") for n in range(60)))
    for against in (None, old):
        whole = comment(found, against=against, folder="r" * 400)
        assert 10_000 < len(whole.encode()) < COMMENT_MAX_BYTES
        assert re.search(r"^and \d+ more$", whole, re.M)
        assert re.search(r"^and \d+ more, for which there is no room here", whole, re.M)


def test_ten_thousand_runs_fit() -> None:
    three = bugs(3, "text")
    runs = [broken(n, *three) if n % 3 else run(n) for n in range(10_000)]
    whole = comment(results(*runs))
    assert len(whole.encode()) < COMMENT_MAX_BYTES
    assert answer(whole) == "**Broken: 3 bugs in 6666 of 10000 runs.**"


# -- nothing in it acts


def tokens(text: str) -> Iterator[Token]:
    for token in PARSER.parse(text):
        yield token
        yield from token.children or ()


@pytest.mark.parametrize("text", HOSTILE)
def test_words_of_an_agent_stay_words(text: str) -> None:
    found = hostile_results(text)
    for whole in (comment(found), comment(found, against=hostile_results(text + "!"), folder=text)):
        assert len(whole.encode()) < COMMENT_MAX_BYTES
        kinds = set()
        for token in tokens(whole):
            kinds.add(token.type)
            if token.type in ("html_block", "html_inline"):
                assert OUR_HTML.fullmatch(token.content.strip()), token.content
            if token.type == "text":
                assert not re.search(r"[@\[\]<>`*~\\$]|www|http|evil|deadbeef|#\d", token.content)
        assert {"table_open", "fence", "code_inline", "html_block"} <= kinds
        assert not kinds & {"image", "link_open", "em_open", "s_open", "code_block"}
        assert not re.search(r"(?m)^\s*(::|/)\w", whole)
        assert "##[" not in whole and "##vso" not in whole
        widths = {len(row.split(" | ")) for row in re.findall(r"^\| .* \|$", whole, re.M)}
        assert widths <= {1, 2, 3, 4, 5, 6, 7, 8}


@pytest.mark.parametrize("text", HOSTILE)
def test_every_row_has_the_cells_of_its_table(text: str) -> None:
    stack: list[int] = []
    for token in PARSER.parse(comment(hostile_results(text), against=hostile_results(text))):
        if token.type == "tr_open":
            stack.append(0)
        elif token.type in ("td_open", "th_open"):
            stack[-1] += 1
        elif token.type == "table_close":
            assert len(set(stack)) == 1 and len(stack) > 1
            stack.clear()


@pytest.mark.parametrize("text", [*HOSTILE, "`", "``", "` `", " ` ", "a`", "`a", "", " ", "|"])
def test_a_span_is_one_piece_of_code(text: str) -> None:
    found = PARSER.parse(f"| x | y |\n|---|---|\n{row([span(text), 'end'])}\n")
    cells = [t.children or [] for t in found if t.type == "inline"][2:]
    assert len(cells) == 2 and cells[1][0].content == "end"
    children = cells[0]
    assert [c.type for c in children] in (["code_inline"], ["text"])
    assert children[0].type == "code_inline" or children[0].content == "-"


@pytest.mark.parametrize("text", [*HOSTILE, "```", "~~~", "    ```", "\n```\n"])
def test_a_block_is_one_piece_of_code(text: str) -> None:
    found = PARSER.parse(block([text, "  more"]) + "\n\nafter")
    assert [t.type for t in found] == ["fence", "paragraph_open", "inline", "paragraph_close"]


def test_only_plain_words_stand_outside_of_code() -> None:
    for text in ("money", "customer-visible", "refund: done twice", "the agent's own, and so on"):
        assert plain(text) == text
    for text in ("a_b_c", "@a", "a.b", "x1", "www evil", "deadbeef", "- a", "a\nb", "# a", ""):
        assert plain(text) == span(text)
