"""The one place that loads llama.cpp's native library.

Everything that has to happen before or right after loading lives here: the spin count of OpenMP,
the choice of kernels, the route of llama.cpp's log to Python logging, and the flag that stops a
running decode.
Not responsible for threads (`threads`), models (`model`) or crashes at decode (`probe`).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from lorid_edge.errors import EngineError

SPIN_COUNT = 1000
"""How long libgomp's barriers spin before they sleep, in iterations.

With libgomp's default, decoding beside one busy process per core falls to 0.15 of its own speed;
with 1000 to 0.47 (docs/experiments.md).
"""

TILED_KERNELS = "0"
"""Whether llama.cpp multiplies unrepacked K-quant matrices by its tiled kernel from 8 rows on.

Off: with 8 sequences it is 12 to 29 % slower than the plain one, with 16 the same, and only long
prompts gain from it, 9 to 17 % (docs/experiments.md).
"""

# ggml's levels: 1 debug, 2 info, 3 warning, 4 error. Its info is about a hundred lines a model.
_LOG_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}
_CONTINUED_LINE = 5

_lock = threading.Lock()
_library: Any = None
_log_callback: Any = None


def load() -> Any:
    """Load the native library once and return llama-cpp-python's low-level binding.

    Sets GOMP_SPINCOUNT and GGML_CPU_TILED_MM unless the user did. A process in which another
    library has already loaded libgomp keeps the spin count from before.

    Raises:
        EngineError: llama-cpp-python is missing or its native library cannot be loaded.
    """
    global _library
    with _lock:
        if _library is None:
            os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
            os.environ.setdefault("GGML_CPU_TILED_MM", TILED_KERNELS)
            try:
                from llama_cpp import llama_cpp as binding
            except Exception as error:  # the binding raises several kinds for a broken library
                raise EngineError(
                    f"llama-cpp-python cannot be loaded: {error}. Expected version 0.3.36, built "
                    "for this machine. Run 'make rebuild', or 'pip install --force-reinstall "
                    "llama-cpp-python==0.3.36'."
                ) from error
            _route_log(binding)
            binding.llama_backend_init()
            _library = binding
    return _library


def uses_amx() -> bool:
    """Whether this build of llama.cpp multiplies in the tiles of AMX here."""
    return "AMX_INT8 = 1" in build_flags()


def library_path() -> str:
    """The file that holds the CPU kernels, for hashing and for `doctor`."""
    binding = load()
    folder = Path(binding.__file__).parent / "lib"
    kernels = sorted(folder.glob("*ggml-cpu*")) or sorted(folder.glob("*llama*"))
    return str(kernels[0].resolve()) if kernels else str(Path(binding.__file__))


@functools.cache
def library_hash() -> str:
    """16 hex digits that tell builds of the native library apart."""
    return hashlib.sha256(Path(library_path()).read_bytes()).hexdigest()[:16]


def build_flags() -> str:
    """What the native library uses of this CPU, as llama.cpp prints it: "AVX2 = 1 | F16C = 1"."""
    text: bytes = load().llama_print_system_info()
    return text.decode("utf-8", "replace").strip()


def _route_log(binding: Any) -> None:
    """Send llama.cpp's log to the logger `lorid_edge.llama`, line by line."""
    global _log_callback
    logger = logging.getLogger("lorid_edge.llama")
    last_level = logging.DEBUG
    fragments: list[str] = []

    def write(level: int, text: bytes, _data: object) -> None:
        nonlocal last_level
        if level != _CONTINUED_LINE:
            last_level = _LOG_LEVELS.get(level, logging.DEBUG)
        fragments.append(text.decode("utf-8", "replace"))
        if fragments[-1].endswith("\n"):
            line = "".join(fragments).rstrip()
            fragments.clear()
            if line:
                logger.log(last_level, "%s", line)

    _log_callback = binding.llama_log_callback(write)  # must outlive the library
    binding.llama_log_set(_log_callback, None)


class AbortFlag:
    """A flag that llama.cpp polls between graph nodes and that any thread may set.

    The callback is libc's strlen on a two-byte buffer: length 0 is false, 1 is true. It needs no
    GIL. A Python callback would take the GIL about a thousand times a decode.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        self._buffer = ctypes.create_string_buffer(2)
        self._address = ctypes.cast(library.strlen, ctypes.c_void_p).value

    def attach(self, context: Any) -> None:
        """Let decodes of `context` stop as soon as the flag is set (llama_decode returns 2)."""
        binding = load()
        callback = ctypes.cast(ctypes.c_void_p(self._address), binding.ggml_abort_callback)
        binding.llama_set_abort_callback(context, callback, ctypes.addressof(self._buffer))

    def set(self) -> None:
        """Ask the decode that runs now, or the next one, to stop."""
        self._buffer[0] = b"\x01"

    def clear(self) -> None:
        """Allow decoding again."""
        self._buffer[0] = b"\x00"

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._buffer[0] != b"\x00"
