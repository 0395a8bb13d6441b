"""Evaluated fixed prompts on disk, so that a new process need not evaluate them again.

The fixed part of a role's prompt (system message and examples) is some hundreds of tokens: seconds
of work on a CPU, tens of milliseconds to read. A file is named by everything its KV depends on:
base, adapter and scale, tokens, and the native library. Its content is checked against a hash
before llama.cpp sees it. Losing a file costs nothing but the time to evaluate the prompt again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from array import array
from pathlib import Path

from lorid_edge.engine.model import AdapterKey

logger = logging.getLogger("lorid_edge.prompt_store")

LIMIT_BYTES = 600_000_000
"""The folder's size; the files unused for longest go first."""

ABANDONED_SECONDS = 3600.0
"""A temporary file that was not written to for so long is what a killed process left."""

_MAGIC = b"LORIDKV1"


class PromptStore:
    """A folder of evaluated prompts of one base under one native library."""

    def __init__(self, folder: Path, identity: str) -> None:
        """Args:
        folder: made when something is stored.
        identity: what all its KV depends on: the base's SHA-256 and the library's hash.
        """
        self._folder = folder
        self._identity = identity

    def read(self, key: AdapterKey, tokens: tuple[int, ...]) -> bytes | None:
        """The KV of `tokens` under `key`, None if it is not here or damaged."""
        path = self._path(key, tokens)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):  # in a folder that may only be read, its age stays
            os.utime(path)
        header = len(_MAGIC) + hashlib.sha256().digest_size
        data = content[header:]
        if content[:header] != _MAGIC + hashlib.sha256(data).digest():
            logger.warning("%s is damaged and will be made again", path)
            return None
        return data

    def write(self, key: AdapterKey, tokens: tuple[int, ...], data: bytes) -> None:
        """Keep the KV of `tokens`; a failure to write is only logged."""
        path = self._path(key, tokens)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            self._make_room(len(data))
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                temporary = Path(file.name)
                try:
                    file.write(_MAGIC + hashlib.sha256(data).digest())
                    file.write(data)
                except BaseException:
                    temporary.unlink(missing_ok=True)
                    raise
            temporary.replace(path)
        except OSError as error:
            logger.warning("an evaluated prompt could not be kept in %s: %s", self._folder, error)

    def _path(self, key: AdapterKey, tokens: tuple[int, ...]) -> Path:
        digest = hashlib.sha256(f"{self._identity} {key.sha256} {key.scale!r} ".encode())
        digest.update(array("i", tokens).tobytes())
        return self._folder / f"{digest.hexdigest()[:32]}.kv"

    def _remove_abandoned(self) -> None:
        oldest = time.time() - ABANDONED_SECONDS
        for path in self._folder.glob(f"{tempfile.gettempprefix()}*"):
            with contextlib.suppress(FileNotFoundError):  # another process has just renamed it
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _make_room(self, needed_bytes: int) -> None:
        files = sorted(self._folder.glob("*.kv"), key=lambda path: path.stat().st_mtime)
        used = sum(path.stat().st_size for path in files) + needed_bytes
        for path in files:
            if used <= LIMIT_BYTES:
                return
            used -= path.stat().st_size
            path.unlink(missing_ok=True)
