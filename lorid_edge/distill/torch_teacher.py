"""A teacher in torch: a Hugging Face folder or an unpacked GGUF file, on a GPU or a CPU.

Needs the extra `train`. On CPUs it is for those that multiply bfloat16 matrices (AMX).
"""

from __future__ import annotations

import random
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorid_edge.distill.knowledge import KNOWLEDGE_MAX_TOKENS, SYSTEM, TEMPLATE
from lorid_edge.distill.teacher import TOO_LONG, Ask, Reply
from lorid_edge.errors import CancelledError, LoridError, ModelFileError, TrainingError
from lorid_edge.loop.prompts import PromptTemplate

if TYPE_CHECKING:
    from lorid_edge.distill.torch_decoding import Row

MAX_ROW_TOKENS = 1536
"""Most tokens of one problem with its solution and the reply."""

PASS_PROMPT_TOKENS = 384
"""No further prompt begins in a forward pass that reads so many tokens of prompts already."""


class TorchTeacher:
    """See `Teacher`. Problems take the places of those that are done one by one."""

    def __init__(
        self,
        path: Path,
        *,
        batch: int = 64,
        max_tokens: int = KNOWLEDGE_MAX_TOKENS,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        """Load the model, in bfloat16 where the device has instructions for it, else in float32.

        Args:
            path: a GGUF file, or a folder with config.json, safetensors and the tokenizer;
                nothing is fetched.
            batch: problems worked on at once.
            device: `auto`, `cpu` or `cuda`.
            threads: of torch in the whole process, on a CPU; None for torch's own choice.

        Raises:
            LoridError: torch or transformers is missing, or no GPU is there where one is demanded.
            ModelFileError: the model cannot be loaded.
        """
        try:
            import torch
            import transformers  # noqa: F401
        except ModuleNotFoundError as error:
            raise LoridError(
                f"A teacher in torch needs {error.name}; run: pip install 'lorid-edge[train]'"
            ) from error
        has_gpu = torch.cuda.is_available()
        if device == "cuda" and not has_gpu:
            raise LoridError("No GPU is there for torch; leave the device out, or use a pack.")
        if threads is not None:
            torch.set_num_threads(threads)
        self.name = path.resolve().name
        self.capacity = batch
        self._max_tokens = max_tokens
        self._vocabulary: Any = _vocabulary(path)
        self._template = PromptTemplate(self._vocabulary, SYSTEM, TEMPLATE)
        self._decoder: Any = self._make_decoder(
            path, torch.device("cuda" if has_gpu and device != "cpu" else "cpu")
        )
        self._waiting: deque[Row] = deque()
        self._refused: list[Reply] = []
        self._stopped = threading.Event()

    def submit(self, ask: Ask) -> None:
        """Begin with a request; one that is too long is refused."""
        from lorid_edge.distill.torch_decoding import Row

        prompt = self._template.build(ask.question, ask.rationale).tokens
        own = prompt[len(self._template.fixed) :]
        if len(own) + self._max_tokens > MAX_ROW_TOKENS:
            self._refused.append(Reply(ask.key, "", 0, 0, refusal=TOO_LONG))
            return
        self._waiting.append(
            Row(ask.key, own, ask.temperature, self._max_tokens, random.Random(ask.seed))
        )

    def next_replies(self) -> list[Reply]:
        """Decode until a reply is complete.

        Raises:
            LoridError: the GPU has too little memory.
            CancelledError: `abort` was called.
        """
        import torch

        replies, self._refused = self._refused, []
        while not replies and (self._waiting or self._decoder.rows):
            if self._stopped.is_set():
                raise CancelledError("Cancelled.")
            try:
                ended = self._decoder.step(self._beginning())
            except torch.OutOfMemoryError as error:
                raise LoridError(
                    f"The GPU has too little memory for {self.capacity} problems at once; use a "
                    "smaller --concurrency. What was made before is kept."
                ) from error
            replies = [self._reply(row) for row in ended]
        return replies

    def abort(self) -> None:
        """From any thread: stop after the next token."""
        self._stopped.set()

    def close(self) -> None:
        """Free the model."""
        self._stopped.set()
        self._decoder = None

    def _beginning(self) -> list[Row]:
        """The rows that the next pass begins with."""
        rows: list[Row] = []
        tokens = 0
        while self._waiting and len(rows) < self._decoder.free_places:
            if tokens + len(self._waiting[0].prompt) > PASS_PROMPT_TOKENS and rows:
                break
            rows.append(self._waiting.popleft())
            tokens += len(rows[-1].prompt)
        return rows

    def _reply(self, row: Row) -> Reply:
        pieces = b"".join(self._vocabulary.piece(token) for token in row.tokens)
        text = pieces.decode("utf-8", "replace")
        return Reply(row.key, text, len(row.prompt), len(row.tokens) + (not row.is_cut))

    def _make_decoder(self, path: Path, device: Any) -> Any:
        from lorid_edge.distill.torch_decoding import RowDecoder
        from lorid_edge.train.descent.base_model import load_base, native_dtype

        try:
            model = load_base(path, native_dtype(device), device)
        except TrainingError as error:
            raise _not_loadable(path, error) from error
        return RowDecoder(
            model,
            self._template.fixed,
            frozenset(self._end_tokens(model)),
            places=self.capacity,
        )

    def _end_tokens(self, model: Any) -> set[int]:
        configured = getattr(model.generation_config, "eos_token_id", None)
        ends = configured if isinstance(configured, list) else [configured]
        own = {self._template.end_of_turn(), self._vocabulary.end_token()}
        return {int(token) for token in (*ends, *own) if token is not None and token >= 0}


def _vocabulary(path: Path) -> Any:
    if path.is_file():
        from lorid_edge.engine.model import Model

        return Model(path, vocabulary_only=True)
    from lorid_edge.train.hub_vocabulary import HubVocabulary

    try:
        return HubVocabulary(path)
    except ModelFileError as error:
        raise _not_loadable(path, error) from error


def _not_loadable(path: Path, error: Exception) -> ModelFileError:
    reason = str(error).strip().partition("\n")[0]
    return ModelFileError(
        f"{path} cannot be loaded as a teacher: {reason} Expected a GGUF file, or a Hugging Face "
        "folder with config.json, safetensors and its tokenizer."
    )
