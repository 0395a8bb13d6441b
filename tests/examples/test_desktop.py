"""The desktop example, in a real window on Qt's offscreen platform, with a real solver."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

FOLDER = Path(__file__).parents[2] / "examples" / "desktop"
QUESTION = "Tom has 3 boxes of 12 pencils and gives away 5. How many pencils are left?"
DEADLINE_SECONDS = 60.0


@pytest.fixture(scope="module")
def application() -> Iterator[QApplication]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QT_QPA_PLATFORM", "offscreen")
        widgets = pytest.importorskip(
            "PySide6.QtWidgets",
            reason="PySide6-Essentials or a library that it needs is not installed",
            exc_type=ImportError,
        )
        yield widgets.QApplication.instance() or widgets.QApplication([])


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch, application: QApplication) -> Iterator[Any]:
    """The example's modules, imported as `python app.py` does."""
    monkeypatch.syspath_prepend(FOLDER)
    import window
    import worker

    yield window.Window, worker.Worker
    del sys.modules["window"], sys.modules["worker"]


@pytest.fixture
def window(
    modules: Any, tiny_home: Path, brief_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    monkeypatch.setenv("LORID_EDGE_HOME", str(tiny_home))
    make_window, make_worker = modules
    window = make_window(make_worker(str(brief_pack)))
    window.show()
    wait_until(window.solve_button.isEnabled)
    yield window
    window.close()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Handle events as the application does, until `is_so`."""
    from PySide6.QtTest import QTest

    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "the window did not get there"
        QTest.qWait(5)


def test_a_problem_is_solved_while_the_window_goes_on(window: Any) -> None:
    from PySide6.QtTest import QTest

    typed_while_solving: list[str] = []

    def type_something(_: object) -> None:
        assert threading.current_thread() is threading.main_thread()
        if not typed_while_solving:
            QTest.keyClicks(window.question, " ok")
            typed_while_solving.append(window.question.toPlainText())
            assert window.cancel_button.isEnabled()

    window.question.setPlainText(QUESTION)
    window.worker.happened.connect(type_something)
    window.solve_button.click()
    assert not window.solve_button.isEnabled()  # the click came back before the problem was solved
    wait_until(window.solve_button.isEnabled)
    assert " ok" in typed_while_solving[0]
    assert window.answer.text()
    assert "confidence" in window.status.text()
    texts = {role.value: pane.toPlainText() for role, pane in window.panes.items()}
    assert "[" in texts["intuitive_reasoner"]


def test_cancelling_ends_the_work_and_the_next_problem_is_solved(window: Any) -> None:
    window.question.setPlainText(QUESTION)
    events: list[object] = []

    def cancel_at_first(event: object) -> None:
        if not events:
            window.cancel()
        events.append(event)

    window.worker.happened.connect(cancel_at_first)
    window.solve()
    wait_until(window.solve_button.isEnabled)
    assert window.status.text() == "Cancelled"
    assert not window.answer.text()
    assert events

    window.solve()
    wait_until(window.solve_button.isEnabled)
    assert "confidence" in window.status.text()


def test_cancelling_before_the_work_has_begun_counts(window: Any) -> None:
    window.question.setPlainText(QUESTION)
    window.solve()
    window.cancel()
    wait_until(window.solve_button.isEnabled)
    assert window.status.text() == "Cancelled"


def test_a_window_closed_in_the_middle_of_a_problem_frees_everything(window: Any) -> None:
    window.question.setPlainText(QUESTION)
    started = []
    window.worker.happened.connect(started.append)
    window.solve()
    wait_until(lambda: bool(started))
    window.close()
    assert not window.worker.is_open


def test_a_pack_that_is_not_there_is_said_in_words(
    modules: Any, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORID_EDGE_HOME", str(tiny_home))
    make_window, make_worker = modules
    window = make_window(make_worker("nowhere"))
    wait_until(lambda: "nowhere" in window.status.text())
    assert not window.solve_button.isEnabled()
    window.close()
