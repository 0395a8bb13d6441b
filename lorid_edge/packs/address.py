"""Fetches a file from an address, resuming what an earlier try left."""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.request
from pathlib import Path

from lorid_edge.packs.partial import PartialFile
from lorid_edge.packs.transfer import Request, SourceFailure, append_all, chunks_of

ANSWER_TIMEOUT_SECONDS = 8.0  # name lookup, connection, redirects and headers together
READ_TIMEOUT_SECONDS = 30.0


def fetch_address(url: str, request: Request) -> Path:
    """Fetch the file at `url` to `request.target` and return that path.

    Raises SourceFailure if the server does not deliver, OSError if the disk fails.
    """
    with PartialFile(request.target) as partial:
        if partial.size_bytes > request.size_bytes:
            partial.truncate(0)
        if partial.size_bytes < request.size_bytes:
            with _open_url(url, partial.size_bytes) as response:
                resumes = response.status == http.HTTPStatus.PARTIAL_CONTENT
                start_bytes = partial.size_bytes if resumes else 0
                # Only then truncate: a page that is no file must not cost what is here already.
                _require_length(response, request.size_bytes - start_bytes)
                partial.truncate(start_bytes)
                chunks = chunks_of(response, (OSError, http.client.HTTPException))
                append_all(chunks, partial, request, f"fetching {url}")
        partial.sync()
        if partial.size_bytes < request.size_bytes:
            raise SourceFailure(f"broke off at byte {partial.size_bytes} of {request.size_bytes}")
    return partial.path


def _open_url(url: str, offset: int) -> http.client.HTTPResponse:
    """Ask for everything from byte `offset` on; servers that cannot resume send it all."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "lorid-edge"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        response = _answer_in_time(urllib.request.Request(url, headers=headers))
    except urllib.error.HTTPError as error:
        raise SourceFailure(f"the server answers {error.code} {error.reason}") from error
    except (OSError, ValueError, OverflowError, http.client.HTTPException) as error:
        # ValueError and OverflowError: what urllib thinks of an impossible address.
        raise SourceFailure(f"cannot be reached: {getattr(error, 'reason', error)}") from error
    resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
    if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        response.close()
        raise SourceFailure("the server resumes at another byte than asked for")
    return response


def _answer_in_time(request: urllib.request.Request) -> http.client.HTTPResponse:
    """Open the address, within ANSWER_TIMEOUT_SECONDS however many addresses a name has.

    A socket's timeout counts anew for each address and does not bound the name lookup, so a
    dead network could hold the next source up for minutes; the thread is left behind instead.
    """
    outcome: list[http.client.HTTPResponse | BaseException] = []

    def open_address() -> None:
        try:
            outcome.append(urllib.request.urlopen(request, timeout=READ_TIMEOUT_SECONDS))
        except BaseException as error:
            outcome.append(error)

    opener = threading.Thread(target=open_address, daemon=True)
    opener.start()
    opener.join(ANSWER_TIMEOUT_SECONDS)
    if not outcome:
        raise TimeoutError(f"no answer within {ANSWER_TIMEOUT_SECONDS:g} seconds")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _require_length(response: http.client.HTTPResponse, expected_bytes: int) -> None:
    """Refuse a wrong file before fetching it, where the server says how long it is."""
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) != expected_bytes:
        raise SourceFailure(f"the server offers {length} bytes, expected {expected_bytes}")
