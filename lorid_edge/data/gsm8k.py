"""GSM8K's two published files: where they come from, and how they are split.

Cobbe et al., "Training Verifiers to Solve Math Word Problems", 2021 (MIT licence).
"""

from __future__ import annotations

from dataclasses import dataclass

from lorid_edge.packs.manifest import Source, UrlSource

NAME = "gsm8k"
DEVELOPMENT_RECORDS = 500
"""The last lines of the training file; training uses the rest."""

_ADDRESS = (
    "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data"
)


@dataclass(frozen=True)
class PublishedFile:
    """One of the files, by its content."""

    file: str
    bytes: int
    sha256: str
    sources: tuple[Source, ...]


TRAIN_FILE = PublishedFile(
    file="gsm8k-train.jsonl",
    bytes=4_166_206,
    sha256="17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    sources=(UrlSource(kind="url", url=f"{_ADDRESS}/train.jsonl"),),
)
TEST_FILE = PublishedFile(
    file="gsm8k-test.jsonl",
    bytes=749_738,
    sha256="3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    sources=(UrlSource(kind="url", url=f"{_ADDRESS}/test.jsonl"),),
)
