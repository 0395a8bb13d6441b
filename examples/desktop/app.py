"""A desktop app that solves problems and never freezes.

python examples/desktop/app.py small
"""

from __future__ import annotations

import sys

from PySide6.QtWidgets import QApplication
from window import Window
from worker import Worker


def main() -> int:
    app = QApplication(sys.argv)
    pack = app.arguments()[1] if len(app.arguments()) > 1 else "standard"
    window = Window(Worker(pack))
    window.show()
    return app.exec()


if __name__ == "__main__":
    sys.exit(main())
