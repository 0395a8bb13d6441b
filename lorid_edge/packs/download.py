"""Brings a base model into its place: sources in turn, then the checksum, then the rename."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lorid_edge.errors import DownloadError, OfflineError
from lorid_edge.packs.checksums import known_sha256_of, sha256_of, write_stamp
from lorid_edge.packs.manifest import Base, LocalSource
from lorid_edge.packs.places import OFFLINE_VARIABLE, Places, is_offline
from lorid_edge.packs.sources import Request, SourceFailure, describe, fetch

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


def pull_base(
    base: Base, pack_folder: Path, places: Places, progress: ProgressCallback | None = None
) -> Path:
    """Return the path of the verified base, fetching it first if it is not there.

    Safe to kill at any moment and to run in several processes at once. Raises OfflineError if
    the network would be needed but is forbidden, DownloadError for every other failure.
    """
    report = _Reporter(base, progress)
    target = places.base(base.sha256, base.file)
    try:
        if _is_in_place(target, base, places, report):
            report("done", base.bytes, str(target))
            return target
        _refuse_if_offline(base, target)
        with base_lock(base, places, report):
            if not _is_in_place(target, base, places, report):
                _require_space(base, places)
                _try_sources(base, pack_folder, places, report)
    except OSError as error:
        raise _disk_error(error, base, places) from error
    report("done", base.bytes, str(target))
    return target


class _Reporter:
    """Calls the progress callback, if there is one."""

    def __init__(self, base: Base, progress: ProgressCallback | None) -> None:
        self.base = base
        self.progress = progress

    def __call__(
        self,
        stage: Literal["waiting", "fetching", "checking", "done"],
        done_bytes: int,
        detail: str,
    ) -> None:
        if self.progress is not None:
            self.progress(PullProgress(stage, done_bytes, self.base.bytes, detail))


def _rising(report: _Reporter) -> Callable[[int, str], None]:
    """Report bytes fetched, never fewer than before: an archive is fetched, then unpacked."""
    most_bytes = 0

    def on_bytes(done_bytes: int, detail: str) -> None:
        nonlocal most_bytes
        most_bytes = max(most_bytes, done_bytes)
        report("fetching", most_bytes, detail)

    return on_bytes


def _is_in_place(target: Path, base: Base, places: Places, report: _Reporter) -> bool:
    if not target.is_file() or target.stat().st_size != base.bytes:
        return False
    found = known_sha256_of(
        target, places.verified, lambda done: report("checking", done, f"checking {target.name}")
    )
    return found == base.sha256


def _refuse_if_offline(base: Base, target: Path) -> None:
    if is_offline() and not any(isinstance(source, LocalSource) for source in base.sources):
        raise OfflineError(
            f"{base.file} is missing and {OFFLINE_VARIABLE} forbids fetching it; "
            f"unset {OFFLINE_VARIABLE}, or put the file at {target}"
        )


@contextmanager
def base_lock(base: Base, places: Places, report: _Reporter | None = None) -> Iterator[None]:
    """Hold the lock of one base, waiting for the process that has it."""
    from filelock import FileLock, Timeout

    path = places.lock(base.sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if report is not None:
            report("waiting", 0, f"another process is fetching {base.file}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _require_space(base: Base, places: Places) -> None:
    """Refuse a download for which the disk is too small, counting what is fetched already."""
    folder = places.download(base.sha256)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    needed_bytes = int(max(base.bytes - max(sizes, default=0), 0) * _SPACE_SLACK)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise DownloadError(
            f"not enough disk space in {places.home} for {base.file}: "
            f"needs {_megabytes(needed_bytes)}, free are {_megabytes(free_bytes)}; "
            "free some space or set LORID_EDGE_HOME to another disk"
        )


def _try_sources(base: Base, pack_folder: Path, places: Places, report: _Reporter) -> None:
    target = places.base(base.sha256, base.file)
    folder = places.download(base.sha256)
    reasons = []
    for source in base.sources:
        request = Request(base.bytes, folder, pack_folder, _rising(report))
        try:
            if is_offline() and not isinstance(source, LocalSource):
                raise SourceFailure(f"not tried, {OFFLINE_VARIABLE} is set")
            candidate = fetch(source, request)
            _require_checksum(candidate, base, report)
        except SourceFailure as failure:
            reasons.append(f"\n  {describe(source)}: {failure}")
            continue
        _install(candidate, target, base, places)
        return
    kind = OfflineError if is_offline() else DownloadError
    raise kind(
        f"cannot fetch {base.file}; every source failed:{''.join(reasons)}\n"
        f"Try again (a pull resumes), or put the file at {target}"
    )


def _require_checksum(candidate: Path, base: Base, report: _Reporter) -> None:
    """Remove a candidate whose bytes are wrong, so that the next try starts anew."""
    size_bytes = candidate.stat().st_size
    found = sha256_of(
        candidate, lambda done: report("checking", min(done, base.bytes), f"checking {base.file}")
    )
    if size_bytes == base.bytes and found == base.sha256:
        return
    candidate.unlink()
    candidate.with_name(f"{candidate.name}.json").unlink(missing_ok=True)
    raise SourceFailure(
        f"wrong content, removed: expected {base.bytes} bytes with SHA-256 {base.sha256}, "
        f"got {size_bytes} bytes with {found}"
    )


def _install(candidate: Path, target: Path, base: Base, places: Places) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    candidate.replace(target)
    write_stamp(target, places.verified, base.sha256)
    shutil.rmtree(places.download(base.sha256), ignore_errors=True)


def _disk_error(error: OSError, base: Base, places: Places) -> DownloadError:
    if error.errno in _FULL_DISK:
        return DownloadError(
            f"the disk is full (or a size limit is reached) while fetching {base.file} to "
            f"{places.home}: {_megabytes(base.bytes)} are needed; free some space and pull again"
        )
    return DownloadError(
        f"cannot write {base.file} below {places.home}: {error.strerror or error}; "
        "make the folder writable or set LORID_EDGE_HOME to another one"
    )


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"
