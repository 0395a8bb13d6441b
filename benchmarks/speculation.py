"""Would it pay to draft a sample's next tokens from what was already said about its problem?

    python benchmarks/speculation.py RUN... --pack small

The samples of a problem repeat each other: the numbers, the steps, whole sentences. A draft of k
tokens is what followed the last n tokens where they stood before, in the question or in an earlier
sample (n-gram look-up); one decode verifies it, and a token is kept as long as the sampler draws
the drafted one, so that the distribution stays as it is.

What is kept can be read off finished runs of `lorid-edge eval`: the tokens that a sample did draw
are the ones that the draft had to meet. What it costs is measured here: a decode of 1 + k rows for
each sample, against one of 1 row. The ratio of both is the speed-up, without sampling and look-up.
The text of the samples is tokenized again, which may cut it elsewhere than the model did.

The last line of standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorid_edge.convert.unpacked import choose_weights
from lorid_edge.engine import native
from lorid_edge.engine.batch import Batch
from lorid_edge.engine.model import Model
from lorid_edge.engine.threads import choose_threads
from lorid_edge.evaluation.run_folder import read_run
from lorid_edge.packs.store import PackStore

NGRAMS = (2, 3, 4)
DRAFTS = (1, 2, 4, 8)
WIDTHS = (1, 2, 4, 8)
REPETITIONS = 9
PROMPT_TOKENS = 200


def main() -> None:
    arguments = parse_arguments()
    store = PackStore()
    pack = store.find(arguments.pack)
    model = Model(pack.base_path, vocabulary_only=True)
    kept = [
        {"run": str(run), **describe(run), **entry}
        for run in arguments.runs
        for entry in kept_tokens(list(problems_of(run, model)))
    ]
    model.close()
    weights = choose_weights(pack.base_path, pack.manifest.base.sha256, 16, store.places)
    costs = {"packed": decode_costs(pack.base_path)}
    if weights.file is not None:
        costs["unpacked"] = decode_costs(weights.file)
    rows = [
        {**entry, "weights": name, "width": width, "speed_up": round(speed_up, 3)}
        for entry in kept
        for name, cost in costs.items()
        for width in WIDTHS
        for speed_up in [gain(entry, cost[width, 0], cost[width, entry["draft"]])]
    ]
    for run in arguments.runs:
        for name in costs:
            print_best(str(run), name, rows)
    milliseconds = {
        name: {f"{width}x{1 + draft}": round(1000 * s, 2) for (width, draft), s in cost.items()}
        for name, cost in costs.items()
    }
    print(json.dumps({"pack": arguments.pack, "decode_ms": milliseconds, "rows": rows}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of eval")
    parser.add_argument("--pack", default="small", help="whose base the runs were made with")
    return parser.parse_args()


def gain(entry: dict[str, Any], plain_seconds: float, drafted_seconds: float) -> float:
    """How much faster; where nothing was found to draft, the decode is a plain one."""
    plain, drafted = entry["plain_decodes"], entry["drafted_decodes"]
    seconds = plain * plain_seconds + drafted * drafted_seconds
    return float(entry["tokens"] * plain_seconds / seconds)


@dataclass(frozen=True)
class Talk:
    """A problem's question and its samples, in the order in which they were started, as tokens."""

    question: list[int]
    samples: list[list[int]]


def problems_of(folder: Path, model: Model) -> Iterator[Talk]:
    for solution in read_run(folder).solutions.values():
        ordered = sorted(solution.samples, key=lambda s: (s.round, s.role.value, s.index))
        yield Talk(
            model.tokenize(solution.question, special=False),
            [model.tokenize(sample.text, special=False) for sample in ordered],
        )


def describe(folder: Path) -> dict[str, Any]:
    identity = read_run(folder).description.identity
    return {"policy": identity.policy, "temperature": identity.sampling.temperature}


def kept_tokens(talks: Sequence[Talk]) -> Iterator[dict[str, Any]]:
    """For each n-gram length and draft: the tokens drawn, and the decodes that they took."""
    for ngram in NGRAMS:
        for draft in DRAFTS:
            counts = [count(talk, ngram, draft) for talk in talks]
            tokens, plain, drafted = (sum(part) for part in zip(*counts, strict=True))
            yield {
                "ngram": ngram,
                "draft": draft,
                "tokens": tokens,
                "plain_decodes": plain,
                "drafted_decodes": drafted,
                "tokens_per_decode": round(tokens / max(1, plain + drafted), 4),
            }


