"""The child process of `symbolic`: reads pairs of expressions, writes whether they are equal.

Usage: python -m lorid_edge.answers.symbolic_worker SECONDS, where SECONDS bounds one comparison.
Standard input carries one JSON list of two texts a line, standard output "ready" once and then
"true" or "false" a line. It ends when standard input does, which is when the parent ends.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
from pathlib import Path

MEMORY_BYTES = 2 * 1024**3


def _limit_memory() -> None:
    """Keep a huge power from filling the machine; without effect where the system knows none."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    except (ImportError, ValueError, OSError):
        pass


def _equal(first: str, second: str) -> bool:
    from math_verify import LatexExtractionConfig, parse, verify

    parsed = [
        parse(
            f"${text}$",
            extraction_config=(LatexExtractionConfig(),),
            fallback_mode="no_fallback",
            parsing_timeout=None,
        )
        for text in (first, second)
    ]
    return all(parsed) and verify(*parsed, float_rounding=12, timeout_seconds=None)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    seconds = float(sys.argv[1])
    _limit_memory()
    logging.disable(logging.CRITICAL)
    replies, sys.stdout = sys.stdout, sys.stderr
    _equal(r"\sqrt{2}", "x + 1")  # imports sympy and builds the parser before the clock runs
    print("ready", file=replies, flush=True)
    with Path(os.devnull).open("w") as nowhere:
        for line in sys.stdin:
            # Ends the process from outside the interpreter, should the parent have died during
            # a comparison that never returns.
            faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
            try:
                equal = _equal(*json.loads(line))
            except Exception:  # whatever sympy cannot handle is not proven equal
                equal = False
            faulthandler.cancel_dump_traceback_later()
            print("true" if equal else "false", file=replies, flush=True)


if __name__ == "__main__":
    main()
