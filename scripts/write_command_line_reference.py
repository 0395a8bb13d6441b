"""Write docs/command-line.md from the commands' own help; a test fails when it is stale.

python scripts/write_command_line_reference.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "docs" / "command-line.md"

INTRODUCTION = """# Command line

Made from `--help` by `scripts/write_command_line_reference.py`. Answers and results go to standard
output, everything else to standard error. Exit codes: 0 done; 1 failed, for the reason in the
message; 2 wrong usage; 3 solved, but the roles never agreed; 130 interrupted.
"""


def reference() -> str:
    """The whole page."""
    import typer

    from lorid_edge.cli.main import app

    parts = [INTRODUCTION]
    for name, text in _helps(typer.main.get_command(app), "lorid-edge"):
        parts.append(f"## {name}\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


def _helps(command: Any, name: str) -> list[tuple[str, str]]:
    context = command.make_context(name, [], resilient_parsing=True)
    context.terminal_width = context.max_content_width = 96
    helps = [(name, command.get_help(context))]
    for child_name, child in sorted(getattr(command, "commands", {}).items()):
        helps += _helps(child, f"{name} {child_name}")
    return helps


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    sys.stderr.write(f"wrote {TARGET}\n")
