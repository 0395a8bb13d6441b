"""What the training loop is given and what it tells: the seam between recipes and torch.

Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorid_edge.train.settings import LoraSettings, TrainingSettings


@dataclass(frozen=True)
class TokenExample:
    """One example as token ids: the loss is taken on `completion` alone, its end mark included."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]


@dataclass(frozen=True)
class AdapterJob:
    """One adapter to train.

    Attributes:
        base: a GGUF file, which is unpacked, or a Hugging Face folder.
        examples: in the order of the data; the loop shuffles them by the seed.
        folder: where checkpoints and the finished adapter (`adapter/`, a PEFT folder) go. A folder
            that holds checkpoints of the same job is gone on with.
        initial_adapter: a PEFT folder to start from, of the same shape; None for a fresh adapter.
    """

    base: Path
    examples: Sequence[TokenExample]
    lora: LoraSettings
    training: TrainingSettings
    folder: Path
    initial_adapter: Path | None = None


@dataclass(frozen=True)
class StepReport:
    """One optimizer step, as it goes into the loss curve (`loss.jsonl`).

    Attributes:
        loss: mean over the step's completion tokens, in nats.
        tokens: all tokens that passed so far, prompts included, padding left out.
        tokens_per_second: over the last steps, of this process.
    """

    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int
    tokens_per_second: float
    peak_memory_bytes: int


OnStep = Callable[[StepReport], None]
ShouldStop = Callable[[], bool]
"""Asked after each step: True checkpoints and raises CancelledError."""
