"""Any base that transformers and PEFT know, computed by them: general, slower than `Decoder`."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from lorid_edge.errors import TrainingError
from lorid_edge.train.descent.batches import Pass
from lorid_edge.train.descent.loss import completion_loss
from lorid_edge.train.settings import LoraSettings

_PREFIX = "base_model.model."


class PlainModel(torch.nn.Module):
    """A PEFT model that takes passes and gives their loss. Adapters are in float32."""

    def __init__(self, model: Any, lora: LoraSettings, gradient_checkpointing: bool) -> None:
        """Put adapters into `model`. Raises TrainingError if PEFT cannot, or it lacks a target."""
        super().__init__()
        import peft

        if gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.enable_input_require_grads()
        targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
        config = peft.LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]
            lora_dropout=lora.dropout,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
        try:
            with warnings.catch_warnings():  # of names that PEFT uses and transformers will drop
                warnings.simplefilter("ignore", FutureWarning)
                self._model: Any = peft.get_peft_model(model, config)
        except ValueError as error:
            raise TrainingError(f"PEFT cannot adapt this base: {error}") from error
        adapted = [f".{name}" for name, _, _ in self.pairs()]
        for target in [] if isinstance(targets, str) else targets:  # PEFT wants one of them alone
            if not any(name.endswith(f".{target}") for name in adapted):
                raise TrainingError(f"lora.targets: this base has no linear layer {target}.")
        self._model.train()
        self._dtype = model.dtype

    def pairs(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """Path, A and B of each adapted layer: float32 views that may be written to."""
        for name, module in self._model.named_modules():
            if hasattr(module, "lora_A") and "default" in module.lora_A:
                a, b = (side["default"].weight.detach() for side in (module.lora_A, module.lora_B))
                yield name.removeprefix(_PREFIX), a, b

    def refresh(self) -> None:
        """Nothing to do: PEFT reads the adapters themselves."""

    def forward(self, batch: Pass) -> torch.Tensor:
        """The sum of the losses of the trained rows, in nats."""
        model = self._model.get_base_model()
        device = model.device
        prefix = batch.tokens[: batch.prefix_tokens]
        texts = [
            torch.cat((prefix, batch.tokens[part.start : part.stop])) for part in batch.segments
        ]
        # Right padding needs no mask: under causal attention nothing looks ahead at it.
        tokens = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True).to(device)
        narrow = device.type == "cuda" and self._dtype == torch.bfloat16
        with torch.autocast("cuda", torch.bfloat16) if narrow else contextlib.nullcontext():
            states = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        trained = torch.cat(
            [
                states[index, part.first_row - part.start + batch.prefix_tokens : len(text)]
                for index, (part, text) in enumerate(zip(batch.segments, texts, strict=True))
            ]
        )
        weight = model.get_output_embeddings().weight
        return completion_loss(trained.to(weight.dtype), weight, batch.targets.to(device))
