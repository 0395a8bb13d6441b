"""The wall between training and testing: questions that no training may see.

The package ships a 64-bit hash of every question of GSM8K's development and test splits, so that
one of them is found in whatever file it comes, with other spacing, case or punctuation too. What
it cannot find is a question in other words.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterable
from importlib import resources

from lorid_edge.data.record import Record
from lorid_edge.errors import DataError

HASHES_NAME = "held_out_hashes.txt"
_MAX_NAMED = 3


def question_hash(question: str) -> str:
    """16 hex digits of a question's letters and digits, whatever stands between them or does not.

    "10 km", "$1,000" and "Natalia's" are as "10km", "$1000" and "Natalias".
    """
    text = unicodedata.normalize("NFKC", question).casefold()
    letters = "".join(re.findall(r"[^\W_]+", text))
    return hashlib.sha256(letters.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@functools.cache
def held_out_hashes() -> frozenset[str]:
    """The hashes of GSM8K's 500 development and 1,319 test questions."""
    text = (resources.files("lorid_edge.data") / HASHES_NAME).read_text("ascii")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def require_trainable(
    records: Iterable[Record], held_out: frozenset[str] | None = None, source: str = "the data"
) -> None:
    """Raise DataError if a held-out question is among records meant for training or distilling.

    Args:
        records: what is to be trained on, whatever file it came from.
        held_out: hashes as `question_hash` makes them; None for those that are shipped.
        source: where the records come from, for the message.
    """
    forbidden = held_out_hashes() if held_out is None else held_out
    found = [record.id for record in records if question_hash(record.question) in forbidden]
    if not found:
        return
    more = ", ..." if len(found) > _MAX_NAMED else ""
    raise DataError(
        f"{source}: {len(found)} of the questions belong to GSM8K's development or test split "
        f"({', '.join(found[:_MAX_NAMED])}{more}); training on them would spoil every measured "
        "accuracy. Remove them, or load the data set gsm8k, whose training split leaves them out."
    )
