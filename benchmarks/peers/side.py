"""The process of one side: reads blocks of questions, solves them, writes what came of them.

Started by `compare.py`, one for each side, so that no library of one side sets anything for
another. JSON lines: settings first, then blocks; it ends when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import closing
from typing import Any

from side_settings import SideSettings
from sides import open_side


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print belongs to stderr
    first = json.loads(sys.stdin.readline())

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    with closing(open_side(first["side"], SideSettings(**first["settings"]))) as side:
        answer({"conditions": side.conditions()})
        for line in sys.stdin:
            block = json.loads(line)
            began = time.perf_counter()
            solved = side.solve(block["questions"], block["seed"])
            seconds = time.perf_counter() - began
            answer({"seconds": seconds, "problems": [one.to_dict() for one in solved]})


if __name__ == "__main__":
    main()
