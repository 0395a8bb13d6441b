"""Do converted and merged adapters do what PEFT does? Real bases, random adapters on all layers.

    python benchmarks/conversion_parity.py tiny small

Needs the extra `train`. Each row compares llama.cpp with torch + PEFT at the same positions; the
last line is JSON. The comparison is that of `lorid-edge convert verify`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from random_adapter import RandomAdapter, write_random_adapter

from lorid_edge.convert.lora import LoraConversion, convert_lora
from lorid_edge.convert.merge import Merge, merge
from lorid_edge.convert.native_logits import native_logits, tokenize
from lorid_edge.convert.torch_logits import torch_logits
from lorid_edge.convert.verification import Tolerance, compare, limited, unpacked
from lorid_edge.convert.verification_prompts import PROMPTS
from lorid_edge.formats.base_model import check_base
from lorid_edge.packs.store import PackStore

STRENGTHS = {"tiny": 0.8, "small": 0.17}
"""Large enough to change most next tokens of that base."""

GENTLE = 0.03
"""About what training adds; for merging into few bits."""

ADAPTERS = {
    "plain": RandomAdapter(),
    "rslora": RandomAdapter(settings={"use_rslora": True}, seed=1),
    "alpha_pattern": RandomAdapter(
        seed=2,
        settings={
            "alpha_pattern": {"q_proj": 8, "down_proj": 96},
            "rank_pattern": {"v_proj": 4, "up_proj": 24},
        },
    ),
    "gentle": RandomAdapter(strength=GENTLE, seed=3),
}
TYPES = ("f32", "f16", "q8_0")
MERGED = ("F16", "Q8_0", "same")


class Bench:
    """One base: its prompts, its bare next tokens, and a folder for what is made."""

    def __init__(self, pack: str, folder: Path, positions: int) -> None:
        self.pack = pack
        self.folder = folder
        self.base = PackStore().find(pack).base_path
        self.prompts = limited(tokenize(self.base, PROMPTS), positions)
        self.bare = [logits.argmax(axis=1) for logits in self.reference(None)]

    def reference(self, peft: Path | None) -> list[Any]:
        return [logits for logits, _ in torch_logits(self.base, self.prompts, peft)]

    def row(
        self, adapter: str, form: str, reference: Sequence[Any], base: Path, gguf: Path | None
    ) -> dict[str, Any]:
        native = list(native_logits(base, self.prompts, gguf))
        comparison = compare(reference, native, self.bare, Tolerance())
        return {"base": self.pack, "adapter": adapter, "form": form, **asdict(comparison)}

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows of this base."""
        exact = unpacked(self.base, self.folder)
        yield self.row("none", "base as shipped", self.reference(None), self.base, None)
        for kind, drawn in ADAPTERS.items():
            if kind != "gentle":
                drawn = replace(drawn, strength=STRENGTHS[self.pack])
            peft = write_random_adapter(drawn, check_base(self.base), self.folder / kind)
            reference = self.reference(peft)
            for type_name in TYPES:
                gguf = self.folder / f"{type_name}.gguf"
                convert_lora(LoraConversion(peft, self.base, gguf, type_name, force=True))
                yield self.row(kind, type_name, reference, exact, gguf)
            half = self.folder / "f16.gguf"
            if kind in ("plain", "gentle"):
                yield self.row(kind, "f16, base as shipped", reference, self.base, half)
                yield from self.merged_rows(kind, reference, half)

    def merged_rows(
        self, kind: str, reference: Sequence[Any], adapter: Path
    ) -> Iterator[dict[str, Any]]:
        merged = self.folder / "merged.gguf"
        for quantization in MERGED:
            merge(Merge(self.base, adapter, merged, quantization, force=True))
            (self.folder / "exact").mkdir(exist_ok=True)
            # F16 runs as it is; packed weights would add the rounding of activations.
            exact = merged
            if quantization != "F16":
                exact = unpacked(merged, self.folder / "exact")
            yield self.row(kind, f"merged {quantization}", reference, exact, None)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare converted adapters with PEFT.")
    parser.add_argument("packs", nargs="+", choices=list(STRENGTHS), help="whose bases are used")
    parser.add_argument("--positions", type=int, default=512)
    arguments = parser.parse_args()
    rows = []
    print(
        f"{'base':9} {'adapter':14} {'form':22} {'agree':>8} {'mean KL':>9} {'max KL':>9} changed"
    )
    for pack in arguments.packs:
        with tempfile.TemporaryDirectory() as folder:
            for row in Bench(pack, Path(folder), arguments.positions).rows():
                rows.append(row)
                print(
                    f"{row['base']:9} {row['adapter']:14} {row['form']:22} "
                    f"{100 * row['next_token_agreement']:7.2f}% {row['mean_divergence']:9.1e} "
                    f"{row['largest_divergence']:9.1e} {100 * row['changed_by_adapter']:.0f}%",
                    flush=True,
                )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
