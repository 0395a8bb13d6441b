"""Writes lorid_edge/data/held_out_hashes.txt: what training may never see.

    python scripts/write_held_out_hashes.py [GSM8K]

GSM8K is the name of the data set or a folder with its two files. Needs them unchanged.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lorid_edge.data import held_out
from lorid_edge.data.datasets import Split, load_dataset

TARGET = Path(held_out.__file__).parent / held_out.HASHES_NAME


def content(source: str) -> str:
    """The file's text, one hash a line; sorted, so that it says nothing of the order."""
    lines = ["# 64 bits of the SHA-256 of held-out questions; see held_out.py"]
    for split in (Split.DEVELOPMENT, Split.TEST):
        records = load_dataset(source, split).records
        lines.append(f"# GSM8K, {split.value}: {len(records)}")
        lines += sorted(held_out.question_hash(record.question) for record in records)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(content(sys.argv[1] if len(sys.argv) > 1 else "gsm8k"), "ascii")
