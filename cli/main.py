"""Builds `lorid-edge` out of its commands, and turns errors into messages and exit codes.

Exit codes: 0 done; 1 failed, for the reason in the message; 2 wrong usage; 3 solved without
agreement; 130 interrupted.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from lorid_edge.errors import LoridError, UsageError

from . import background, bench, convert, distill, doctor, evaluate, packs, serve, solve, train

DEBUG_VARIABLE = "LORID_EDGE_DEBUG"

FAILED, WRONG_USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141


class ErrorBoundary(TyperGroup):
    """Every error below ends here, as one short message on stderr."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _complain("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Nobody reads any more; without this the interpreter would complain at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from None
        except LoridError as error:
            _complain(str(error))
            raise typer.Exit(WRONG_USAGE if isinstance(error, UsageError) else FAILED) from None
        except Exception as error:
            if isinstance(error, typer.Abort) or hasattr(error, "exit_code"):
                raise  # typer's own: wrong usage, or an exit
            hint = "" if _is_debugging() else f" (set {DEBUG_VARIABLE}=1 for the traceback)"
            _complain(f"unexpected {type(error).__name__}: {error}{hint}")
            raise typer.Exit(FAILED) from None


app = typer.Typer(
    name="lorid-edge",
    cls=ErrorBoundary,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("solve")(solve.solve)
app.command("bench")(bench.bench)
app.add_typer(packs.app, name="packs")
app.add_typer(evaluate.app, name="eval")
app.add_typer(distill.app, name="distill")
app.command("train")(train.train)
app.add_typer(convert.app, name="convert")
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from lorid_edge import __version__

        print(f"lorid-edge {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Solve mathematical problems offline with one small model in three roles.

    Example: lorid-edge solve "A pen costs 3 dollars. What do 4 pens cost?"
    """
    _configure_logging()


def main() -> NoReturn:
    """Run the command line of this process; the entry point of `lorid-edge`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code: int | str | None = 0
    try:
        app(prog_name="lorid-edge")
    except SystemExit as stop:
        code = stop.code
    if background.is_abandoned():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else FAILED)
    sys.exit(code)


def _is_debugging() -> bool:
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def _configure_logging() -> None:
    """Warnings to stderr; everything with LORID_EDGE_DEBUG=1."""
    handler = logging.StreamHandler()
    logger = logging.getLogger("lorid_edge")
    logger.handlers = [handler]
    if _is_debugging():
        handler.setFormatter(logging.Formatter("%(relativeCreated)d ms %(name)s: %(message)s"))
        logger.setLevel(logging.DEBUG)
    else:
        handler.setFormatter(logging.Formatter("lorid-edge: %(message)s"))
        logger.setLevel(logging.WARNING)
        # What matters of llama.cpp's own complaints comes as an EngineError.
        logging.getLogger("lorid_edge.llama").setLevel(logging.CRITICAL)


def _complain(message: str) -> None:
    from .streams import note

    if _is_debugging():
        traceback.print_exc()
    note(f"lorid-edge: {message}")
