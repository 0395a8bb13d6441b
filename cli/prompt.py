"""The interactive prompt: the pack stays loaded from one problem to the next."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lorid_edge.errors import LoridError
from lorid_edge.problems import check_question

from . import streams
from .one_problem import print_answer, run_live, run_plainly
from .opening import Opening, open_solver

if TYPE_CHECKING:
    from pathlib import Path

    from prompt_toolkit import PromptSession

    from lorid_edge.solver import Solver, SolveSettings

HELP = """Type or paste a problem and press Enter. Ctrl-C stops the one that runs.
/help  this text
/quit  leave; Ctrl-D does too"""


def ask_and_solve(opening: Opening, settings: SolveSettings, with_trace: bool) -> None:
    """Load the pack and solve problems until the user leaves."""
    from lorid_edge.packs.places import Places

    session = _session(Places.default().state)
    with open_solver(opening) as solver:
        streams.note(f"{solver.loaded.workplace.manifest.name} is loaded. /help tells more.")
        while (line := _read(session)) is not None:
            if line in ("/quit", "/exit"):
                return
            if line == "/help":
                streams.note(HELP)
            elif line.startswith("/"):
                streams.note(f"There is no command {line.split()[0]}. /help lists them.")
            elif line:
                _solve(solver, line, settings, with_trace)


def _session(state: Path) -> PromptSession[str]:
    """A prompt with the history of earlier ones, or a short one where that cannot be written."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory

    history: History = InMemoryHistory()
    try:
        state.mkdir(parents=True, exist_ok=True)
        (state / "history").touch(mode=0o600)
        history = FileHistory(str(state / "history"))
    except OSError as error:
        streams.note(f"No history is kept: {state} cannot be written ({error.strerror}).")
    return PromptSession(history=history)


def _read(session: PromptSession[str]) -> str | None:
    """A line or a pasted paragraph; "" after Ctrl-C, None at the end."""
    try:
        return session.prompt("problem> ").strip()
    except KeyboardInterrupt:
        return ""
    except EOFError:
        return None


def _solve(solver: Solver, question: str, settings: SolveSettings, with_trace: bool) -> None:
    is_live = not with_trace and streams.can_animate(sys.stdout, sys.stderr)
    run = run_live if is_live else run_plainly
    try:
        check_question(question)
        print_answer(run(solver, question, settings, with_trace))
    except KeyboardInterrupt:
        streams.note("stopped")
    except LoridError as error:
        streams.note(f"lorid-edge: {error}")
