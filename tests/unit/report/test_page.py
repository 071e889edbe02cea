"""The page as a file: what stands in it, that it is sound HTML, and that no word of an agent acts.

What a person does with it (open, click, copy, print) is tried in a browser elsewhere.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report import sample

from chaoslab.core.errors import LabError
from chaoslab.report.page import PAGE_FILE, write_page
from chaoslab.report.page.chunks import encode, runs_chunk
from chaoslab.report.page.failures import Failure, LedgerRow, LedgerTable
from chaoslab.report.page.gaps import gaps_of
from chaoslab.report.page.matrix import matrix_of
from chaoslab.report.page.render import hash_of, page_html, script_text, style_text
from chaoslab.report.page.sections import chain, context_of, planted, promises_section

ASSETS = Path(__file__).parents[3] / "harness" / "chaoslab" / "report" / "page" / "assets"
VOID = {"meta", "link", "br", "input", "img", "base", "hr", "wbr", "col", "area", "embed", "source"}
EVIL = "</script><img src=x onerror=alert(1)>\"'><b id=evil>{{7*7}}\u202e\x1b[2J\ud800"


class Seen(HTMLParser):
    """Every element with its attributes, and the mistakes a browser would silently mend."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.mistakes: list[str] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.mistakes += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        self.mistakes += [f"<{tag}> has {n} twice" for n in names if names.count(n) > 1]
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.mistakes.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def failure(bug: dict[str, Any]) -> Failure:
    rows = (
        LedgerRow(cells=("refund:o-1#1", "o-1"), state="same", op=15),
        LedgerRow(cells=("refund:o-1#2", bug["subject"]), state="extra", op=46),
    )
    ledger = LedgerTable(
        tool=bug["tool"],
        title="The ledger of refund",
        words="1 row too many.",
        columns=("ref", "order"),
        rows=rows,
    )
    return Failure(
        bug=bug,
        ledger=ledger,
        todo=bug["todo"],
        scenario_text="format = 1\n",
        replay=f"chaoslab replay {bug['example']}",
        affected=("1 of 6 tasks: s1-t1",),
    )


def page(results: Any = None, **more: Any) -> str:
    whole = sample.results() if results is None else results
    context = context_of(
        whole,
        failures=[failure(bug) for bug in whole["bugs"]],
        matrix=matrix_of(whole),
        chunks={"runs": encode(runs_chunk(whole)).decode()},
        folder="20261123-080000",
        **more,
    )
    return page_html(context)


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen(page())


def test_it_is_sound_html(seen: Seen) -> None:
    assert seen.mistakes == []
    ids = [str(attrs["id"]) for _, attrs in seen.elements if "id" in attrs]
    assert sorted(ids) == sorted(set(ids))
    for _, attrs in seen.elements:
        for name in ("aria-labelledby", "data-copy", "for"):
            assert attrs.get(name) in {None, *ids, "run-title"}


def test_it_loads_nothing_and_allows_only_its_own_script_and_style(seen: Seen) -> None:
    text = page()
    [policy] = [
        m["content"] or "" for m in seen.all("meta") if m.get("http-equiv", "") and m["content"]
    ]
    assert policy.startswith("default-src 'none'; ")
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert (script, style) == (script_text(), style_text())
    assert f"script-src {hash_of(script)};" in policy and f"style-src {hash_of(style)};" in policy
    outside = [
        value
        for _, attrs in seen.elements
        for name in ("src", "href", "action", "data", "poster")
        if (value := attrs.get(name)) and not value.startswith(("#", "data:"))
    ]
    assert outside == []
    for word in ("@import", "url(", "http:", "https:"):
        assert word not in style


def test_no_element_has_a_style_or_a_handler_of_its_own(seen: Seen) -> None:
    found = [
        (tag, name)
        for tag, attrs in seen.elements
        for name in attrs
        if name == "style" or name.startswith("on")
    ]
    assert found == []


