"""One sample while it is being made: its tokens, text, end, and the calculator's results.

A sequence knows nothing of llama.cpp's context: it says which tokens it wants fed next
(`pending`), is given logits, and reports the text it gained.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from lorid_edge.calculator import forced_result
from lorid_edge.engine.model import AdapterKey, Model
from lorid_edge.engine.sampling import Grammar, LogitsRow, Sampler, SamplingSettings
from lorid_edge.errors import UsageError


class Finish(str, Enum):
    """Why a sample ended."""

    END = "end"
    """The model ended its turn."""
    STOP = "stop"
    """A stop string came, or the final answer was complete."""
    LENGTH = "length"
    """The token limit was reached, whatever a closing then brought."""
    CANCELLED = "cancelled"
    """Nobody needed it any more."""


@dataclass(frozen=True)
class Closing:
    """How a sample that reached its limit is led to its end.

    Attributes:
        text: written behind it instead of sampled.
        tokens: the most to generate then, those of the text included.
    """

    text: str
    tokens: int


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate.

    Attributes:
        prompt: token ids.
        hold_tokens: how many of the prompt's first tokens other requests share with this one;
            their KV is kept until the group is released. 0 to len(prompt) - 1.
        max_tokens: the most tokens to generate, forced ones included.
        closing: what comes after `max_tokens` tokens; None to end there.
        seed: of this request's own sampler.
        key: the adapter and scale to decode with.
        group: requests that share held prompts, e.g. those of one problem.
        stop: texts that end the sample; they are not part of its text.
        is_complete: told the text so far; True ends the sample.
        calculator: force the results of arithmetic instead of sampling them.
        grammar: GBNF that the text has to follow; "" for none. Not together with the calculator
            or a closing.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    seed: int
    hold_tokens: int = 0
    key: AdapterKey = field(default_factory=AdapterKey)
    group: int = 0
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    stop: tuple[str, ...] = ()
    is_complete: Callable[[str], bool] | None = None
    calculator: bool = False
    grammar: str = ""
    closing: Closing | None = None

    def __post_init__(self) -> None:
        if self.grammar and (self.calculator or self.closing):
            raise UsageError("A grammar cannot be followed while other text is forced.")

    @property
    def limit_tokens(self) -> int:
        """The most tokens to generate, closing included."""
        return self.max_tokens + (self.closing.tokens if self.closing else 0)


@dataclass(frozen=True)
class CalculatorCall:
    """A result that was forced: the text, and whether the model's likeliest text was another."""

    text: str
    differed: bool


