"""`lorid-edge bench` from outside: JSON last, a page, and what Ctrl-C leaves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import psutil
import pytest

from lorid_edge.bench.conditions import BusyProcess
from lorid_edge.bench.page import html_page
from lorid_edge.bench.run import BenchReport

COMMAND = str(Path(sys.executable).parent / "lorid-edge")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(brief_pack: Path, tiny_home: Path) -> Iterator[Start]:
    """Starts the command on the brief pack."""
    started = []

    def start_bench(*arguments: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [COMMAND, "bench", "--pack", str(brief_pack), "--quick", *arguments],
            env={**os.environ, "LORID_EDGE_HOME": str(tiny_home), "LORID_EDGE_OFFLINE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield start_bench
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture(scope="module")
def report(
    brief_pack: Path, tiny_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> BenchReport:
    """The report of a whole quick run of the cheapest part."""
    arguments = "--part policies --policies ir,dr --runs 1 --problems 1 --quick --json"
    child = subprocess.run(
        [COMMAND, "bench", "--pack", str(brief_pack), *arguments.split()],
        env={**os.environ, "LORID_EDGE_HOME": str(tiny_home), "LORID_EDGE_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "MB of memory will be used" in child.stderr
    assert "policies: run 1 of 1, dr" in child.stderr
    (line,) = child.stdout.splitlines()
    return BenchReport.model_validate_json(line)


def test_json_is_all_there_is_on_standard_output(report: BenchReport) -> None:
    assert report.complete
    assert {figure.part for figure in report.figures} == {"policies"}
    assert report.conditions.pack.name == "brief"
    assert report.conditions.threads >= 1
    assert report.conditions.machine.logical_cpus >= 1
    assert report.settings.policies == ("ir", "dr")


def test_figures_are_bars_of_plain_text_off_a_terminal_and_a_page(
    start: Start, tmp_path: Path
) -> None:
    arguments = ("--part", "policies", "--policies", "ir", "--runs", "1", "--problems", "1")
    child = start(*arguments, "--html", str(tmp_path / "bench.html"))
    out, err = child.communicate()
    assert child.returncode == 0, err
    assert out.isascii()
    assert re.search(r"ir +#+ +[\d.]+ \([\d.]+ to [\d.]+\) s\n", out)
    page = (tmp_path / "bench.html").read_text("utf-8")
    assert "Seconds a problem" in page
    assert [path.name for path in tmp_path.iterdir()] == ["bench.html"]


def test_the_page_escapes_what_comes_from_outside_and_needs_no_network(report: BenchReport) -> None:
    hostile = "<script>alert('&')</script>"
    conditions = report.conditions.model_copy(
        update={
            "busy_processes": (BusyProcess(name=hostile, cpu_percent=50),),
            "pack": report.conditions.pack.model_copy(update={"name": hostile}),
        }
    )
    page = html_page(report.model_copy(update={"conditions": conditions, "notes": (hostile,)}))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    seen: list[str] = []

    class Attributes(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            seen.extend(name for name, _ in attributes)

    Attributes().feed(page)
    assert not {"src", "href", "srcset", "action"} & set(seen)
    assert "url(" not in page


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_prints_what_was_measured_so_far(start: Start) -> None:
    child = start(
        "--part", "policies", "--policies", "ir", "--problems", "1", "--runs", "100", "--json"
    )
    assert child.stderr is not None
    for line in child.stderr:
        if "run 3 of 100" in line:
            break
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    report = BenchReport.model_validate_json(out)
    assert not report.complete
    assert report.figures[0].name == "problem_seconds"
    assert 2 <= len(report.figures[0].values) < 100
    assert "Traceback" not in err


@pytest.mark.skipif(
    sys.platform == "win32", reason="looks at processes as Linux and macOS have them"
)
def test_a_measuring_process_ends_with_the_one_that_was_killed(start: Start) -> None:
    child = start("--part", "policies", "--policies", "ir", "--problems", "1", "--runs", "100")
    assert child.stderr is not None
    next(line for line in child.stderr if "policies: warming up" in line)
    (worker,) = psutil.Process(child.pid).children()
    child.kill()
    worker.wait(timeout=30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--part", "power"), "speed, memory, policies"),
        (("--policies", "luck"), "no policy 'luck'"),
        (("--html", "/nowhere/at/all.html"), "cannot be written"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_measured(
    start: Start, arguments: tuple[str, ...], message: str
) -> None:
    child = start(*arguments)
    out, err = child.communicate()
    assert (child.returncode, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
