"""A loaded base model: its weights, vocabulary and adapters.

Files are checked in Python (`lorid_edge.formats`) before they come here: some bad GGUF files make
llama.cpp abort the process. Not responsible for contexts and decoding (`lane`).
"""

from __future__ import annotations

import contextlib
import ctypes
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lorid_edge.engine import memory, native
from lorid_edge.engine.occupancy import Occupancy
from lorid_edge.errors import AdapterError, EngineError
from lorid_edge.formats.adapter_padding import write_padded


@dataclass(frozen=True)
class AdapterKey:
    """What the keys and values of a cache depend on beside the model: the adapter and its scale.

    `sha256` is that of the adapter's file, None for the bare base. KV made under one key is wrong
    under every other: logits then move by more than the adapters differ, without any error.
    """

    sha256: str | None = None
    scale: float = 1.0


BARE = AdapterKey()


@dataclass
class _Adapter:
    handle: Any
    users: int = 0


class Model:
    """One base model in memory, mapped from its file, shared by every context made from it.

    Thread-safe: contexts of several threads may decode at once. llama.cpp keeps a list of a model's
    adapters that it reads while it decodes, so adapters come and go only in between (`occupancy`).
    """

    def __init__(
        self, path: Path, *, use_extra_buffers: bool = True, vocabulary_only: bool = False
    ) -> None:
        """Load the model.

        Args:
            path: a GGUF file that `check_base` has accepted.
            use_extra_buffers: repack weights for this CPU (faster; see `probe` for when not).
            vocabulary_only: without the weights, in a moment; it tokenizes and cannot decode.

        Raises:
            EngineError: llama.cpp refuses the file.
        """
        self._binding = binding = native.load()
        parameters = binding.llama_model_default_params()
        parameters.use_extra_bufts = use_extra_buffers
        parameters.vocab_only = vocabulary_only
        self.handle: Any = binding.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.handle:
            raise EngineError(
                f"llama.cpp cannot load {path}. The file's header is well-formed, so its "
                "architecture may be newer than this llama.cpp, or memory ran out. "
                "Run 'lorid-edge doctor'."
            )
        self.path = path
        self.vocabulary: Any = binding.llama_model_get_vocab(self.handle)
        self.vocabulary_size: int = binding.llama_vocab_n_tokens(self.vocabulary)
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self._digits: npt.NDArray[np.int32] | None = None
        self._adapters: dict[str, _Adapter] = {}
        self.occupancy = Occupancy()
        memory.release_file_pages(path)

    def chat_template(self) -> str | None:
        """The base's own chat template (Jinja), or None where the file has none."""
        raw: bytes | None = self._binding.llama_model_chat_template(self.handle, None)
        return raw.decode("utf-8", "replace") if raw else None

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`.

        Args:
            special: read control tokens such as `<|im_end|>` as such. False for anything that a
                user or a model wrote, so that a question cannot end its own turn.
        """
        data = text.encode("utf-8", "replace")
        capacity = len(data) + 8  # a token is at least a byte; a few for what a tokenizer adds
        buffer = (self._binding.llama_token * capacity)()
        count = self._binding.llama_tokenize(
            self.vocabulary, data, len(data), buffer, capacity, False, special
        )
        if count < 0:
            raise EngineError(
                f"Tokenizing {len(data)} bytes of text failed (needs {-count} slots)."
            )
        return list(buffer[:count])

    def beginning_tokens(self) -> list[int]:
        """The token that this vocabulary wants in front of every prompt, if it wants one."""
        if not self._binding.llama_vocab_get_add_bos(self.vocabulary):
            return []
        return [self._binding.llama_vocab_bos(self.vocabulary)]

    def special_text(self, token: int) -> str:
        """The text of a control token, e.g. for a template's `bos_token`; "" for none (-1)."""
        if token < 0:
            return ""
        raw: bytes = self._binding.llama_vocab_get_text(self.vocabulary, token)
        return raw.decode("utf-8", "replace")

    def beginning_and_end_text(self) -> tuple[str, str]:
        """The texts of the begin- and end-of-sequence tokens, for chat templates."""
        begin = self._binding.llama_vocab_bos(self.vocabulary)
        end = self._binding.llama_vocab_eos(self.vocabulary)
        return self.special_text(begin), self.special_text(end)

    def end_token(self) -> int:
        """The token that ends a text, as this vocabulary has it; -1 for none."""
        return int(self._binding.llama_vocab_eos(self.vocabulary))

    def piece(self, token: int) -> bytes:
        """The bytes that `token` adds to a text; control tokens add none."""
        piece = self._pieces.get(token)
        if piece is None:
            buffer = ctypes.create_string_buffer(128)
            size = self._binding.llama_token_to_piece(
                self.vocabulary, token, buffer, len(buffer), 0, False
            )
            if size < 0:
                buffer = ctypes.create_string_buffer(-size)
                size = self._binding.llama_token_to_piece(
                    self.vocabulary, token, buffer, len(buffer), 0, False
                )
            piece = self._pieces[token] = buffer.raw[: max(0, size)]
        return piece

    def is_end(self, token: int) -> bool:
        """Whether `token` ends a generation (end of turn, of text, ...)."""
        known = self._ends.get(token)
        if known is None:
            known = bool(self._binding.llama_vocab_is_eog(self.vocabulary, token))
            self._ends[token] = known
        return known

    def continuation_tokens(self, text: str) -> list[int]:
        """Tokens of `text` as it stands in the middle of a line, after an equals sign.

        Some tokenizers put a space in front of a text of its own; behind an anchor they do not.
        """
        anchor = self.tokenize("=", special=False)
        tokens = self.tokenize("=" + text, special=False)
        if tokens[: len(anchor)] == anchor:
            return tokens[len(anchor) :]
        return self.tokenize(text, special=False)

    def digit_tokens(self) -> npt.NDArray[np.int32]:
        """Ids of the tokens that are one to three digits: each would extend a number before it."""
        if self._digits is None:
            numerals = (f"{n:0{width}}" for width in (1, 2, 3) for n in range(10**width))
            last = ((numeral, self.tokenize(numeral, special=False)[-1]) for numeral in numerals)
            ids = {token for numeral, token in last if self.piece(token) == numeral.encode()}
            self._digits = np.array(sorted(ids), dtype=np.int32)
        return self._digits

    def load_adapter(self, path: Path, sha256: str) -> None:
        """Load a LoRA adapter that `check_adapter` has accepted; in memory once for each file hash.

        To be given back with `release_adapter`.

        Raises:
            AdapterError: llama.cpp refuses the file.
        """
        with self.occupancy.change():
            adapter = self._adapters.get(sha256)
            if adapter is None:
                handle = self._read_adapter(path)
                if not handle:
                    raise AdapterError(
                        f"llama.cpp cannot load the adapter {path}; it was made for another base, "
                        "or memory ran out. Run 'lorid-edge packs verify'."
                    )
                adapter = self._adapters[sha256] = _Adapter(handle)
            adapter.users += 1

    def _read_adapter(self, path: Path) -> Any:
        """llama.cpp's adapter of a file, with its rank filled up where that is faster."""
        load = self._binding.llama_adapter_lora_init
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # no room for the file: slower, and right
                temporary = tempfile.TemporaryDirectory(prefix="lorid-", ignore_cleanup_errors=True)
                padded = Path(stack.enter_context(temporary)) / "padded.gguf"
                if write_padded(path, padded):
                    path = padded
            return load(self.handle, str(path).encode())

    def release_adapter(self, sha256: str) -> None:
        """End one use of an adapter; the last frees it. Contexts that used it are closed before."""
        with self.occupancy.change():
            adapter = self._adapters[sha256]
            adapter.users -= 1
            if adapter.users == 0:
                del self._adapters[sha256]
                self._binding.llama_adapter_lora_free(adapter.handle)

    def apply_adapter(self, context: Any, key: AdapterKey) -> None:
        """Make `context` decode with the adapter of `key` (the bare base where it has none).

        The caller clears the context's KV: what was made under another key is wrong now.
        """
        binding = self._binding
        if key.sha256 is None:
            status = binding.llama_set_adapters_lora(context, None, 0, None)
        else:
            # A real array of this type: llama.cpp crashes on a cast pointer.
            adapters = (binding.llama_adapter_lora_p_ctypes * 1)(self._adapters[key.sha256].handle)
            scales = (ctypes.c_float * 1)(key.scale)
            status = binding.llama_set_adapters_lora(context, adapters, 1, scales)
        if status != 0:
            raise EngineError(f"llama.cpp refused to switch adapters (status {status}).")

    def close(self) -> None:
        """Free the adapters and the weights. Every context has to be closed before."""
        with self.occupancy.change():
            if not self.handle:
                return
            for adapter in self._adapters.values():
                self._binding.llama_adapter_lora_free(adapter.handle)
            self._adapters.clear()
            self._binding.llama_model_free(self.handle)
            self.handle = None