class Sequence:
    """A sample in progress.

    Attributes:
        identifier: llama.cpp's sequence id.
        pending: tokens to feed in the next decode; the last one's logits decide what follows.
        position: tokens of this sequence that are in the KV cache.
        text: what was generated so far, stop strings left out.
        tokens: the ids generated so far, forced ones included.
        finish: why it ended, None while it runs.
        is_cut: whether it ended in the middle, at the last token it was allowed.
    """

    def __init__(self, identifier: int, request: GenerationRequest, model: Model) -> None:
        self.identifier = identifier
        self.request = request
        self.pending: list[int] = []
        self.position = 0
        self.text = ""
        self.tokens: list[int] = []
        self.forced_tokens = 0
        self.calculator_calls: list[CalculatorCall] = []
        self.finish: Finish | None = None
        self._model = model
        grammar = Grammar(model.vocabulary, request.grammar) if request.grammar else None
        self._sampler = Sampler(request.sampling, request.seed, grammar)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._emitted = 0
        self._forced: list[int] = []
        self._forced_text = ""
        self._likeliest: list[int] = []
        self._guard_from: int | None = None
        self.is_cut = False
        self._is_closing = False
        self._entropy_nats = 0.0
        self._draws = 0

    def close(self) -> None:
        """Free the sampler."""
        self._sampler.close()

    @property
    def is_reading(self) -> bool:
        """Whether it still has a prompt of its own to read, of more than a few tokens."""
        return not self.tokens and len(self.pending) > 1

    @property
    def mean_entropy_nats(self) -> float | None:
        """How unsure the model was of a token it was asked for, on average (forced ones are not).

        None before the first.
        """
        return self._entropy_nats / self._draws if self._draws else None

    def wanted_logits(self) -> int:
        """How many of the last pending tokens need logits.

        One to draw from; with forced tokens also those before it, which tell what the model
        would have written instead.
        """
        return 1 + len(self._forced)

    def note(self, rows: list[LogitsRow]) -> None:
        """Look at the first of the wanted logits, where pending tokens are fed in parts."""
        self._likeliest += [int(np.argmax(row)) for row in rows]

    def receive(self, rows: list[LogitsRow]) -> str:
        """Go on by one token (or, with the calculator, by a whole result).

        Args:
            rows: the logits of the last `wanted_logits()` fed tokens but those that were noted.

        Returns:
            The text that became final; "" while a character or a stop string is incomplete.
        """
        if self._forced:
            self._record_calculator_call(rows)
        banned = self._model.digit_tokens() if self._extends_forced_number() else None
        token = self._sampler.sample(rows[-1], banned)
        self._entropy_nats += self._sampler.entropy_nats
        self._draws += 1
        self.pending = [token]
        if self._model.is_end(token):
            self._end(Finish.END)
        else:
            self._append(token)
            if self.finish is None and self.request.calculator:
                self._force_result()
            if self.finish is None and len(self.tokens) >= self._limit_tokens:
                self._reach_limit()
        return self._take_final_text()

    @property
    def _limit_tokens(self) -> int:
        return self.request.limit_tokens if self._is_closing else self.request.max_tokens

    def _write(self, token: int) -> None:
        self.tokens.append(token)
        self.text += self._decoder.decode(self._model.piece(token))

    def _append(self, token: int) -> None:
        """Add a token's text, and end the sample where it says so."""
        before = len(self.text)
        self._write(token)
        self._end_at_stop(before)
        if self.finish is None and self.request.is_complete is not None:
            added = self.text[before:]
            if added and self.request.is_complete(self.text):
                self._end(Finish.STOP)

    def _end_at_stop(self, before: int) -> None:
        for stop in self.request.stop:
            at = self.text.find(stop, max(0, before - len(stop)))
            if at >= 0:
                self.text = self.text[:at]
                self._end(Finish.STOP)

    def _reach_limit(self) -> None:
        """End, or put the closing's text behind the last token first.

        Nothing ends there: its line break would make half an answer look whole.
        """
        closing = self.request.closing
        if closing is None or self._is_closing:
            self.is_cut = True
            self._end(Finish.LENGTH)
            return
        self._is_closing = True
        tokens = self._model.continuation_tokens(closing.text)
        for token in tokens:
            self._write(token)
        self.pending = [*self.pending, *tokens]
        self.forced_tokens += len(tokens)

    def _end(self, finish: Finish) -> None:
        self.finish = Finish.LENGTH if self._is_closing else finish
        self.text += self._decoder.decode(b"", final=True)

    def _force_result(self) -> None:
        """Put the result of arithmetic that the text just asked for behind the last token."""
        result = forced_result(self.text)
        if result is None:
            return
        forced = self._model.continuation_tokens(result)
        if len(self.tokens) + len(forced) >= self._limit_tokens:
            return
        for token in forced:
            self._append(token)
            if self.finish is not None:
                return
        self._forced, self._forced_text = forced, result
        self.pending = [*self.pending, *forced]
        self.forced_tokens += len(forced)
        self._guard_from = len(self.text) if result[-1].isdigit() else None

    def _record_calculator_call(self, rows: list[LogitsRow]) -> None:
        self.note(rows)
        likeliest, self._likeliest = self._likeliest, []
        differed = likeliest[:-1] != self._forced
        if self._guard_from is not None:  # it may have wanted to go on with more digits
            differed |= likeliest[-1] in self._model.digit_tokens()
        self.calculator_calls.append(CalculatorCall(self._forced_text, differed))
        self._forced = []

    def _extends_forced_number(self) -> bool:
        """Whether a digit now would change the number that was just computed."""
        if self._guard_from is None:
            return False
        if self.text[self._guard_from :] in ("", ".", ","):
            return True
        self._guard_from = None
        return False

    def _take_final_text(self) -> str:
        end = len(self.text)
        if self.finish is None:
            end -= max((_overlap(self.text, stop) for stop in self.request.stop), default=0)
        final = self.text[self._emitted : end]
        self._emitted = max(self._emitted, end)
        return final


def _overlap(text: str, stop: str) -> int:
    """Length of the longest proper prefix of `stop` that `text` ends with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
