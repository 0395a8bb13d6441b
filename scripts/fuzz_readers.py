"""Feed damaged files to the readers for a long time; the first that is mishandled is kept.

    python scripts/fuzz_readers.py --minutes 10

Reproduce a finding with --seed. Needs the base of the pack tiny (lorid-edge packs pull tiny).
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "convert"), str(ROOT / "benchmarks")]

ADDRESS_SPACE_BYTES = 4 * 2**30


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the readers of GGUF and safetensors.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None, help="random if not given")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().getrandbits(32)
    print(f"seed {seed}", flush=True)
    # Native code that allocates without bound is not seen by tracemalloc; this stops it.
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as folder:
        return _run(arguments.minutes, seed, Path(folder))


def _run(minutes: float, seed: int, folder: Path) -> int:
    from fuzzing import READERS, check, damage

    chance = random.Random(seed)
    originals = _originals(folder)
    end = time.monotonic() + 60 * minutes
    tried, accepted = dict.fromkeys(READERS, 0), dict.fromkeys(READERS, 0)
    while time.monotonic() < end:
        reader = chance.choice(list(READERS))
        content = damage(chance.choice(originals[reader]), chance.randrange)
        try:
            accepted[reader] += check(reader, content, folder)
        except BaseException:
            found = Path(f"fuzz-{reader}-{seed}.bin")
            found.write_bytes(content)
            print(f"{reader}: mishandled, kept as {found}", flush=True)
            raise
        tried[reader] += 1
    for reader, count in tried.items():
        print(f"{reader}: {count} files, {accepted[reader]} accepted, none mishandled")
    return 0


def _originals(folder: Path) -> dict[str, list[bytes]]:
    from fuzzing import seeds
    from random_adapter import RandomAdapter, write_random_adapter
    from random_base import write_random_base

    from lorid_edge.convert.lora import LoraConversion, convert_lora
    from lorid_edge.formats.base_model import check_base
    from lorid_edge.packs.store import PackStore

    tiny = PackStore().find("tiny").base_path
    base = write_random_base("llama", tiny, folder / "base.gguf")
    peft = write_random_adapter(RandomAdapter(), check_base(base), folder / "peft")
    convert_lora(LoraConversion(peft, base, folder / "adapter.gguf"))
    return seeds(tiny, folder / "adapter.gguf", peft)


if __name__ == "__main__":
    sys.exit(main())
