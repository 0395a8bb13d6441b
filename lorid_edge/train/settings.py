"""How an adapter is trained: the numbers of a recipe that reach the training loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Fraction = Annotated[float, Field(ge=0, lt=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


FREE_TRAINING_SETTINGS = frozenset(
    ("device", "dtype", "checkpoint_seconds", "micro_batch_tokens", "gradient_checkpointing")
)
"""With others of these a run is gone on with: they say how it is computed, not what is learnt.

The last bits may differ then, and with dropout what is left out. Where the type of the base comes
out as another one, the checkpoint refuses it.
"""


class LoraSettings(_Settings):
    """The shape of the adapter. `targets` is `all-linear` or names of projections (`q_proj`)."""

    rank: Annotated[int, Field(ge=1, le=4096)] = 16
    alpha: Annotated[float, Field(gt=0, le=65536)] = 32.0
    dropout: _Fraction = 0.0
    targets: (
        Literal["all-linear"] | Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    ) = "all-linear"


class TrainingSettings(_Settings):
    """The optimisation.

    Attributes:
        epochs: passes over the examples.
        batch_examples: examples of one optimizer step, over all devices.
        micro_batch_tokens: most tokens (padding included) of one forward pass on one device; the
            step's examples are split into as many passes as that takes (gradient accumulation).
        max_tokens: longer examples are left out and counted.
        learning_rate: the peak, reached after `warmup_fraction` of the steps; then a cosine to 0.
        max_steps: stop after so many optimizer steps; None for all of them.
        checkpoint_seconds: time between two checkpoints.
    """

    epochs: Annotated[float, Field(gt=0, le=1000)] = 1.0
    batch_examples: Annotated[int, Field(ge=1, le=65536)] = 16
    micro_batch_tokens: Annotated[int, Field(ge=16, le=2**20)] = 4096
    max_tokens: Annotated[int, Field(ge=16, le=2**17)] = 512
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-4
    warmup_fraction: _Fraction = 0.03
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    gradient_checkpointing: bool = False
    max_steps: Annotated[int, Field(ge=1)] | None = None
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 300.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`cuda` demands a GPU; `auto` takes one where there is one."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of the frozen base and the activations; `auto` is what is faster on the device."""
