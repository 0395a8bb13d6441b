"""The page's modules that turn what the server sends into text and formulas, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Served
    from playwright.sync_api import Browser, Page

Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def page(browser: Browser, brief_server: Served) -> Iterator[Page]:
    """A page whose modules can be called."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(brief_server.page)
    yield page
    context.close()


def pieces(page: Page, text: str) -> list[str]:
    """The text in pieces, formulas as <TeX>."""
    found = page.evaluate(
        "async (text) => (await import('/typeset.js')).pieces(text)", text
    )  # fmt: skip
    return [f"<{piece['tex'].strip()}>" if "tex" in piece else piece["text"] for piece in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There are 6 * 14 = 84 tulips.", ["There are ", r"<6 \times 14 = 84>", " tulips."]),
        ("84 - (84 / 4) = 63", ["<84 - (84 / 4) = 63>"]),
        ("9 * $4 = $36, so", [r"<9 \times \$4 = \$36>", ", so"]),
        ("1,200 + 34.5 = 1,234.5", ["<1{,}200 + 34.5 = 1{,}234.5>"]),
        ("2x + 3 = 7.", ["<2x + 3 = 7>", "."]),
        ("It is 2^10 = 1024", ["It is ", "<2^{10} = 1024>"]),
        ("20% * 50 = 10", [r"<20\% \times 50 = 10>"]),
        (r"The answer is \boxed{\frac{1}{2}}.", ["The answer is ", r"<\boxed{\frac{1}{2}}>", "."]),
        (r"so \(x^2\) and \[y = 1\]", ["so ", "<x^2>", " and ", "<y = 1>"]),
        ("with $x = 3$ here", ["with ", "<x = 3>", " here"]),
        ("costs $15 for adults and $9 for children", None),
        ("$5 and $6, or $5 to $6 a day", None),
        ("10-15 people on 2026-11-24 at 9:30", None),
        ("a well-known and/or low-cost one", None),
        ("He has 3 apples.", None),
        (r"unfinished \(x + ", None),
        ("no formula = no problem", None),
    ],
)
def test_formulas_are_told_from_text(page: Page, text: str, expected: list[str] | None) -> None:
    assert pieces(page, text) == (expected or [text])


def test_a_long_text_is_searched_in_a_moment(page: Page) -> None:
    """Regular expressions can take exponential time; these hostile texts must not."""
    hostile = ["1 + " * 5000, "(" * 5000, "$" * 5001, "\\boxed{" * 2000, "1," * 5000, "{}" * 4000]
    for text in hostile:
        milliseconds = page.evaluate(
            """async (text) => {
              const { pieces } = await import('/typeset.js');
              const began = performance.now();
              pieces(text);
              return performance.now() - began;
            }""",
            text,
        )
        assert milliseconds < 2000, text[:10]


def typeset(page: Page, text: str) -> dict[str, Any]:
    """What becomes of a text: its visible text, and the elements made for it."""
    result: dict[str, Any] = page.evaluate(
        """async (text) => {
          const { typesetBlocks } = await import('/typeset.js');
          const node = document.createElement('div');
          document.body.append(node);
          typesetBlocks(node, text);
          const elements = [...node.querySelectorAll('*')];
          const made = {
            text: node.textContent,
            tags: [...new Set(elements.map((element) => element.tagName.toLowerCase()))],
            formulas: node.querySelectorAll('.katex').length,
            blocks: [...node.children].map((child) => child.tagName),
          };
          node.remove();
          return made;
        }""",
        text,
    )
    return result


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=\"document.title = 'owned'\">",
        "<script>document.title = 'owned'</script>",
        r"\(\href{javascript:alert(1)}{x}\)",
        r"\(\includegraphics{http://example.com/x.png}\)",
        r"\(\htmlClass{owned}{x}\)",
        r"$\text{<img src=x onerror=alert(1)>}$",
    ],
)
def test_text_of_a_model_never_becomes_markup(page: Page, text: str) -> None:
    made = typeset(page, text)
    assert not {"img", "script", "a"} & set(made["tags"])
    assert page.title() == "lorid-edge"


def test_what_katex_cannot_read_stays_as_it_was_written(page: Page) -> None:
    text = r"so \(\unknown{x}\) it is"
    made = typeset(page, text)
    assert made["text"] == text
    assert made["formulas"] == 0


def test_lists_and_lines_keep_their_form(page: Page) -> None:
    made = typeset(page, "Rules:\n- one\n- two\n\n1. first\n2. second\n\\[\nx = 1\n\\]")
    assert made["blocks"] == ["P", "UL", "OL", "P"]
    assert made["formulas"] == 1


