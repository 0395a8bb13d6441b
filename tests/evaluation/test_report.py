"""The report: one page that fetches nothing and shows what is in the runs, whatever they hold."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from solved import DR, IR, KG, run_of, sample, solution
from typer.testing import CliRunner

from lorid_edge.cli.main import app
from lorid_edge.errors import UsageError
from lorid_edge.evaluation.report import table
from lorid_edge.evaluation.report.measured import measure
from lorid_edge.evaluation.report.wrong_agreements import wrong_agreements
from lorid_edge.evaluation.run_description import RunDescription
from lorid_edge.evaluation.run_folder import EvaluationRun, open_run
from lorid_edge.loop.solution import Status

Describe = Callable[..., RunDescription]
AXE = Path(__file__).parents[1] / "page" / "axe-core" / "axe.min.js"
HOSTILE = "</div><script>alert(1)</script> & {{ 7 * 7 }} \x1b[31m"


def paper_run(describe: Describe, folder: str = "run") -> EvaluationRun:
    """Right, agreed on a wrong answer, undecided."""
    agreed_wrong = solution(
        2,
        "8",
        sample(IR, 0, "6"),
        sample(KG, 0, None, finish="end", text="- Add all."),
        sample(DR, 0, "9"),
        sample(IR, 1, "8", text=f"{HOSTILE} so \\boxed{{8}}"),
        sample(KG, 1, None, finish="end", text="- Never subtract."),
        sample(DR, 1, "8", text="<img src=x onerror=alert(2)> \\boxed{8}"),
        correct=False,
        rounds=2,
        generated=200,
    )
    return run_of(
        describe(policy="paper"),
        solution(1, "7", sample(IR, 0, "7"), sample(DR, 0, "7"), correct=True),
        agreed_wrong,
        solution(3, None, correct=False, status=Status.UNDECIDED, confidence=0.0),
        folder=folder,
    )


def vote_run(describe: Describe) -> EvaluationRun:
    """Two samples a problem, so that k reaches 2; the last problem is not solved."""
    solutions = [
        solution(
            line,
            "7",
            sample(IR, 0, "7"),
            sample(IR, 1, "8"),
            correct=True,
            status=Status.VOTED,
            policy="vote",
        )
        for line in (1, 2)
    ]
    return run_of(describe(policy="vote"), *solutions, problems=3, folder="votes")


class Page(HTMLParser):
    """What a browser would see of a page, as far as it matters here."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.attributes if found == name]


@pytest.fixture(scope="module")
def html(describe: Describe) -> str:
    pytest.importorskip("matplotlib")
    from lorid_edge.evaluation.report.page import html_page

    return html_page(measure([paper_run(describe), vote_run(describe)]))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_fetches_and_runs_nothing(page: Page) -> None:
    assert {"script", "img", "link", "iframe", "object"}.isdisjoint(page.tags)
    targets = [*page.values("src"), *page.values("href"), *page.values("xlink:href")]
    assert all(target.startswith("#") for target in targets)
    styles = " ".join([*page.values("style"), page.text])
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", styles))
    assert "@import" not in styles
    assert any(value.startswith("default-src 'none'") for value in page.values("content"))
    assert not any(name.startswith("on") for name, _ in page.attributes)


def test_what_models_wrote_is_shown_as_they_wrote_it(page: Page) -> None:
    assert "</div><script>alert(1)</script> & {{ 7 * 7 }}" in page.text
    assert "<img src=x onerror=alert(2)>" in page.text
    assert "- Never subtract." in page.text
    assert "- Add all." not in page.text  # the rules of another chain


def test_figures_have_unlike_ids_and_tables_with_their_numbers(page: Page) -> None:
    identities = page.values("id")
    assert len(identities) == len(set(identities)) > 0
    drawn = page.tags.count("svg")
    assert drawn == page.tags.count("figure") == 4  # pass@k of the intuitive reasoner is the fourth
    assert page.tags.count("figcaption") == drawn
    assert "#010203" not in "".join(page.values("style"))
    assert "vote is not finished" in page.text
    assert "33.3 % (6.1 to 79.2), 1 of 3" in page.text
    assert "pass@k" in page.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_fits_a_phone(html: str, scheme: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    path = tmp_path / "report.html"
    path.write_text(html, "utf-8")
    requests: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        # The page's own policy would keep the checker out.
        view = browser.new_context(
            viewport={"width": 375, "height": 700}, color_scheme=scheme, bypass_csp=True
        ).new_page()
        view.on("request", lambda request: requests.append(request.url))
        view.goto(path.as_uri())
        view.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        width = view.evaluate("document.documentElement.scrollWidth")
        view.evaluate(AXE.read_text("utf-8"))
        violations = view.evaluate("axe.run()")["violations"]
        browser.close()
    assert requests == [path.as_uri()]
    assert width <= 375
    assert [(found["id"], found["nodes"][0]["html"]) for found in violations] == []


def test_the_voices_of_a_wrong_agreement_are_those_that_gave_the_answer(
    describe: Describe,
) -> None:
    (found,) = wrong_agreements(paper_run(describe))
    assert (found.id, found.given, found.reference) == ("p2", "8", "7")
    assert found.intuitive_chain.startswith(HOSTILE)
    assert found.knowledge == "- Never subtract."
    assert wrong_agreements(paper_run(describe), most=0) == []


def test_the_table_has_the_authors_count_only_beside_the_accuracy(describe: Describe) -> None:
    heading, row, other = table.rows(measure([paper_run(describe), vote_run(describe)]))
    assert row[heading.index("right")] == "33.3 %"
    assert row[heading.index(table.AUTHORS)] == "33.3 to 66.7 %"
    assert other[heading.index(table.AUTHORS)] == ""
    assert other[heading.index("solved")] == "2 of 3"
    alone = measure([vote_run(describe)])
    assert table.AUTHORS not in table.rows(alone)[0]
    assert "authors" not in table.markdown(alone)


def test_runs_of_one_pack_and_policy_are_told_apart_by_their_folders(describe: Describe) -> None:
    names = [m.name for m in measure([paper_run(describe, "x/1"), paper_run(describe, "x/2")])]
    assert names == ["tiny paper, 1", "tiny paper, 2"]
    same = [m.name for m in measure([paper_run(describe, "x/1"), paper_run(describe, "y/1")])]
    assert [name.partition(", ")[2][-3:] for name in same] == ["x/1", "y/1"]
    with pytest.raises(UsageError, match="given twice"):
        measure([paper_run(describe), paper_run(describe)])
    with pytest.raises(UsageError, match="no solved problem"):
        measure([run_of(describe(), problems=2)])


def test_the_command_writes_the_page_and_the_table(tmp_path: Path, describe: Describe) -> None:
    pytest.importorskip("matplotlib")
    run = paper_run(describe)
    with open_run(tmp_path / "run", run.description, run.problems) as writer:
        for item in run.solutions.values():
            writer.append(item)
    output, written = tmp_path / "report.html", tmp_path / "report.md"
    arguments = ["eval", "report", str(tmp_path / "run"), "--output", str(output)]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("| run | solved |")
    assert output.read_text("utf-8").startswith("<!doctype html>")
    again = CliRunner().invoke(app, [*arguments, "--markdown", str(written)])
    assert again.stdout == ""
    assert written.read_text("utf-8").strip() == found.stdout.strip()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md", "run"]
    refused = CliRunner().invoke(app, [*arguments[:-1], str(tmp_path / "no" / "report.html")])
    assert refused.exit_code == 2
    assert "no folder" in refused.stderr.replace("\n", " ")
