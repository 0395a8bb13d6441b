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

## Environment

| variable | sets |
|---|---|
| `LORID_EDGE_HOME` | the folder for models, data sets and all that is kept; by default the platform's folder for user data (Linux: `~/.local/share/lorid-edge`, macOS: `~/Library/Application Support/lorid-edge`, Windows: `%LOCALAPPDATA%\\lorid-edge`) |
| `LORID_EDGE_OFFLINE=1` | nothing is fetched; what is missing is an error at once |
| `LORID_EDGE_DEBUG=1` | tracebacks, and the log on standard error |
| `LORID_EDGE_TOKEN` | the token of `serve`, at least 8 characters; else it is new at each start |
| `HF_ENDPOINT` | the address of a mirror of the Hugging Face hub |
| `RAY_ADDRESS` | the Ray cluster of `eval --engine ray`; else the one on this machine |
| `NO_COLOR` | no colour and no animation, on a terminal too |
| `GOMP_SPINCOUNT`, `GGML_CPU_TILED_MM` | how threads wait and multiply ([engine.md](engine.md#start-up)); set for you unless you set them |
"""  # noqa: E501


def reference() -> str:
    """The whole page."""
    import typer

    from lorid_edge.cli.main import app

    parts = [INTRODUCTION]
    for name, text in _helps(typer.main.get_command(app), "lorid-edge"):
        parts.append(f"## {name}\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


def _helps(command: Any, name: str, parent: Any = None) -> list[tuple[str, str]]:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    context.terminal_width = context.max_content_width = 96
    helps = [(context.command_path, command.get_help(context))]
    for child_name, child in sorted(getattr(command, "commands", {}).items()):
        helps += _helps(child, child_name, context)
    return helps


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    sys.stderr.write(f"wrote {TARGET}\n")
