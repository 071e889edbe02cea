"""The report, opened from disk and used as a person uses it: by mouse, by keyboard, in the dark, on
a narrow screen, on paper, without script, and with a history that means harm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.live.browser import browser, opened
from tests.require import need

from chaoslab.report.outputs import write_outputs
from chaoslab.run.campaign import run_all
from chaoslab.run.select import scenario_files, specs_for
from chaoslab.run.store import Campaign
from chaoslab.run.workers import Workers

SCENARIOS = ("matrix/timeout-after-commit", "matrix/failover-zombie", "matrix/concurrent-2")
AGENT = "fixtures/agents/double_charge.py:make_agent"
REPLAY = "chaoslab replay reports/latest/matrix-timeout-after-commit--double_charge--s0"
HOSTILE = Path(__file__).parent / "agents" / "hostile_words.py"


def report_of(folder: Path, agent: str, *scenarios: str) -> Path:
    """The report of an agent over some scenarios, made by the real thing."""
    specs = specs_for(scenario_files(scenarios), agent, seeds=[0])
    folder.mkdir()
    workers = Workers()  # processes of their own: agents and the browser share no event loop
    try:
        run_all(specs, Campaign(folder), workers, jobs=1, on_run=lambda entry, record: None)
    finally:
        workers.close()
    write_outputs(folder, shown="reports/latest")
    return folder / "report.html"


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    """One browser for all of these tests."""
    need("chromium")
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of an agent that charges twice."""
    need("chromium")
    return report_of(tmp_path_factory.mktemp("broken") / "c", AGENT, *SCENARIOS)


def shown(page: Any, selector: str) -> Any:
    """What one may expect of the first such element; the page is given some time for it."""
    from playwright.sync_api import expect

    return expect(page.locator(selector).first)


def test_it_opens_quietly_and_says_the_answer_first(started: Any, broken: Path) -> None:
    with opened(started, broken) as held:
        page = held.page
        assert page.title()
        answer = page.locator("main").inner_text()
        assert "Broken" in answer and "Exit code 1" in answer
        shown(page, "text=a promise is broken").to_be_in_viewport()
        page.wait_for_selector("#run-list table tbody tr")
        assert held.said == []
        assert held.asked == [broken.as_uri()]


def test_from_a_failing_cell_to_the_drawing(started: Any, broken: Path) -> None:
    with opened(started, broken) as held:
        page = held.page
        page.locator("table.matrix a.cell.bad").first.click()
        row = page.locator("#run-list tbody tr")
        shown(page, "#run-list tbody").to_contain_text("timeout-after-commit")
        shown(page, "#run-list tbody").not_to_contain_text("failover-zombie")
        row.first.locator("a, button").first.click()
        page.wait_for_selector("dialog[open] svg .commit")
        shown(page, "dialog[open]").to_contain_text(REPLAY)
        shown(page, "dialog[open]").to_contain_text("effects.delivery")
        page.keyboard.press("Escape")
        shown(page, "#run-view").to_be_hidden()
        assert held.said == []


def test_a_bug_tells_its_story_in_words_and_pictures(started: Any, broken: Path) -> None:
    with opened(started, broken) as held:
        page = held.page
        card = page.locator("article.bug").first
        card.locator("summary").first.click()
        card.locator(".drawing svg .strike").first.wait_for()
        text = card.inner_text()
        for words in (
            "one action stands more than once",
            "the lab drops the answer",
            "extra: only with faults",
            "silence, after-commit",
            "outcome unknown",
            "GROUP BY",
        ):
            assert words in text, words
        drawn = card.locator(".drawing svg")
        assert drawn.count() >= 2
        assert card.locator("svg .node-key").count() >= 2
        assert card.locator("svg .commit-extra").count() >= 1
        assert "2×" in "".join(card.locator(".drawing").all_inner_texts())
        assert held.said == []


def test_the_replay_command_is_copied(started: Any, broken: Path) -> None:
    with opened(started, broken) as held:
        page = held.page
        page.locator("article.bug summary").first.click()
        page.locator("article.bug [data-copy$='replay']").first.click()
        shown(page, "#said").to_have_text("Copied")
        field = page.locator("#run-list input").first
        field.focus()
        page.keyboard.press("Control+V")
        assert field.input_value() == REPLAY


