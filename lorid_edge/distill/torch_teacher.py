"""A teacher in torch: a Hugging Face folder, on a GPU where there is one.

Requests wait until as many are there as one batch takes, and are generated together. Needs the
extra `train`.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

from lorid_edge.distill.chat_requests import chat_messages
from lorid_edge.distill.knowledge import KNOWLEDGE_MAX_TOKENS
from lorid_edge.distill.teacher import Ask, Reply
from lorid_edge.errors import CancelledError, LoridError, ModelFileError

MAX_PROMPT_TOKENS = 4096


class TorchTeacher:
    """See `Teacher`. A batch has one seed, made of those of its requests, and one temperature."""

    def __init__(
        self,
        folder: Path,
        *,
        batch: int = 32,
        max_tokens: int = KNOWLEDGE_MAX_TOKENS,
        device: str = "auto",
    ) -> None:
        """Load the model: in bfloat16 on a GPU, in float32 on the CPU.

        Args:
            folder: with config.json, safetensors and the tokenizer; nothing is fetched.
            batch: requests generated together.
            device: `auto`, `cpu` or `cuda`.

        Raises:
            LoridError: torch or transformers is missing, or no GPU is there where one is demanded.
            ModelFileError: the folder cannot be loaded.
        """
        try:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ModuleNotFoundError as error:
            raise LoridError(
                f"A teacher in torch needs {error.name}; run: pip install 'lorid-edge[train]'"
            ) from error
        has_gpu = torch.cuda.is_available()
        if device == "cuda" and not has_gpu:
            raise LoridError("No GPU is there for torch; leave the device out, or use a pack.")
        self._device = "cuda" if has_gpu and device != "cpu" else "cpu"
        dtype = torch.bfloat16 if self._device == "cuda" else torch.float32
        self.name = folder.resolve().name
        self.capacity = batch
        self._max_tokens = max_tokens
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, padding_side="left"
            )
            self._model: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ModelFileError(
                f"{folder} cannot be loaded as a teacher: {reason}. Expected a Hugging Face folder "
                "with config.json, safetensors and its tokenizer."
            ) from error
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model.to(self._device).eval()
        self._waiting: list[Ask] = []
        self._stopped = threading.Event()

    def submit(self, ask: Ask) -> None:
        """Begin with a request."""
        self._waiting.append(ask)

    def next_replies(self) -> list[Reply]:
        """Generate one batch: all that waits, at most `capacity`.

        Raises:
            LoridError: the GPU has too little memory.
            CancelledError: `abort` was called.
        """
        asks, self._waiting = self._waiting[: self.capacity], self._waiting[self.capacity :]
        replies = [Reply(ask.key, "", 0, 0) for ask in asks if self._is_overlong(ask)]
        overlong = {reply.key for reply in replies}
        asks = [ask for ask in asks if ask.key not in overlong]
        if not asks:
            return replies
        return replies + self._generate(asks)

    def abort(self) -> None:
        """From any thread: stop after the next token."""
        self._stopped.set()

    def close(self) -> None:
        """Free the model."""
        self._stopped.set()
        self._model = None

    def _generate(self, asks: list[Ask]) -> list[Reply]:
        import torch
        from transformers import StoppingCriteriaList

        prompts = [self._prompt(ask) for ask in asks]
        tokens = self._tokenizer(
            prompts, return_tensors="pt", padding=True, add_special_tokens=False
        ).to(self._device)
        torch.manual_seed(_batch_seed(asks))
        try:
            with torch.inference_mode():
                generated = self._model.generate(
                    **tokens,
                    do_sample=True,
                    temperature=max(ask.temperature for ask in asks),
                    top_p=0.95,
                    top_k=0,
                    max_new_tokens=self._max_tokens,
                    pad_token_id=self._tokenizer.pad_token_id,
                    stopping_criteria=StoppingCriteriaList([self._stop]),
                )
        except torch.OutOfMemoryError as error:
            raise LoridError(
                f"The GPU has too little memory for {len(asks)} problems at once; use a smaller "
                "--concurrency. What was made before is kept."
            ) from error
        if self._stopped.is_set():
            raise CancelledError("Cancelled.")
        width = tokens["input_ids"].shape[1]
        return [
            self._reply(ask, int(mask.sum()), row[width:].tolist())
            for ask, mask, row in zip(asks, tokens["attention_mask"], generated, strict=True)
        ]

    def _stop(self, tokens: Any, _scores: Any, **_: Any) -> Any:
        import torch

        return torch.full((tokens.shape[0],), self._stopped.is_set(), device=tokens.device)

    def _reply(self, ask: Ask, prompt_tokens: int, generated: list[int]) -> Reply:
        ends = self._end_tokens()
        end = next((n for n, token in enumerate(generated) if token in ends), len(generated))
        text = self._tokenizer.decode(generated[:end], skip_special_tokens=True)
        return Reply(ask.key, text, prompt_tokens, min(end + 1, len(generated)))

    def _end_tokens(self) -> set[int]:
        configured = self._model.generation_config.eos_token_id
        ends = configured if isinstance(configured, list) else [configured]
        return {int(token) for token in (*ends, self._tokenizer.eos_token_id) if token is not None}

    def _prompt(self, ask: Ask) -> str:
        """The talk as text, by the model's own chat template where it has one."""
        messages = chat_messages(ask, wants_object=False)
        if getattr(self._tokenizer, "chat_template", None):
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            return str(text)
        return "\n\n".join(message["content"] for message in messages) + "\n"

    def _is_overlong(self, ask: Ask) -> bool:
        limit = getattr(self._model.config, "max_position_embeddings", None) or MAX_PROMPT_TOKENS
        room = min(int(limit), MAX_PROMPT_TOKENS) - self._max_tokens
        return len(self._tokenizer(self._prompt(ask))["input_ids"]) > room


def _batch_seed(asks: list[Ask]) -> int:
    text = ",".join(str(ask.seed) for ask in asks)
    return int.from_bytes(hashlib.blake2s(text.encode()).digest()[:4], "little")
