"""transformers and PEFT on the CPU: one model, `set_adapter` for each role, batches of a role.

The base is the pack's own, unpacked. `generate` is what it is used through; the keys and values of
what the prompts of a batch share are evaluated once and given to it.
"""

from __future__ import annotations

import codecs
import copy
from collections.abc import Sequence
from typing import Any

import torch
from adapted_pack import PEFT_FOLDER
from llama_server_peer import shared_tokens
from peer_loop import GrowingText, Heard, RolePlay, SampleRequest, Written
from peft import PeftModel
from side_settings import SideSettings
from transformers import DynamicCache, StoppingCriteria, StoppingCriteriaList

from lorid_edge.engine.sequence import Finish
from lorid_edge.engine.threads import choose_threads
from lorid_edge.packs.store import Pack
from lorid_edge.roles import Role
from lorid_edge.train.descent.base_model import load_base


class PeftGenerator:
    """A `Generator`, to be used in one thread."""

    def __init__(self, pack: Pack, play: RolePlay, settings: SideSettings) -> None:
        self._threads = choose_threads(settings.threads).threads
        torch.set_num_threads(self._threads)
        base = load_base(pack.base_path, getattr(torch, settings.dtype), torch.device("cpu"))
        self._dtype = settings.dtype
        self._model: Any = None
        for role in Role:
            folder = str(pack.folder / PEFT_FOLDER / role.value)
            options = {"adapter_name": role.value, "autocast_adapter_dtype": False}
            if self._model is None:
                self._model = PeftModel.from_pretrained(base, folder, **options)
            else:
                self._model.load_adapter(folder, **options)
        self._model.to(getattr(torch, settings.dtype)).eval()
        self._batches = {role: BatchGenerator(self._model, play, role) for role in Role}
        for role, batch in self._batches.items():  # before the clock starts, as for ours
            self._model.set_adapter(role.value)
            batch.evaluate(play.prompts.fixed(role))

    def generate(self, role: Role, requests: Sequence[SampleRequest], heard: Heard) -> None:
        """All requests in one batch; it is left as soon as no more are needed."""
        self._model.set_adapter(role.value)
        self._batches[role].generate(requests, heard)

    def conditions(self) -> dict[str, Any]:
        return {"dtype": self._dtype, "threads": self._threads}

    def close(self) -> None:
        self._model = None
        self._batches.clear()


class BatchGenerator:
    """Batches of one role on a model that has the role's adapter, in force or merged."""

    def __init__(self, model: Any, play: RolePlay, role: Role) -> None:
        self._model = model
        self._play = play
        self._role = role
        self._evaluated: tuple[int, ...] = ()
        self._cache = DynamicCache()
        vocabulary = play.vocabulary
        self._ends = [t for t in range(vocabulary.vocabulary_size) if vocabulary.is_end(t)]

    def evaluate(self, tokens: tuple[int, ...]) -> DynamicCache:
        """A copy of the keys and values of `tokens`; the original is kept for the next prompt."""
        kept = shared_tokens([self._evaluated, tokens])
        if kept < len(self._evaluated):
            self._cache.crop(kept - len(self._evaluated))
        if kept < len(tokens):
            new = torch.tensor([tokens[kept:]])
            with torch.inference_mode():
                self._model(input_ids=new, past_key_values=self._cache, logits_to_keep=1)
        self._evaluated = tokens
        return copy.deepcopy(self._cache)

    def generate(self, requests: Sequence[SampleRequest], heard: Heard) -> None:
        """One call of transformers' `generate`. A row that ended is computed on until all have."""
        prompts = [request.prompt for request in requests]
        shared = min(shared_tokens(prompts), min(map(len, prompts)) - 1)
        cache = self.evaluate(prompts[0][:shared])
        cache.batch_repeat_interleave(len(requests))
        longest = max(map(len, prompts))
        rows, masks = [], []
        for prompt in prompts:  # filled up between what is shared and what is not
            gap = longest - len(prompt)
            rows.append([*prompt[:shared], *[self._ends[0]] * gap, *prompt[shared:]])
            masks.append([1] * shared + [0] * gap + [1] * (len(prompt) - shared))
        watch = _Watch([self._reader(request) for request in requests], heard)
        sampling = self._play.manifest.sampling
        is_greedy = sampling.temperature == 0
        torch.manual_seed(requests[0].seed)
        drawing = {
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
        }
        self._model.generate(
            input_ids=torch.tensor(rows),
            attention_mask=torch.tensor(masks),
            past_key_values=cache,
            do_sample=not is_greedy,
            **({} if is_greedy else drawing),
            max_new_tokens=max(request.max_tokens for request in requests),
            eos_token_id=self._ends,
            pad_token_id=self._ends[0],
            stopping_criteria=StoppingCriteriaList([watch]),
        )

    def _reader(self, request: SampleRequest) -> _Reader:
        return _Reader(self._play, self._play.growing_text(self._role), request.max_tokens)


class _Reader:
    """Reads one row's tokens as they come."""

    def __init__(self, play: RolePlay, text: GrowingText, max_tokens: int) -> None:
        self._vocabulary = play.vocabulary
        self._text = text
        self._max_tokens = max_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tokens = 0
        self.is_over = False

    def read(self, token: int) -> Written | None:
        """Take a token; what was written, if it ends the sample."""
        if self._vocabulary.is_end(token):
            return self.end(Finish.END)
        self._tokens += 1
        if self._text.add(self._decoder.decode(self._vocabulary.piece(token))):
            return self.end(Finish.STOP)
        return self.end(Finish.LENGTH) if self._tokens == self._max_tokens else None

    def end(self, finish: Finish) -> Written:
        """End the sample."""
        self.is_over = True
        return Written(self._text.text, self._tokens, finish)


class _Watch(StoppingCriteria):  # type: ignore[misc]
    """Ends rows by the loop's rules, and the batch when no more are needed."""

    def __init__(self, readers: list[_Reader], heard: Heard) -> None:
        self._readers = readers
        self._heard = heard

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        running = [(i, r) for i, r in enumerate(self._readers) if not r.is_over]
        last = input_ids[:, -1].tolist()
        is_needed = True
        for position, reader in running:
            written = reader.read(last[position])
            if written is not None:
                is_needed &= self._heard(position, written)
        if not is_needed:
            for position, reader in running:
                if not reader.is_over:
                    self._heard(position, reader.end(Finish.CANCELLED))
        return torch.tensor([reader.is_over for reader in self._readers])