def test_the_theme_switches_and_both_can_be_read(started: Any, broken: Path) -> None:
    with opened(started, broken, color_scheme="dark") as held:
        page = held.page

        def background() -> str:
            found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
            return found

        seen = [background()]
        for _ in range(3):
            page.locator("#theme").click()
            seen.append(background())
        assert len(set(seen)) == 2
        red = int(re.findall(r"\d+", seen[0])[0])
        assert red < 80, "a dark screen gets a dark page"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_a_screen_reader(
    started: Any, broken: Path, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    # The page's own policy would keep the examiner's script out.
    with opened(started, broken, color_scheme=scheme, bypass_csp=True) as held:
        page = held.page
        for card in page.locator("article.bug summary").all():
            card.click()
        page.locator(".drawing svg .strike").first.wait_for()
        page.wait_for_selector("#run-list table tbody tr")
        found = Axe().run(page).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"][:120]) for v in found] == []


def test_everything_is_reached_by_keyboard(started: Any, broken: Path) -> None:
    with opened(started, broken) as held:
        page = held.page
        page.wait_for_selector("#run-list table tbody tr")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.classList.contains('skip')")
        seen: list[str] = []
        for _ in range(400):
            page.keyboard.press("Tab")
            seen.append(
                page.evaluate(
                    "(() => { const e = document.activeElement;"
                    " const s = getComputedStyle(e);"
                    " const ring = s.outlineStyle !== 'none' || s.boxShadow !== 'none';"
                    " return e.tagName + (ring ? '' : ' without a ring') })()"
                )
            )
            if seen[-1].startswith("BODY"):
                break
        assert seen[-1].startswith("BODY"), "there is no way out of the page"
        assert not [s for s in seen[:-1] if "without" in s]
        assert {"SUMMARY", "BUTTON", "A"} <= set(seen)
        page.locator("article.bug summary").first.focus()
        page.keyboard.press("Enter")
        mark = page.locator("[data-draw='space-time'] svg [tabindex='0']").first
        mark.wait_for()
        mark.focus()
        first = page.evaluate("document.activeElement.getAttribute('aria-label')")
        page.keyboard.press("ArrowRight")
        second = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert first and second and first != second


def test_a_link_to_a_bug_and_to_a_run_can_be_shared(started: Any, broken: Path) -> None:
    with opened(started, broken, hash="#bug-0") as held:
        held.page.locator("article.bug .drawing svg .strike").first.wait_for()
        shown(held.page, "#bug-0").to_be_in_viewport()
    with opened(started, broken, hash="#run-0") as held:
        held.page.wait_for_selector("dialog[open] svg .commit")
        held.page.go_back()


def test_a_narrow_screen_scrolls_one_way_only(started: Any, broken: Path) -> None:
    with opened(started, broken, viewport={"width": 360, "height": 740}) as held:
        page = held.page
        for card in page.locator("article.bug summary").all():
            card.click()
        page.locator(".drawing svg .strike").first.wait_for()
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360


def test_paper_has_what_was_folded(started: Any, broken: Path, tmp_path: Path) -> None:
    with opened(started, broken) as held:
        page = held.page
        page.locator("#open-all").click()
        page.locator("article.bug .drawing svg .strike").first.wait_for()
        page.locator("#open-all").click()
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("article.bug > details:not([open])").count() == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("article.bug > details[open]").count() == 0
        page.pdf(path=tmp_path / "report.pdf")
        assert (tmp_path / "report.pdf").stat().st_size > 20_000


def test_without_script_all_but_the_drawings_is_there(started: Any, broken: Path) -> None:
    with opened(started, broken, java_script_enabled=False) as held:
        page = held.page
        text = page.locator("body").inner_text()
        assert "refund: done exactly once" in text
        assert "scripts are off" in text
        card = page.locator("article.bug").first
        card.locator("summary").first.click()
        assert "the lab drops the answer" in card.inner_text()
        assert not page.locator("#theme").is_visible()


def test_what_an_agent_says_does_nothing(started: Any, tmp_path: Path) -> None:
    need("chromium")
    page_of = report_of(tmp_path / "c", f"{HOSTILE}:make_agent", *SCENARIOS[::2])
    with opened(started, page_of) as held:
        page = held.page
        for card in page.locator("article.bug summary").all():
            card.click()
        page.locator(".drawing svg .commit").first.wait_for()
        page.locator("#run-list tbody tr a, #run-list tbody tr button").first.click()
        page.wait_for_selector("dialog[open] svg")
        for _ in range(40):
            page.keyboard.press("ArrowDown")
        assert "<img src=x" in page.locator("body").inner_text(), "its words are shown as words"
        assert page.evaluate("globalThis.hacked") is None
        assert page.locator("img, iframe, object, embed, base, form[action]").count() == 0
        assert held.said == []
        assert held.asked == [page_of.as_uri()]
