"""The web page, in a real browser on a real server: what a reader does and sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Served
    from playwright.sync_api import Page

QUESTION = "Tom has 3 boxes of 12 pencils and gives away 5. How many pencils are left?"
Open = Callable[..., "Page"]
Start = Callable[..., "Served"]


def solve(page: Page, question: str = QUESTION, policy: str = "ir") -> None:
    """Have a problem solved, and wait for the answer."""
    begin(page, question, policy)
    page.wait_for_selector("#result.solved")
    page.wait_for_selector("#solve:visible")


def begin(page: Page, question: str = QUESTION, policy: str = "adaptive") -> None:
    page.fill("#question", question)
    page.evaluate("policy => document.getElementById('policy').value = policy", policy)
    page.click("#solve")


# --- solving --------------------------------------------------------------------------------------


def test_the_page_shows_what_the_server_answers(brief_server: Served, open_page: Open) -> None:
    problem = {"question": QUESTION, "policy": "paper", "seed": 0}
    solution = json.load(brief_server.post(problem))
    page = open_page(brief_server.page)
    solve(page, policy="paper")
    assert page.inner_text("#answer") == (solution["answer"] or "?")
    cost = page.inner_text("#cost")
    assert f"{solution['tokens']['generated']:,} token" in cost
    assert f"{solution['rounds']} round" in cost
    confidence = f"{round(100 * solution['confidence'])} %"
    assert page.text_content("#confidence-value") == confidence
    for role, short in (
        ("intuitive_reasoner", "intuitive"),
        ("knowledge_generator", "knowledge"),
        ("deep_reasoner", "deep"),
    ):
        samples = [sample for sample in solution["samples"] if sample["role"] == role]
        assert page.locator(f"#{short}-samples > li").count() == len(samples)
    assert f"Confidence {confidence}" in (page.text_content("#announcer") or "")


def test_text_is_seen_while_it_is_written(start_server: Start, open_page: Open) -> None:
    page = open_page(start_server("--width", "1").page)
    # Each redrawing is noted as it happens: a quick model has finished before a look from here.
    page.evaluate(
        """() => {
          window.seen = [];
          const text = (selector) => document.querySelector(selector)?.textContent ?? "";
          const note = () => window.seen.push({
            knowledge: text("#knowledge-samples .running .text"),
            deep: text("#deep-samples .running .text"),
            waiting: text("#deep-waiting:not([hidden])"),
            cancellable: document.getElementById("cancel").checkVisibility(),
          });
          const changes = { subtree: true, childList: true, characterData: true, attributes: true };
          new MutationObserver(note).observe(document.getElementById("work"), changes);
        }"""
    )
    solve(page, policy="dr")
    seen = page.evaluate("window.seen")
    knowledge = [state for state in seen if state["knowledge"]]
    assert len({state["knowledge"] for state in knowledge}) > 1, "it came all at once"
    assert {state["waiting"] for state in knowledge} == {"Waits for the knowledge."}
    assert len({state["deep"] for state in seen if state["deep"]}) > 1, "it came all at once"
    assert all(state["cancellable"] for state in seen if state["knowledge"] or state["deep"])


def test_the_keyboard_is_enough(brief_server: Served, open_page: Open) -> None:
    page = open_page(brief_server.page)
    page.keyboard.press("Tab")
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "question"
    page.keyboard.type(QUESTION)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#result.solved")
    assert page.evaluate("document.activeElement.id") == "question"
    page.focus("#packs-button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#packs-dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#packs-dialog:not([open])", state="attached")
    assert page.evaluate("document.activeElement.id") == "packs-button"


def test_the_packs_say_which_is_in_use(start_server: Start, open_page: Open) -> None:
    page = open_page(start_server().page)
    page.click("#packs-button")
    page.wait_for_selector("#packs-list li")
    packs = page.locator("#packs-list li").all_inner_texts()
    (tiny,) = [text for text in packs if text.startswith("tiny")]
    assert "in use" in tiny
    (small,) = [text for text in packs if text.startswith("small")]
    assert "not fetched" in small
    assert "lorid-edge packs pull small" in small


# --- cancelling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["button", "escape", "close"])
def test_cancelling_stops_the_work_on_the_server(
    start_server: Start, open_page: Open, how: str
) -> None:
    served = start_server("--width", "1")
    page = open_page(served.page)
    begin(page, policy="paper")
    page.wait_for_selector("#intuitive-samples .text:not(:empty)")
    if how == "close":
        page.close()
    else:
        if how == "button":
            page.click("#cancel")
        else:
            page.keyboard.press("Escape")
        page.wait_for_selector("#solve:visible")
        assert page.inner_text("#status") == "Stopped before there was an answer"
        assert "Cancelled." in (page.text_content("#announcer") or "")
        assert page.is_hidden("#alert")
    # One problem is solved at a time: an answer to the next one means that the first was stopped.
    assert json.load(served.post({"question": "What is 2 + 2?", "max_seconds": 0.5}))["question"]


def test_a_double_click_solves_and_does_not_cancel(brief_server: Served, open_page: Open) -> None:
    page = open_page(brief_server.page)
    page.fill("#question", QUESTION)
    page.dblclick("#solve")
    page.wait_for_selector("#result.solved")


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_question_that_is_too_long_is_explained(brief_server: Served, open_page: Open) -> None:
    page = open_page(brief_server.page)
    begin(page, "How many apples are left? " * 290)
    page.wait_for_selector("#alert:visible")
    assert "too long" in page.inner_text("#alert") or "tokens" in page.inner_text("#alert")
    assert page.is_visible("#solve")
    assert page.is_hidden("#work")


def test_without_the_token_the_page_asks_for_it(brief_server: Served, open_page: Open) -> None:
    page = open_page(brief_server.address)
    page.wait_for_selector("#token-dialog[open]")
    assert "lorid-edge serve" in page.inner_text("#token-why")
    page.fill("#token", "wrong-token")
    page.keyboard.press("Enter")
    page.wait_for_selector("#token-dialog[open]")
    page.fill("#token", brief_server.page)  # the whole address is as good as the token
    page.keyboard.press("Enter")
    page.wait_for_selector("#token-dialog:not([open])", state="attached")
    solve(page)


def test_a_token_of_ones_own_is_taken_from_the_address_as_it_stands(
    start_server: Start, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORID_EDGE_TOKEN", "a+b%2Bc&d=e#f")
    page = open_page(start_server().page)
    assert page.locator("#token-dialog[open]").count() == 0


def test_a_wrong_number_in_closed_options_is_shown(brief_server: Served, open_page: Open) -> None:
    page = open_page(brief_server.page)
    page.click("#options summary")
    page.fill("#max-seconds", "0")
    page.click("#options summary")
    page.fill("#question", QUESTION)
    assert page.is_hidden("#max-seconds")
    page.click("#solve")
    assert page.is_visible("#max-seconds")
    assert page.evaluate("document.activeElement.id") == "max-seconds"
    assert page.is_hidden("#work")


def test_the_token_leaves_the_address_bar_and_lasts_for_the_tab(
    brief_server: Served, open_page: Open
) -> None:
    page = open_page(brief_server.page)
    assert brief_server.token not in page.url
    with page.expect_response("**/v1/packs"):
        page.reload()
    assert page.locator("#token-dialog[open]").count() == 0
    solve(page)


def test_a_server_that_dies_and_one_that_is_gone_are_explained(
    start_server: Start, open_page: Open
) -> None:
    served = start_server("--width", "1")
    page = open_page(served.page)
    begin(page, policy="paper")
    page.wait_for_selector("#intuitive-samples .text:not(:empty)")
    served.process.kill()
    page.wait_for_selector("#alert:visible")
    assert "broke off" in page.inner_text("#alert")
    assert page.is_visible("#work")  # what was written so far stays
    page.click("#alert-action")
    page.wait_for_selector("#alert:has-text('does not answer')")
    assert "Start it again" in page.inner_text("#alert")


def test_a_busy_server_says_when_to_try_again(start_server: Start, open_page: Open) -> None:
    served = start_server("--queue-length", "1", "--width", "1")
    page = open_page(served.page)
    running = [
        served.post({"question": QUESTION, "policy": "paper", "stream": True}) for _ in range(2)
    ]
    begin(page)
    page.wait_for_selector("#alert:visible")
    assert "busy" in page.inner_text("#alert")
    assert "Try again" in page.inner_text("#alert-action")
    for response in running:
        response.close()


# --- history --------------------------------------------------------------------------------------


def test_the_history_outlives_the_page(brief_server: Served, open_page: Open) -> None:
    page = open_page(brief_server.page)
    solve(page)
    answer, cost = page.inner_text("#answer"), page.inner_text("#cost")
    samples = page.locator(".sample").count()
    with page.expect_response("**/v1/packs"):
        page.reload()
    page.click("#history-button")
    page.click(".entry")
    assert page.input_value("#question") == QUESTION
    assert page.inner_text("#answer") == answer
    assert page.inner_text("#cost") == cost
    assert page.locator(".sample").count() == samples


def test_an_earlier_problem_is_shown_instead_of_the_one_that_runs(
    start_server: Start, open_page: Open
) -> None:
    page = open_page(start_server("--width", "1").page)
    solve(page, "What is 2 + 2?")
    answer = page.inner_text("#answer")
    begin(page, policy="paper")
    page.wait_for_selector("#intuitive-samples .text:not(:empty)")
    page.click("#history-button")
    page.click(".entry")
    page.wait_for_selector("#solve:visible")
    assert page.inner_text("#answer") == answer
    assert page.input_value("#question") == "What is 2 + 2?"
    assert page.locator(".sample").count() == 1


def test_entries_can_be_removed_one_by_one_and_all(brief_server: Served, open_page: Open) -> None:
    page = open_page(brief_server.page)
    for question in ("What is 2 + 2?", "What is 3 + 3?", "What is 4 + 4?"):
        solve(page, question, policy="ir")
    page.click("#history-button")
    assert page.locator("#history-list li").count() == 3
    assert "4 + 4" in (page.locator(".entry .question annotation").first.text_content() or "")
    page.locator(".remove").first.click()
    assert page.locator("#history-list li").count() == 2
    assert page.evaluate("document.activeElement.className").endswith("close")
    page.click("#history-clear")
    assert page.locator("#history-list li").count() == 0
    assert page.evaluate("localStorage.getItem('lorid-edge.history')") == "[]"


def test_a_full_or_spoilt_storage_does_no_harm(brief_server: Served, open_page: Open) -> None:
    page = open_page(brief_server.page)
    page.evaluate("localStorage.setItem('lorid-edge.history', '{not json')")
    solve(page)
    assert page.evaluate("JSON.parse(localStorage.getItem('lorid-edge.history')).length") == 1
    page.evaluate(
        """() => {
          const history = JSON.parse(localStorage.getItem('lorid-edge.history'));
          localStorage.setItem('lorid-edge.history', JSON.stringify(Array(90).fill(history[0])));
          const rest = 5 * 1024 * 1024 - JSON.stringify(localStorage).length;
          for (let size = rest; size > 100; size = Math.floor(size / 2)) {
            try { localStorage.setItem(`other ${size}`, 'x'.repeat(size)); } catch {}
          }
        }"""
    )
    solve(page, "What is 5 + 5?")
    kept = page.evaluate("JSON.parse(localStorage.getItem('lorid-edge.history'))")
    assert 1 <= len(kept) <= 90
    assert kept[0]["solution"]["question"] == "What is 5 + 5?"


# --- looks ----------------------------------------------------------------------------------------


def is_dark(page: Page) -> bool:
    colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    channels = [float(part) for part in colour.strip("rgb()").split(",")]
    return sum(channels) < 3 * 128


@pytest.mark.parametrize("system", ["light", "dark"])
def test_dark_mode_follows_the_system_until_it_is_switched(
    brief_server: Served, open_page: Open, system: str
) -> None:
    page = open_page(brief_server.page, color_scheme=system)
    assert is_dark(page) == (system == "dark")
    assert page.get_attribute("#theme-button", "aria-pressed") == str(system == "dark").lower()
    page.click("#theme-button")
    assert is_dark(page) == (system != "dark")
    page.reload()
    assert is_dark(page) == (system != "dark")
    page.click("#theme-button")
    assert page.evaluate("localStorage.getItem('lorid-edge.theme')") is None
    page.emulate_media(color_scheme="light" if system == "dark" else "dark")
    assert is_dark(page) == (system != "dark")


def test_nothing_is_wider_than_a_phone(brief_server: Served, open_page: Open) -> None:
    page = open_page(brief_server.page, viewport={"width": 360, "height": 740})
    fits = "document.documentElement.scrollWidth <= 360"
    assert page.evaluate(fits)
    page.click("#options summary")
    assert page.evaluate(fits)
    solve(page, r"A word of one piece: " + "wide" * 60 + r" and \(" + "1234567890+" * 12 + r"1\).")
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.evaluate(fits)
    for button in ("#history-button", "#packs-button"):
        page.click(button)
        assert page.evaluate(fits)
        page.keyboard.press("Escape")


def test_no_request_goes_to_another_host(brief_server: Served, open_page: Open) -> None:
    page = open_page("about:blank")
    requests: list[str] = []
    page.context.on("request", lambda request: requests.append(request.url))
    page.goto(brief_server.page)
    solve(page, r"How much is \(\frac{1}{2}\) of 10?")
    page.click("#packs-button")
    page.wait_for_selector("#packs-list li")
    assert any("KaTeX" in url for url in requests)
    assert [url for url in requests if not url.startswith(f"{brief_server.address}/")] == []


# --- accessibility --------------------------------------------------------------------------------


def accessibility_violations(page: Page) -> list[str]:
    """What axe finds, a line each."""
    from pathlib import Path

    page.evaluate((Path(__file__).parent / "axe-core" / "axe.min.js").read_text("utf-8"))
    found: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{violation['id']}: {node['target']}: {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_about(
    brief_server: Served, open_page: Open, scheme: str
) -> None:
    page = open_page(brief_server.page, color_scheme=scheme, reduced_motion="reduce")
    assert accessibility_violations(page) == []
    page.click("#options summary")
    solve(page, r"How much is \(\frac{1}{2}\) of 10?", policy="paper")
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert accessibility_violations(page) == []
    for name in ("history", "packs"):
        page.click(f"#{name}-button")
        page.wait_for_selector(f"#{name}-list li")
        assert accessibility_violations(page) == []
        page.keyboard.press("Escape")
    begin(page, "How many? " * 750)
    page.wait_for_selector("#alert:visible")
    assert accessibility_violations(page) == []


def test_axe_finds_nothing_in_the_token_dialog(brief_server: Served, open_page: Open) -> None:
    page = open_page(brief_server.address, reduced_motion="reduce")
    page.wait_for_selector("#token-dialog[open]")
    assert accessibility_violations(page) == []
