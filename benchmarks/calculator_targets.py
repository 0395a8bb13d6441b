"""How well a data set's rationales agree with the runtime's calculator, as training targets.

python benchmarks/calculator_targets.py [DATASET]

For each way to treat annotations: the places where the calculator would write, how many of them say
what it writes (as the data is, and as the trainer gives it), and how many of those a tokenizer
without regard for them would straddle with one token.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable

from lorid_edge.data.datasets import load_dataset
from lorid_edge.engine.model import Model
from lorid_edge.packs.store import PackStore
from lorid_edge.train.targets import Annotations, as_calculated, calculator_results


def main() -> None:
    """Print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default="gsm8k", help="a data set's name or path")
    dataset = load_dataset(parser.parse_args().dataset)
    rationales = [record.rationale for record in dataset.records if record.rationale]
    store = PackStore()
    packs = [pack for pack in map(store.find, ("tiny", "small")) if pack.is_present]
    for treatment in Annotations:
        raw = [treatment.apply(rationale) for rationale in rationales]
        given = [as_calculated(text) for text in raw]
        straddled = {
            pack.name: _straddled(Model(pack.base_path, vocabulary_only=True), given)
            for pack in packs
        }
        row = {
            "annotations": treatment.value,
            "rationales": len(raw),
            "as_they_are": _agreement(raw),
            "as_trained": _agreement(given),
            "straddled_places": straddled,
        }
        sys.stdout.write(json.dumps(row) + "\n")


def _agreement(texts: Iterable[str]) -> dict[str, float]:
    found = [is_same for text in texts for _, _, is_same in calculator_results(text)]
    return {
        "places": len(found),
        "same_percent": round(100 * sum(found) / max(1, len(found)), 2),
    }


def _straddled(model: Model, texts: Iterable[str]) -> int:
    """Places where a result of the calculator begins or ends within a token of the plain text."""
    count = 0
    for text in texts:
        ends, done = {0}, 0
        for token in model.tokenize(text, special=False):
            done += len(model.piece(token))
            ends.add(done)
        for begin, end, is_same in calculator_results(text):
            places = {len(text[:begin].encode()), len(text[:end].encode())}
            count += is_same and not places <= ends
    return count


if __name__ == "__main__":
    main()