def test_headings_landmarks_and_tables_are_there_for_a_screen_reader(seen: Seen) -> None:
    levels = [int(tag[1]) for tag, _ in seen.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert len(seen.all("main")) == len(seen.all("nav")) == 1
    assert len(seen.all("table")) == len(seen.all("caption")) > 5
    assert all(th.get("scope") for th in seen.all("th"))
    assert seen.all("html") == [{"lang": "en"}]
    assert any(one.get("aria-live") == "polite" for one in seen.all("div"))
    for region in (one for one in seen.all("div") if one.get("class") == "scroll"):
        assert region.get("tabindex") == "0" and region.get("aria-label")


def test_the_answer_is_a_word_and_a_shape_and_says_what_the_exit_code_means(seen: Seen) -> None:
    assert "Broken" in seen.text and "Exit code 1 : a promise is broken." in seen.text
    assert "5 runs, 2 held, 2 broken, 1 unproven" in seen.text
    icons = {use.get("href") for use in seen.all("use")}
    assert icons == {"#i-ok", "#i-bad", "#i-warn", "#i-none"}
    assert {f"#{one.get('id')}" for one in seen.all("symbol")} == icons


def test_what_was_not_covered_stands_there_like_what_failed(seen: Seen) -> None:
    assert "fencing = true would" in seen.text  # what would promise it
    assert "the planned fault found no write of a group" in seen.text
    assert "no time left" in seen.text
    rows = [tr.get("data-state") for tr in seen.all("tr") if "data-state" in tr]
    assert sorted(str(row) for row in rows) == ["broken", "not-promised", "proven", "unproven"]


def test_a_bug_is_told_from_consequence_to_command(seen: Seen) -> None:
    for words in (
        "money new refund: one action stands more than once where once was promised",
        "known until 2026-12-24, by payments",
        "#45 5.900 s the agent (home-1) asks for refund o-1, 2nd try, under ANOTHER key 422c",
        "… 3 more like that",
        "extra: only with faults refund:o-1#2",
        "chaoslab replay matrix-timeout-after-commit--refund_bot--s0",
        "Derive the key once, store it, and send the same one on every try.",
        "1 of 6 tasks: s1-t1",
    ):
        assert words in seen.text
    assert "what to change:" not in seen.text  # it stands there once, under its own heading


def test_words_of_an_agent_are_text_and_nothing_else() -> None:
    hostile = Seen(page(sample.hostile(EVIL)).encode("utf-8").decode())
    assert hostile.mistakes == []
    assert not hostile.all("img") and not hostile.all("b id=evil")
    assert "evil" not in {attrs.get("id") for _, attrs in hostile.elements}
    assert "49" not in hostile.text and "{{7*7}}" in hostile.text
    assert "\\u202e" in hostile.text and "\u202e" not in hostile.text
    assert "\x1b" not in hostile.text and "onerror=alert(1)" in hostile.text
    scripts = [one.get("type") for one in hostile.all("script")]
    assert scripts == [None if t is None else "application/octet-stream" for t in scripts]
    assert scripts.count(None) == 1


FORBIDDEN = re.compile(
    r"\binnerHTML\b|\bouterHTML\b|insertAdjacentHTML|document\.write|\beval\s*\(|new Function|"
    r"setAttribute\(\s*[\"']style|createContextualFragment|srcdoc|setTimeout\(\s*[\"'`]"
)


@pytest.mark.parametrize("path", sorted(ASSETS.glob("*.js")), ids=lambda p: p.name)
def test_no_script_makes_markup_of_text(path: Path) -> None:
    assert FORBIDDEN.findall(path.read_text(encoding="utf-8")) == []


def _shade(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_shade(one), _shade(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_word_can_be_read_in_both_themes(theme: str) -> None:
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", style_text())
    colours = {name: light if theme == "light" else dark for name, light, dark in pairs}
    texts = ("text", "muted", "ok", "bad", "warn", "info", "accent", "strike")
    wanted = [(text, ground) for text in texts for ground in ("bg", "panel", "sunk")]
    wanted += [(text, f"{text}-soft") for text in ("ok", "bad", "warn")]
    wanted += [("text", f"{look}-soft") for look in ("ok", "bad", "warn", "none")]
    wanted += [("muted", "none-soft"), ("on", "bad"), ("on", "ok"), ("on", "warn")]
    poor = {
        pair: round(ratio, 2)
        for pair in wanted
        if (ratio := _contrast(colours[pair[0]], colours[pair[1]])) < 4.5
    }
    assert poor == {}


def test_gaps_are_told_once_each_with_the_runs_that_have_them() -> None:
    whole = sample.results(complete=False)
    whole["runs"] += [
        sample.run("matrix/torn-write", seed, verdict="unknown", vacuous=why)
        for seed, why in ((1, "nothing fired"), (2, "nothing fired"))
    ]
    whole["runs"].append(sample.run("matrix/x", 0, broke="the agent hung"))
    told = [(gap["kind"], gap["why"], gap["count"]) for gap in gaps_of(whole)]
    assert told[0][0] == "not finished"
    assert ("proves nothing", "nothing fired", 2) in told
    assert ("could not run", "the agent hung", 1) in told
    assert ("promise unproven", "torn?", 1) in told
    kinds = [kind for kind, _, _ in told]
    assert kinds.index("could not run") < kinds.index("proves nothing") < len(kinds) - 1
    assert kinds[-1] == "not promised"


def test_a_shard_says_that_it_is_only_a_part() -> None:
    shard = {"index": 2, "of": 4, "plan": "p", "runs": ["x"] * 20}
    [gap] = [g for g in gaps_of(sample.results(shard=shard)) if g["kind"] == "a part of the plan"]
    assert gap["why"].startswith("shard 2 of 4: 5 of 20 runs")
    lost = ["shard 3 of 4 is missing"]
    merged = gaps_of(sample.results(complete=False, merged=["a", "b"], shard=None, gaps=lost))
    assert (merged[0]["kind"], merged[0]["why"]) == ("missing", lost[0])


def test_the_bar_of_a_promise_never_hides_a_single_broken_run() -> None:
    counts = {"proven": 9_999, "broken": 1, "unproven": 0, "other": 0}
    table = {**sample.results()["promises"][0], "lines": [sample.line("a.b", "G", "s", "broken")]}
    table["lines"][0]["runs"] = counts
    [[line]] = promises_section([table])["tables"][0]["groups"].values()
    assert line["bar"] == [("bad", 0, 4), ("ok", 4, 96)]


def test_a_chain_that_is_missing_or_odd_is_no_trouble() -> None:
    assert chain(None) == {"steps": [], "so": ""}
    assert chain(["  a rule of your own"])["steps"][0]["says"] == "a rule of your own"


def test_planted_bugs_of_the_campaign_are_told_in_one_line() -> None:
    one = sample.run("matrix/x", 0, role="negative-control", caught=True)
    assert planted({"runs": [one]}) == "1 of 1 planted bugs found, each by its check."
    assert "MISSED: refund_bot" in planted({"runs": [{**one, "caught": False}]})
    assert "chaoslab selftest" in planted(sample.results())


def test_coverage_and_an_older_campaign_get_their_own_part_only_where_they_are() -> None:
    plain = page()
    assert 'id="coverage"' not in plain and 'id="against"' not in plain
    change = {"title": "gone bug", "check": "a.b", "old_runs": ["x"], "new_runs": [], "why": "w"}
    against = {
        "comparable": True,
        "notes": ["other versions"],
        **{"new": [], "ongoing": [], "resolved": [change], "not_run": []},
        **{"lines": [], "only_old": [], "only_new": ["y"]},
    }
    coverage = {"title": "Sweep of sites", "rows": [{"site": "a", "struck": 3}, {"site": "b"}]}
    text = Seen(page(sample.results(coverage=coverage), against=against)).text
    assert "gone bug a.b resolved 1 0 w" in text and "Sweep of sites" in text
    assert "site struck a 3 b" in text


def test_unmasked_is_said_at_the_top_and_at_the_bottom() -> None:
    text = Seen(page(unmasked=True)).text
    assert text.count("not masked") == 1 and "Not masked:" in text and "Masking OFF" in text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A campaign of which only results.json is left."""
    (tmp_path / "results.json").write_text(json.dumps(sample.results()))
    return tmp_path


def test_the_same_folder_gives_the_same_bytes(folder: Path) -> None:
    first = write_page(folder).read_bytes()
    assert write_page(folder).read_bytes() == first
    assert Seen(first.decode()).mistakes == []
    assert [p.name for p in folder.iterdir() if p.name != "results.json"] == [PAGE_FILE]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((folder / PAGE_FILE).stat().st_mode) == 0o666 & ~mask


def test_a_campaign_without_runs_is_a_page_too(tmp_path: Path) -> None:
    bare = sample.results(runs=[], bugs=[], promises=[], known=[], cut=[], exit_code=0)
    (tmp_path / "results.json").write_text(json.dumps(bare))
    seen = Seen(write_page(tmp_path).read_text())
    assert seen.mistakes == [] and "Nothing proven" in seen.text


def test_a_disk_that_refuses_is_told_and_leaves_nothing(folder: Path) -> None:
    with pytest.raises(LabError, match="cannot be written"):
        write_page(folder, out=folder / "nowhere" / "report.html")
