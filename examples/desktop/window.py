"""The window: a problem, the three roles at work, the answer."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from worker import Worker

from lorid_edge import Role
from lorid_edge.loop.events import Event, RoleStarted, SampleFinished, Solved, TextAdded
from lorid_edge.loop.solution import Solution

DRAWING_MS = 50
"""Time between two drawings: text may come faster than a window can be drawn."""

TITLES = {
    Role.INTUITIVE_REASONER: "Intuitive reasoner",
    Role.KNOWLEDGE_GENERATOR: "Knowledge",
    Role.DEEP_REASONER: "Deep reasoner",
}


class Window(QWidget):
    """Shows what the worker tells, and asks it to solve and to stop."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.setWindowTitle("lorid-edge")
        self.resize(960, 600)
        self.question = QPlainTextEdit(placeholderText="Type or paste a problem")
        self.solve_button = QPushButton("Solve", enabled=False)
        self.cancel_button = QPushButton("Cancel", enabled=False)
        self.answer = QLabel(textFormat=Qt.TextFormat.PlainText, wordWrap=True)
        self.answer.setStyleSheet("font-size: 20pt")
        self.status = QLabel("Loading the pack", textFormat=Qt.TextFormat.PlainText, wordWrap=True)
        self.panes = {role: QPlainTextEdit(readOnly=True) for role in Role}
        self._texts: dict[Role, dict[int, str]] = {}
        self._stale: set[Role] = set()
        self._drawing = QTimer(self, interval=DRAWING_MS)
        self.worker = worker
        self._lay_out()
        self._connect()
        worker.start()

    def solve(self) -> None:
        """Have the problem in the window solved."""
        question = self.question.toPlainText().strip()
        if not question or not self.solve_button.isEnabled():
            return
        self._texts = {role: {} for role in Role}
        self._stale = set(Role)
        self.answer.clear()
        self._set_busy(True, "Solving")
        self._drawing.start()
        self.worker.solve(question)

    def cancel(self) -> None:
        """Stop at once."""
        if self.cancel_button.isEnabled():
            self.worker.cancel()

    def closeEvent(self, event: QCloseEvent) -> None:
        self.worker.close()
        event.accept()

    def _lay_out(self) -> None:
        self.question.setMaximumHeight(90)
        buttons = QHBoxLayout()
        buttons.addWidget(self.status, stretch=1)
        buttons.addWidget(self.cancel_button)
        buttons.addWidget(self.solve_button)
        work = QGridLayout()
        for column, (role, pane) in enumerate(self.panes.items()):
            title = QLabel(TITLES[role])
            title.setBuddy(pane)
            work.addWidget(title, 0, column)
            work.addWidget(pane, 1, column)
        layout = QVBoxLayout(self)
        layout.addWidget(self.question)
        layout.addLayout(buttons)
        layout.addWidget(self.answer)
        layout.addLayout(work, stretch=1)

    def _connect(self) -> None:
        self.solve_button.clicked.connect(self.solve)
        self.cancel_button.clicked.connect(self.cancel)
        QShortcut(QKeySequence("Ctrl+Return"), self, self.solve)
        QShortcut(QKeySequence("Esc"), self, self.cancel)
        self._drawing.timeout.connect(self._draw)
        # Only to methods of this widget, so that they run in its thread; a lambda has none.
        self.worker.ready.connect(self._be_ready)
        self.worker.unavailable.connect(self.status.setText)
        self.worker.happened.connect(self._take)
        self.worker.cancelled.connect(self._be_cancelled)
        self.worker.failed.connect(self._end)

    def _take(self, event: Event) -> None:
        """Note an event; drawing is left to the timer."""
        if isinstance(event, RoleStarted):
            self._texts[event.role][event.index] = ""
        elif isinstance(event, TextAdded):
            self._texts[event.role][event.index] += event.text
        elif isinstance(event, SampleFinished):
            sample = event.sample
            outcome = "no longer needed" if sample.finish == "cancelled" else sample.answer
            self._texts[sample.role][sample.index] += f"\n[{outcome or 'done'}]"
            self._stale.add(sample.role)
        elif isinstance(event, Solved):
            self.answer.setText(event.solution.answer or "no answer")
            self._end(summary(event.solution))
        if isinstance(event, RoleStarted | TextAdded):
            self._stale.add(event.role)

    def _be_ready(self) -> None:
        self._set_busy(False, "Ready")

    def _be_cancelled(self) -> None:
        self._end("Cancelled")

    def _draw(self) -> None:
        for role in self._stale:
            pane = self.panes[role]
            pane.setPlainText("\n\n".join(self._texts[role].values()))
            pane.verticalScrollBar().setValue(pane.verticalScrollBar().maximum())
        self._stale.clear()

    def _end(self, status: str) -> None:
        self._drawing.stop()
        self._draw()
        self._set_busy(False, status)

    def _set_busy(self, is_busy: bool, status: str) -> None:
        self.status.setText(status)
        self.solve_button.setEnabled(not is_busy)
        self.cancel_button.setEnabled(is_busy)


def summary(solution: Solution) -> str:
    """How the answer came about and what it cost, in one line."""
    return (
        f"{solution.status.value}, confidence {solution.confidence:.2f}, "
        f"{solution.tokens.generated} tokens, {solution.seconds.total:.1f} s"
    )
