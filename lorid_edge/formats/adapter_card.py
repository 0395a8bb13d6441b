"""What an adapter says of itself: its role, its base, what it was trained on, its licence.

The trainer writes it beside a PEFT adapter as `lorid_adapter.json`; converters carry it into the
metadata of the GGUF file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorid_edge.errors import AdapterError
from lorid_edge.roles import Role

CARD_NAME = "lorid_adapter.json"
MAX_CARD_BYTES = 2**16
MAX_TEXT_CHARACTERS = 4096

_Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)]


class AdapterCard(BaseModel):
    """All fields may be unknown. `base_sha256` is the hash of the GGUF base, in 64 hex digits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role | None = None
    base_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    name: _Text | None = None
    training_data: _Text | None = None
    licence: _Text | None = None


def read_card(folder: Path) -> AdapterCard:
    """The card in a PEFT folder; an empty one where there is none.

    Raises AdapterError if it cannot be read or breaks a rule.
    """
    path = folder / CARD_NAME
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CARD_BYTES + 1)
    except FileNotFoundError:
        return AdapterCard()
    except OSError as error:
        raise AdapterError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_CARD_BYTES:
        raise AdapterError(f"{path}: longer than {MAX_CARD_BYTES} bytes")
    try:
        return AdapterCard.model_validate_json(content)
    except ValidationError as error:
        problems = "".join(
            f"\n  {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise AdapterError(f"{path}: not a valid card:{problems}") from None
