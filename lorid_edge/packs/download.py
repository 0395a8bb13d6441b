"""Brings a file into its place: sources in turn, then the checksum, then the rename.

The files are the base models of packs and the data sets that have a name.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from lorid_edge.errors import DownloadError, OfflineError
from lorid_edge.packs.checksums import known_sha256_of, sha256_of, write_stamp
from lorid_edge.packs.manifest import Base, LocalSource, Source
from lorid_edge.packs.places import HOME_VARIABLE, OFFLINE_VARIABLE, Places, is_offline
from lorid_edge.packs.sources import describe, fetch, partial_path
from lorid_edge.packs.transfer import Request, SourceFailure

_SPACE_SLACK = 1.05
_FULL_DISK = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class PullProgress:
    """How far a pull has come. `detail` is a line for people."""

    stage: Literal["waiting", "fetching", "checking", "done"]
    done_bytes: int
    total_bytes: int
    detail: str


ProgressCallback = Callable[[PullProgress], None]


class RemoteFile(Protocol):
    """A file whose content is known by its hash: a pack's base, or a file of a data set."""

    @property
    def file(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def sources(self) -> tuple[Source, ...]: ...


def pull_base(
    base: Base, pack_folder: Path, places: Places, progress: ProgressCallback | None = None
) -> Path:
    """`pull_file` for the base of the pack in `pack_folder`."""
    target = places.base(base.sha256, base.file)
    return pull_file(base, target, pack_folder, places, progress)


def pull_file(
    wanted: RemoteFile,
    target: Path,
    folder: Path,
    places: Places,
    progress: ProgressCallback | None = None,
) -> Path:
    """Return `target` once it is the verified file, fetching it first if it is not there.

    Relative paths of local sources count from `folder`. Safe to kill at any moment and to run in
    several processes at once. Raises OfflineError if the network would be needed but is
    forbidden, DownloadError for every other failure.
    """
    report = _Reporter(wanted, progress)
    try:
        if _is_in_place(target, wanted, places, report):
            report("done", wanted.bytes, str(target))
            return target
        _refuse_if_offline(wanted, target)
        with file_lock(wanted.sha256, places, report.waiting):
            if not _is_in_place(target, wanted, places, report):
                _try_sources(wanted, target, folder, places, report)
    except OSError as error:
        raise _disk_error(error, wanted, places) from error
    report("done", wanted.bytes, str(target))
    return target


class _Reporter:
    """Calls the progress callback, if there is one."""

    def __init__(self, wanted: RemoteFile, progress: ProgressCallback | None) -> None:
        self.wanted = wanted
        self.progress = progress

    def __call__(
        self,
        stage: Literal["waiting", "fetching", "checking", "done"],
        done_bytes: int,
        detail: str,
    ) -> None:
        if self.progress is not None:
            self.progress(PullProgress(stage, done_bytes, self.wanted.bytes, detail))

    def waiting(self) -> None:
        self("waiting", 0, f"another process is fetching {self.wanted.file}")


def _rising(report: _Reporter) -> Callable[[int, str], None]:
    """Report bytes fetched, never fewer than before: an archive is fetched, then unpacked."""
    most_bytes = 0

    def on_bytes(done_bytes: int, detail: str) -> None:
        nonlocal most_bytes
        most_bytes = max(most_bytes, done_bytes)
        report("fetching", most_bytes, detail)

    return on_bytes


def _is_in_place(target: Path, wanted: RemoteFile, places: Places, report: _Reporter) -> bool:
    if not target.is_file() or target.stat().st_size != wanted.bytes:
        return False
    found = known_sha256_of(
        target, places.verified, lambda done: report("checking", done, f"checking {target.name}")
    )
    return found == wanted.sha256


def _refuse_if_offline(wanted: RemoteFile, target: Path) -> None:
    if is_offline() and not any(isinstance(source, LocalSource) for source in wanted.sources):
        raise OfflineError(
            f"{wanted.file} is missing and {OFFLINE_VARIABLE} forbids fetching it; "
            f"unset {OFFLINE_VARIABLE}, or put the file at {target}"
        )


@contextmanager
def file_lock(
    sha256: str, places: Places, on_waiting: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the lock of the file with this hash, waiting for the process that has it."""
    from filelock import FileLock, Timeout

    path = places.lock(sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if on_waiting is not None:
            on_waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _try_sources(
    wanted: RemoteFile, target: Path, folder: Path, places: Places, report: _Reporter
) -> None:
    download = places.download(wanted.sha256)
    download.mkdir(parents=True, exist_ok=True)
    reasons = []
    for source in wanted.sources:
        partial = partial_path(source, download)
        request = Request(wanted.bytes, partial, folder, _rising(report))
        try:
            if is_offline() and not isinstance(source, LocalSource):
                raise SourceFailure(f"not tried, {OFFLINE_VARIABLE} is set")
            _require_space(wanted, partial)
            candidate = fetch(source, request)
            _require_checksum(candidate, wanted, report)
        except SourceFailure as failure:
            reasons.append(f"\n  {describe(source)}: {failure}")
            continue
        _install(candidate, target, wanted, places)
        return
    kind = OfflineError if is_offline() else DownloadError
    raise kind(
        f"cannot fetch {wanted.file}; every source failed:{''.join(reasons)}\n"
        f"Try again (a pull resumes), or put the file at {target}"
    )


def _require_space(wanted: RemoteFile, partial: Path) -> None:
    """Refuse a source if the disk is too small for what it has not sent yet.

    The next one may have sent nearly all before.
    """
    here_bytes = partial.stat().st_size if partial.is_file() else 0
    needed_bytes = int(max(wanted.bytes - here_bytes, 0) * _SPACE_SLACK)
    free_bytes = shutil.disk_usage(partial.parent).free
    if free_bytes < needed_bytes:
        raise SourceFailure(
            f"not enough disk space in {partial.parent}: needs {_megabytes(needed_bytes)}, free "
            f"are {_megabytes(free_bytes)}; free some space or set {HOME_VARIABLE} to another disk"
        )


def _require_checksum(candidate: Path, wanted: RemoteFile, report: _Reporter) -> None:
    """Remove a candidate whose bytes are wrong, so that the next try starts anew."""
    size_bytes = candidate.stat().st_size
    found = sha256_of(
        candidate,
        lambda done: report("checking", min(done, wanted.bytes), f"checking {wanted.file}"),
    )
    if size_bytes == wanted.bytes and found == wanted.sha256:
        return
    candidate.unlink()
    candidate.with_name(f"{candidate.name}.json").unlink(missing_ok=True)
    raise SourceFailure(
        f"wrong content, removed: expected {wanted.bytes} bytes with SHA-256 {wanted.sha256}, "
        f"got {size_bytes} bytes with {found}"
    )


def _install(candidate: Path, target: Path, wanted: RemoteFile, places: Places) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    candidate.replace(target)
    write_stamp(target, places.verified, wanted.sha256)
    shutil.rmtree(places.download(wanted.sha256), ignore_errors=True)


def _disk_error(error: OSError, wanted: RemoteFile, places: Places) -> DownloadError:
    if error.errno in _FULL_DISK:
        return DownloadError(
            f"the disk is full (or a size limit is reached) while fetching {wanted.file} to "
            f"{places.home}: {_megabytes(wanted.bytes)} are needed; free some space and try again"
        )
    return DownloadError(
        f"cannot write {wanted.file} below {places.home}: {error.strerror or error}; "
        "make the folder writable or set LORID_EDGE_HOME to another one"
    )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"
