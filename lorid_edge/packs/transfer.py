"""What all kinds of sources share: the request, its failure, and bytes on their way to the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lorid_edge.packs.partial import PartialFile

CHUNK_BYTES = 2**18


class SourceFailure(Exception):
    """One source did not deliver, for the reason in the message; the next one may."""


@dataclass(frozen=True)
class Request:
    """What to fetch, where to put it meanwhile, and who hears of the progress.

    `target` is the unfinished file, which belongs to this source alone; whatever else is needed
    on the way goes into its folder.
    """

    size_bytes: int
    target: Path
    pack_folder: Path
    on_bytes: Callable[[int, str], None]


class ByteStream(Protocol):
    """What bytes are read from: a file, a member of an archive or a server's answer."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""


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