@pytest.mark.parametrize("width", range(120, 400, 40))
def test_no_line_begins_with_a_full_stop(page: Page, width: int) -> None:
    """KaTeX's boxes let a line end behind them, before any punctuation."""
    measured = page.evaluate(
        """async (width) => {
          const { typeset } = await import('/typeset.js');
          const node = document.createElement('p');
          node.style.width = `${width}px`;
          document.body.append(node);
          typeset(node, 'She sells 63 / 7 = 9 bunches for $4 each: 9 * 4 = 36. The answer is it.');
          const unbroken = [...node.querySelectorAll('.unbroken')].at(-1);
          const range = document.createRange();
          range.selectNodeContents(unbroken.lastChild);
          const stop = range.getBoundingClientRect();
          const formula = unbroken.firstChild.getBoundingClientRect();
          const text = unbroken.textContent;
          node.remove();
          return { gap: stop.left - formula.right, last: text.at(-1), height: formula.height };
        }""",
        width,
    )
    assert measured["last"] == "."
    assert abs(measured["gap"]) < 1  # on the same line, right behind the formula
    assert measured["height"] < 40


def test_events_are_the_same_however_the_bytes_are_cut(page: Page) -> None:
    events = [
        {"name": "text_added", "data": {"role": "deep_reasoner", "index": 0, "text": "π = 3\n\n"}},
        {"name": "agreement", "data": {"answer": "½\u2028"}},
    ]
    frames = [
        f"event: {event['name']}\ndata: {json.dumps(event['data'], ensure_ascii=False)}\n\n"
        for event in events
    ]
    stream = f": waiting\n\n{frames[0]}{frames[1].replace(chr(10), chr(13) + chr(10))}event: cut\n"
    read = page.evaluate(
        """async (stream) => {
          const { readEvents } = await import('/event_stream.js');
          const bytes = new TextEncoder().encode(stream);
          const outcomes = [];
          for (let size = 1; size <= bytes.length; size += 1) {
            const body = new ReadableStream({
              start(controller) {
                for (let at = 0; at < bytes.length; at += size) {
                  controller.enqueue(bytes.slice(at, at + size));
                }
                controller.close();
              },
            });
            const events = [];
            for await (const event of readEvents(body)) events.push(event);
            outcomes.push(JSON.stringify(events));
          }
          return [...new Set(outcomes)].map((outcome) => JSON.parse(outcome));
        }""",
        stream,
    )
    assert read == [events]


def test_agreement_shows_who_said_what(brief_server: Served, open_page: Open) -> None:
    """The words and marks for an agreement, which the tiny base seldom comes to by itself."""
    samples = [
        {"role": role, "round": 1, "index": index, "text": f"It is {answer}.", "answer": answer,
         "tokens": 5, "finish": finish, "calculator_results": 0, "calculator_corrections": 0}
        for role, index, answer, finish in [
            ("intuitive_reasoner", 0, "1/2", "end"), ("intuitive_reasoner", 1, "12", "end"),
            ("knowledge_generator", 0, None, "end"), ("deep_reasoner", 2, "12", "length"),
            ("deep_reasoner", 1, "24", "end"), ("deep_reasoner", 0, "0.5", "end"),
        ]
    ]  # fmt: skip
    solution = {
        "schema": 1, "question": "?", "answer": "1/2", "status": "agreed", "confidence": 0.6875,
        "policy": "paper", "pack": "brief", "seed": 0, "rounds": 1, "samples": samples,
        "tokens": {"prompt": 10, "cached": 20, "generated": 20, "forced": 0},
        "seconds": {"total": 1.2, "load": 0.1, "first_token": None, "intuitive_reasoner": 0.5,
                    "knowledge_generator": 0.2, "deep_reasoner": 0.5},
        "settings": {},
    }  # fmt: skip
    events = [
        *(("sample_finished", {"sample": sample}) for sample in samples),
        ("agreement", {"answer": "1/2"}),
        ("solved", {"solution": solution}),
    ]
    body = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
    page = open_page(brief_server.page)
    page.route(
        "**/v1/solve",
        lambda route: route.fulfill(status=200, content_type="text/event-stream", body=body),
    )
    page.fill("#question", "?")
    page.click("#solve")
    page.wait_for_selector("#result.solved")
    assert page.inner_text("#status") == "Both reasoners agree"
    assert page.inner_text(".vote.winner .who") == "1 intuitive, 1 deep"
    votes = page.locator(".vote .who").all_inner_texts()
    assert votes == ["1 intuitive, 1 deep", "1 intuitive", "1 deep"]  # one too long is no vote
    numbers = page.locator("#deep-samples .number").all_inner_texts()
    assert numbers == ["1", "2", "3"]  # in order, whichever began first
    assert page.locator(".sample.winner").count() == 2
    assert page.locator("#intuitive-samples details[open]").count() == 1
    assert "Both reasoners say 1/2." in (page.text_content("#announcer") or "")
