"""`lorid-edge serve`: HTTP for other programs on this machine, or lines for a parent process."""

from __future__ import annotations

import inspect
import json
import os
import secrets
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lorid_edge.errors import LoridError, UsageError

from . import streams
from .opening import Opening, open_solver
from .options import ContextTokens, LowMemory, PackName, Threads, Width, Yes, given_options

if TYPE_CHECKING:
    from lorid_edge.serve.settings import Access, Limits

TOKEN_VARIABLE = "LORID_EDGE_TOKEN"
DEFAULT_PORT = 8127
INTERRUPTED = 130

EXAMPLES = """
Examples:

  lorid-edge serve --pack small

  lorid-edge serve --stdio --pack small
"""


HTTP_OPTIONS = (
    *("host", "port", "no_token", "allow_host", "allow_origin", "max_connections"),
    *("receive_seconds", "send_seconds", "stop_seconds", "as_json"),
)
"""Those that mean nothing to a parent process."""


def serve(
    context: typer.Context,
    pack: PackName = "standard",
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Talk JSON-RPC with the parent process instead.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port; 0 takes one that is free.")
    ] = DEFAULT_PORT,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Let every program of this machine in.")
    ] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another name that requests may give as Host.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="A web origin whose pages may ask, as http://localhost:3000."),
    ] = None,
    width: Width = 4,
    threads: Threads = None,
    context_tokens: ContextTokens = None,
    low_memory: LowMemory = False,
    queue_length: Annotated[
        int, typer.Option(help="Requests that may wait; more get status 429.")
    ] = 64,
    max_connections: Annotated[int, typer.Option(help="Connections at the same time.")] = 256,
    max_body_bytes: Annotated[int, typer.Option(help="Largest body of a request.")] = 262_144,
    max_question_characters: Annotated[int, typer.Option(help="Longest question.")] = 8_000,
    max_rounds: Annotated[int, typer.Option(help="Most rounds of a solve; more are refused.")] = 32,
    max_seconds: Annotated[
        float, typer.Option(help="Longest solve; then it gives its best answer so far.")
    ] = 600.0,
    receive_seconds: Annotated[
        float, typer.Option(help="How long a client may take to send its request.")
    ] = 10.0,
    send_seconds: Annotated[
        float, typer.Option(help="How long a client may take to read what is sent.")
    ] = 30.0,
    stop_seconds: Annotated[
        float, typer.Option(help="How long what runs may go on when the server is to stop.")
    ] = 2.5,
    yes: Yes = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print address and token as one line of JSON.")
    ] = False,
) -> None:
    """Solve problems for other programs. A token is printed that clients have to send.

    LORID_EDGE_TOKEN sets the token; else a new one is made at each start.
    """
    from lorid_edge.loading import LoadSettings
    from lorid_edge.serve.settings import Access, Limits, web_origin

    if stdio:
        _refuse_http_options(context)
    load_settings = LoadSettings(
        width=width, sequence_tokens=context_tokens, threads=threads, low_memory=low_memory
    )
    limits = Limits(
        max_body_bytes=max_body_bytes,
        max_question_characters=max_question_characters,
        max_rounds=max_rounds,
        max_seconds=max_seconds,
        queue_length=queue_length,
        max_connections=max_connections,
        receive_seconds=receive_seconds,
        send_seconds=send_seconds,
        stop_seconds=stop_seconds,
    )
    opening = Opening(pack, load_settings, may_fetch=yes, may_substitute=not stdio)
    if stdio:
        _serve_parent(opening, limits)
        return
    is_loopback = _is_loopback(host)
    access = Access(
        _token(no_token, is_loopback),
        frozenset([host.lower().rstrip("."), *map(_allowed_host, allow_host or [])]),
        frozenset(map(web_origin, allow_origin or [])),
        any_address=not is_loopback,
    )
    if _serve_http(opening, limits, access, (host, port), as_json) == signal.SIGINT:
        raise typer.Exit(INTERRUPTED)


serve.__doc__ = f"{inspect.cleandoc(serve.__doc__ or '')}\n{EXAMPLES}"


def _refuse_http_options(context: typer.Context) -> None:
    """Raise UsageError if one was given."""
    for name, option in given_options(context):
        if name in HTTP_OPTIONS:
            raise UsageError(f"{option} has no meaning with --stdio; leave one of them out.")


def _serve_parent(opening: Opening, limits: Limits) -> None:
    """Answer the parent's lines. Whatever else is printed goes to stderr, not among the answers."""
    from lorid_edge.packs.store import PackStore
    from lorid_edge.parent import end_with_parent
    from lorid_edge.serve.stdio import LineServer

    end_with_parent()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with answers, open_solver(opening) as solver:
        LineServer(solver, PackStore(), limits, sys.stdin.buffer, answers).run()


def _serve_http(
    opening: Opening, limits: Limits, access: Access, address: tuple[str, int], as_json: bool
) -> int:
    """Serve until a signal comes; returns its number."""
    try:
        from lorid_edge.serve.app import make_service
        from lorid_edge.serve.server import open_socket
        from lorid_edge.serve.server import serve as serve_until_signal
    except ImportError as error:
        raise LoridError(
            f"The server needs {error.name}, which is not installed. "
            "Run: pip install 'lorid-edge[serve]'"
        ) from error
    from lorid_edge.packs.store import PackStore

    listener = open_socket(*address)
    with listener, open_solver(opening) as solver:
        service = make_service(solver, PackStore(), access, limits)

        def announce() -> None:
            _announce(address[0], listener.getsockname()[1], access.token, as_json)

        return serve_until_signal(service, listener, limits, announce)


def _token(no_token: bool, is_loopback: bool) -> str | None:
    if no_token:
        if not is_loopback:
            raise UsageError(
                "--no-token is for this machine alone; leave it out, or leave --host out."
            )
        return None
    token = os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(24)
    # Browsers write the last four another way in an address.
    is_printable = token.isascii() and token.isprintable()
    if not is_printable or set(token) & set(' "<>`') or len(token) < 8:
        raise UsageError(
            f"{TOKEN_VARIABLE} has to be at least 8 printable ASCII characters, without spaces and "
            'none of " < > `.'
        )
    return token


def _allowed_host(given: str) -> str:
    """A name as the gate compares it; of `laptop.lan:8127`, which a Host header may say, the name.

    Raises UsageError if it is none.
    """
    from lorid_edge.serve.gate import host_name

    name = given.lower() if given.count(":") > 1 and "[" not in given else host_name(given)
    if not name:
        raise UsageError(f"--allow-host {given!r} is no host name; give one such as laptop.lan.")
    return name.rstrip(".")


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _announce(host: str, port: int, token: str | None, as_json: bool) -> None:
    """Tell where the server is: people on stderr, programs on stdout."""
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if as_json:
        content = {"schema": 1, "address": address, "token": token, "process": os.getpid()}
        streams.json_result(json.dumps(content))
    # As it stands, without what `note` leaves out: it is to be copied.
    sys.stderr.write(f"{address}/{'' if token is None else f'#token={token}'}\n")
    sys.stderr.flush()
