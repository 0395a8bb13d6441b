"""Fetches the bytes of a base model from one source, whatever its kind.

What the bytes are worth is decided later, by the SHA-256 of the whole file: nothing here trusts
a source. A file on the Hugging Face hub is fetched from its plain address, without token or
telemetry: huggingface_hub (2.4) does not resume and retries for long where the next source waits.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from lorid_edge.packs.address import fetch_address
from lorid_edge.packs.manifest import HubSource, LocalSource, Source, UrlSource, WheelsSource
from lorid_edge.packs.partial import PartialFile
from lorid_edge.packs.transfer import Request, SourceFailure, append_all, chunks_of
from lorid_edge.packs.wheels import fetch_wheels

HUB_ENDPOINT_VARIABLE = "HF_ENDPOINT"  # the hub's own name for the address of a mirror
HUB_ENDPOINT = "https://huggingface.co"


def describe(source: Source) -> str:
    """The source in a few words, as the user can look for it."""
    if isinstance(source, HubSource):
        return f"hub {source.repo}"
    if isinstance(source, WheelsSource):
        first, last = source.package_of(1), source.package_of(source.parts)
        packages = first if first == last else f"{first} to {last}"
        return f"wheels {packages}, version {source.version}"
    return f"url {source.url}" if isinstance(source, UrlSource) else f"local {source.path}"


def partial_path(source: Source, folder: Path) -> Path:
    """Where the unfinished file from this source lies in `folder`.

    Each source has its own: what a bad one sent must not be taken for the start of a good one.
    """
    origin = _hub_address(source) if isinstance(source, HubSource) else source.model_dump_json()
    digest = hashlib.sha256(origin.encode("utf-8", "surrogatepass")).hexdigest()
    return folder / f"{source.kind}-{digest[:12]}.partial"


def fetch(source: Source, request: Request) -> Path:
    """Fetch the file and return where it lies, which is `request.target`.

    Raises SourceFailure if the source does not deliver, OSError if the disk fails.
    """
    if isinstance(source, HubSource):
        address = _hub_address(source)
        if not address.startswith(("https://", "http://")):
            raise SourceFailure(
                f"{HUB_ENDPOINT_VARIABLE} is {os.environ[HUB_ENDPOINT_VARIABLE]!r}, expected an "
                f"address such as {HUB_ENDPOINT}"
            )
        return fetch_address(address, request)
    if isinstance(source, UrlSource):
        return fetch_address(source.url, request)
    if isinstance(source, LocalSource):
        return _fetch_local(source, request)
    return fetch_wheels(source, request)


def _hub_address(source: HubSource) -> str:
    endpoint = os.environ.get(HUB_ENDPOINT_VARIABLE) or HUB_ENDPOINT
    return f"{endpoint.rstrip('/')}/{source.repo}/resolve/{source.revision}/{source.file}"


def _fetch_local(source: LocalSource, request: Request) -> Path:
    try:
        path = request.pack_folder / Path(source.path).expanduser()
        stream = path.open("rb", buffering=0)
    except OSError as error:
        raise SourceFailure(f"cannot open {path}: {error.strerror or error}") from error
    except (RuntimeError, ValueError) as error:  # no such user's home, or a NUL in the path
        raise SourceFailure(f"no path that can be opened: {error}") from error
    with stream, PartialFile(request.target) as partial:
        size_bytes = os.fstat(stream.fileno()).st_size
        if size_bytes != request.size_bytes:
            raise SourceFailure(f"{path} has {size_bytes} bytes, expected {request.size_bytes}")
        partial.truncate(0)
        append_all(chunks_of(stream, (OSError,)), partial, request, f"copying {path}")
        partial.sync()
    return partial.path
