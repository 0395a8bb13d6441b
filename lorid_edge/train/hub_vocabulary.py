"""The tokenizer of a Hugging Face folder, with the methods that `engine.Model` has for a GGUF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorid_edge.errors import ModelFileError

_ANCHOR = "="


class HubVocabulary:
    """Tokenizes as transformers does. Code that comes with a model is never run."""

    def __init__(self, path: Path) -> None:
        """Load the tokenizer of a folder.

        Raises:
            ModelFileError: it has none, or none that transformers' fast tokenizers can read.
        """
        from transformers import AutoTokenizer

        self.path = path
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(path), local_files_only=True, trust_remote_code=False
            )
            self._backend: Any = tokenizer.backend_tokenizer
        except Exception as error:  # a damaged file shows as almost any error
            reason = str(error).partition("\n")[0]
            raise ModelFileError(
                f"{path}: its tokenizer cannot be loaded: {reason} Expected a tokenizer.json."
            ) from error
        self._tokenizer: Any = tokenizer

    def chat_template(self) -> str | None:
        """The folder's chat template (Jinja), or None where it has none."""
        template = self._tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        return template if isinstance(template, str) else None

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids of `text`; only with `special` are control tokens in it read as such."""
        self._backend.encode_special_tokens = not special
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def beginning_tokens(self) -> list[int]:
        """The token that this tokenizer puts in front of every text, if it does."""
        begin = self._tokenizer.bos_token_id
        return [token for token in self._backend.encode("").ids if token == begin][:1]

    def special_text(self, token: int) -> str:
        """The text of a control token; "" for none (-1)."""
        return "" if token < 0 else str(self._tokenizer.convert_ids_to_tokens(token))

    def beginning_and_end_text(self) -> tuple[str, str]:
        """The texts of the begin- and end-of-sequence tokens, for chat templates."""
        return self._tokenizer.bos_token or "", self._tokenizer.eos_token or ""

    def end_token(self) -> int:
        """The token that ends a text; -1 for none."""
        token = self._tokenizer.eos_token_id
        return -1 if token is None else int(token)

    def piece(self, token: int) -> bytes:
        """What `token` adds to a text, in UTF-8; control tokens add nothing."""
        before = self.tokenize(_ANCHOR, special=False)
        text = self._backend.decode([*before, token], skip_special_tokens=True)
        return str(text)[len(self._backend.decode(before)) :].encode()

    def continuation_tokens(self, text: str) -> list[int]:
        """Tokens of `text` as it stands in the middle of a line, after an equals sign."""
        before = self.tokenize(_ANCHOR, special=False)
        tokens = self.tokenize(_ANCHOR + text, special=False)
        if tokens[: len(before)] == before:
            return tokens[len(before) :]
        return self.tokenize(text, special=False)
