"""One example of a role as text, so that one sees what is trained on and what is not."""

from __future__ import annotations

from dataclasses import dataclass

from lorid_edge.train.examples import ExampleVocabulary
from lorid_edge.train.job import TokenExample


@dataclass(frozen=True)
class ShownExample:
    """An example in three parts: what is read, what is learnt, and the token that ends it."""

    prompt: str
    completion: str
    end: str

    def marked(self) -> str:
        """Without colour: what is trained on stands between marks."""
        return f"{self.prompt}[[trained: {self.completion}{self.end} ]]"


def show(example: TokenExample, vocabulary: ExampleVocabulary) -> ShownExample:
    """Spell an example's tokens out, control tokens by their names."""
    return ShownExample(
        _text(example.prompt, vocabulary),
        _text(example.completion[:-1], vocabulary),
        _text(example.completion[-1:], vocabulary),
    )


def _text(tokens: tuple[int, ...], vocabulary: ExampleVocabulary) -> str:
    content = b"".join(
        vocabulary.piece(token) or vocabulary.special_text(token).encode() for token in tokens
    )
    return content.decode("utf-8", "replace")
