"""Outputs that appear whole or not at all.

A converter writes to a temporary name in the output's own folder, and the result is renamed when
it is complete. An error or Ctrl-C removes the temporary; what a killed process left is removed by
the next run that writes the same output.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from lorid_edge.errors import ConversionError

Progress = Callable[[int, int, str], None]
"""Hears of long work: (done, total, what is being done); done and total in bytes or steps."""

_RESERVE_BYTES = 16 * 2**20  # what else may write to the disk meanwhile


@contextmanager
def new_file(path: Path, *, force: bool = False, needed_bytes: int = 0) -> Iterator[Path]:
    """A temporary path to write; it becomes `path` when the block ends without an error.

    Args:
        force: replace a file that is already there.
        needed_bytes: how much will be written, as far as that is known before.

    Raises:
        ConversionError: the output exists, its folder is missing or not writable, or the disk is
            full, before the block or in it.
    """
    with _temporary(path, force, needed_bytes) as temporary:
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(path)


@contextmanager
def new_folder(
    path: Path, names: Collection[str], *, force: bool = False, needed_bytes: int = 0
) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `path` when the block ends without an error.

    With `force` a folder that is already there is replaced only once the new one is complete, and
    only if it holds nothing but files of these `names`, which are all that the block may write.
    Raises ConversionError as `new_file` does.
    """
    path = path.resolve()  # so a link stays one, and `.` has a name
    with _temporary(path, force, needed_bytes, names) as temporary:
        temporary.mkdir()
        yield temporary
        for file in temporary.iterdir():
            _flush_to_disk(file)
        if path.exists():
            old = _temporary_name(path, "old")
            path.rename(old)
            temporary.rename(path)
            _remove(old)
        else:
            temporary.rename(path)


@contextmanager
def scratch_file(path: Path, *, needed_bytes: int = 0) -> Iterator[Path]:
    """A temporary path beside `path` for what is only needed on the way; gone after the block.

    Raises ConversionError as `new_file` does.
    """
    with _temporary(path, True, needed_bytes) as temporary:
        yield temporary


def require_new(
    path: Path,
    *,
    inputs: Iterable[Path],
    force: bool = False,
    names: Collection[str] | None = None,
) -> None:
    """Raise the ConversionError that writing `path` would raise, before anything expensive.

    Not even `force` lets an output replace one of the `inputs` that it is made of, or the folder
    that one is in.

    Args:
        names: of what a folder will hold, as for `new_folder`; None if `path` is to be a file.
    """
    _prepare_place(path if names is None else path.resolve(), force, 0, names)
    for source in inputs:
        is_source = path.exists() and source.exists() and path.samefile(source)
        if is_source or path.resolve() == source.parent.resolve():
            raise ConversionError(f"{path} would replace its own input; write to another name.")


def require_free(folder: Path, needed_bytes: int) -> None:
    """Raise ConversionError if the disk of `folder` has no room for `needed_bytes`."""
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes and free_bytes < needed_bytes + _RESERVE_BYTES:
        raise ConversionError(
            f"{folder}: {needed_bytes / 1e6:,.0f} MB of disk are needed and "
            f"{free_bytes / 1e6:,.0f} MB are free. Free some space, or use another disk."
        )


@contextmanager
def _temporary(
    path: Path, force: bool, needed_bytes: int, names: Collection[str] | None = None
) -> Iterator[Path]:
    _prepare_place(path, force, needed_bytes, names)
    temporary = _temporary_name(path, "partial")
    try:
        yield temporary
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ConversionError(
                f"{path}: the disk is full; nothing was kept. Free some space and run it again."
            ) from error
        raise ConversionError(f"{path}: cannot be written ({error.strerror or error}).") from error
    finally:
        _remove(temporary)


def _prepare_place(
    path: Path, force: bool, needed_bytes: int, names: Collection[str] | None
) -> None:
    """Clear away what killed runs left; raise ConversionError if `path` cannot be written."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConversionError(f"{path}: the folder {folder} does not exist; make it first.")
    if not os.access(folder, os.W_OK):
        raise ConversionError(f"{path}: the folder {folder} cannot be written to.")
    _clear_left_overs(path)
    _require_kind(path, names)
    if path.exists() and not force:
        raise ConversionError(f"{path} exists already. Say --force to replace it.")
    require_free(folder, needed_bytes)


def _require_kind(path: Path, names: Collection[str] | None) -> None:
    """What is there already has to be a file or, with `names`, a folder of nothing but these."""
    if names is None:
        if path.is_dir():
            raise ConversionError(f"{path} is a folder, expected the name of a file to write.")
        return
    if not path.exists():
        return
    if not path.is_dir():
        raise ConversionError(f"{path} is a file, expected the name of a folder to write.")
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in names)
    if foreign:
        raise ConversionError(
            f"{path} holds {foreign[0]}, which is not written here, so the folder is not replaced. "
            "Move that away, or write to another name."
        )


def _temporary_name(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{kind}")


def _clear_left_overs(path: Path) -> None:
    """Remove what killed runs left; a process that is alive may still be writing its own.

    A folder that was put aside for a new one that never came is put back.
    """
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.(partial|old)")
    for entry in path.absolute().parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match and (int(match[1]) == os.getpid() or not psutil.pid_exists(int(match[1]))):
            if match[2] == "old" and not path.exists():
                entry.rename(path)
            else:
                _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    """Renaming a file whose bytes are still on their way could leave an empty one after a crash."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