def count(talk: Talk, ngram: int, draft: int) -> tuple[int, int, int]:
    """Tokens, plain and drafted decodes of all samples of a problem but the first, in turn."""
    said = [talk.question]
    tokens = plain = drafted = 0
    for number, sample in enumerate(talk.samples):
        if number:
            tokens += len(sample)
            decodes = decodes_of(sample, said, ngram, draft)
            plain, drafted = plain + decodes[0], drafted + decodes[1]
        said.append(sample)
    return tokens, plain, drafted


def decodes_of(sample: list[int], said: list[list[int]], ngram: int, draft: int) -> tuple[int, int]:
    """How many decodes without a draft and with one the sample takes."""
    follows: dict[tuple[int, ...], list[int]] = {}
    for text in said:  # later ones replace earlier ones: the last to say it is followed
        for at in range(len(text) - ngram):
            follows[tuple(text[at : at + ngram])] = text[at + ngram : at + ngram + draft]
    position = plain = drafted = 0
    while position < len(sample):
        guess = follows.get(tuple(sample[max(0, position - ngram) : position]), [])
        met = 0
        while met < len(guess) and sample[position + met : position + met + 1] == [guess[met]]:
            met += 1
        position += met + 1  # the verifying decode draws one more token itself
        plain, drafted = plain + (not guess), drafted + bool(guess)
    return plain, drafted


def decode_costs(path: Path) -> dict[tuple[int, int], float]:
    """Seconds of a decode by (samples, drafted tokens of each), medians; 0 is without drafts."""
    binding = native.load()
    model = Model(path)
    parameters = binding.llama_context_default_params()
    parameters.n_ctx = max(WIDTHS) * 2 * PROMPT_TOKENS
    parameters.n_batch = parameters.n_ubatch = 512
    parameters.n_seq_max = max(WIDTHS)
    threads = choose_threads().threads
    parameters.n_threads = parameters.n_threads_batch = threads
    parameters.kv_unified = True
    context = binding.llama_init_from_model(model.handle, parameters)
    memory = binding.llama_get_memory(context)
    draw, batch = random.Random(0), Batch(512)

    def decode(samples: int, position: int, tokens: int, outputs: int) -> float:
        batch.clear()
        for sample in range(samples):
            words = [draw.randrange(1000, 20_000) for _ in range(tokens)]
            batch.add(sample, position, words, outputs)
        began = time.perf_counter()
        if binding.llama_decode(context, batch.native) != 0:
            raise SystemExit("llama_decode failed")
        return time.perf_counter() - began

    seconds = defaultdict(list)
    for width in WIDTHS:
        binding.llama_memory_clear(memory, False)
        for part in range(0, PROMPT_TOKENS, 50):
            decode(width, part, 50, 0)
        for _ in range(REPETITIONS):
            for drafted in (0, *DRAFTS):
                seconds[width, drafted].append(
                    decode(width, PROMPT_TOKENS, 1 + drafted, 1 + drafted)
                )
                for sample in range(width):
                    binding.llama_memory_seq_rm(memory, sample, PROMPT_TOKENS, -1)
    binding.llama_free(context)
    model.close()
    return {key: statistics.median(values) for key, values in seconds.items()}


def print_best(run: str, weights: str, rows: list[dict[str, Any]]) -> None:
    for width in WIDTHS:
        of_width = [
            row
            for row in rows
            if row["run"] == run and row["weights"] == weights and row["width"] == width
        ]
        best = max(of_width, key=lambda row: float(row["speed_up"]))
        print(
            f"{best['policy']} at temperature {best['temperature']}, {weights} weights, "
            f"width {width}: {best['speed_up']:.2f} times as fast at best "
            f"({best['ngram']} tokens looked up, {best['draft']} drafted, "
            f"{best['tokens_per_decode']:.2f} tokens a decode)"
        )


if __name__ == "__main__":
    main()
