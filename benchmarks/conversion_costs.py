"""Time and memory of converting and merging, beside llama.cpp's own converter and export tool.

    python benchmarks/conversion_costs.py --pack standard --llama-cpp SOURCE --tools BIN

SOURCE is llama.cpp's source folder (in the source distribution of llama-cpp-python, below
vendor/), BIN a folder with llama-export-lora and llama-quantize built from it. Without them only
our own commands are measured. Each command runs as a process of its own, ours and theirs in turn;
the last line is JSON. Needs the extra `train` for llama.cpp's converter.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from random_adapter import RandomAdapter, write_random_adapter

from lorid_edge.formats.base_model import check_base
from lorid_edge.packs.checksums import sha256_of
from lorid_edge.packs.store import PackStore

OURS = str(Path(sys.executable).parent / "lorid-edge")
PEAK_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


@dataclass(frozen=True)
class Command:
    """A command to measure; `task` is the same for what is to be compared."""

    task: str
    tool: str
    arguments: list[str]
    output: Path


@dataclass(frozen=True)
class Run:
    """One run. `peak_bytes` is the largest resident size of the process and its children."""

    seconds: float
    peak_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure converting and merging.")
    parser.add_argument("--pack", default="standard")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--llama-cpp", type=Path)
    parser.add_argument("--tools", type=Path)
    arguments = parser.parse_args()
    base = PackStore().find(arguments.pack).base_path
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = _commands(base, folder, arguments.llama_cpp, arguments.tools)
        runs: dict[int, list[Run]] = {number: [] for number in range(len(commands))}
        sha256_of(base)  # warms the file cache up; reading it whole would count as our memory
        for _ in range(arguments.runs):
            for number, command in enumerate(commands):
                runs[number].append(_measure(command))
    rows = [_row(command, runs[number]) for number, command in enumerate(commands)]
    for row in rows:
        print(
            f"{row['task']:28} {row['tool']:10} {row['seconds']:7.1f} s "
            f"({row['least_seconds']:.1f} to {row['most_seconds']:.1f}) "
            f"{row['peak_bytes'] / 1e6:8,.0f} MB"
        )
    print(json.dumps({"pack": arguments.pack, "runs": arguments.runs, "rows": rows}))


def _commands(base: Path, folder: Path, source: Path | None, tools: Path | None) -> list[Command]:
    peft = write_random_adapter(RandomAdapter(strength=0.1), check_base(base), folder / "peft")
    adapter = folder / "adapter.gguf"
    lora = ["convert", "lora", str(peft), "--base", str(base), "--type", "f16", "--force"]
    subprocess.run([OURS, *lora, "-o", str(adapter)], check=True)
    commands: list[Command] = []

    def add(task: str, tool: str, arguments: list[str]) -> None:
        output = folder / f"{len(commands)}.gguf"
        named = [str(output) if argument == "OUT" else argument for argument in arguments]
        commands.append(Command(task, tool, named, output))

    add("lora, rank 16, f16", "lorid-edge", [OURS, *lora, "-o", "OUT"])
    if source is not None:
        config = _hugging_face_config(base, folder / "config")
        script = str(source / "convert_lora_to_gguf.py")
        add(
            "lora, rank 16, f16",
            "llama.cpp",
            [sys.executable, script, "--base", config, "--outtype", "f16", "--outfile", "OUT",
             str(peft)],
        )  # fmt: skip
    merge = [OURS, "convert", "merge", str(base), str(adapter), "-o", "OUT", "--force"]
    add("merge to F16", "lorid-edge", [*merge, "--quant", "F16"])
    if tools is not None:
        export = [str(tools / "llama-export-lora"), "-m", str(base), "--lora", str(adapter)]
        add("merge to F16", "llama.cpp", [*export, "-o", "OUT"])
    add("merge to Q4_K_M", "lorid-edge", [*merge, "--quant", "Q4_K_M"])
    if tools is not None:
        half = folder / "half.gguf"
        quantize = f"'{tools}/llama-quantize' '{half}' \"$1\" Q4_K_M && rm '{half}'"
        both = f"{' '.join(export)} -o '{half}' && {quantize}"
        add("merge to Q4_K_M", "llama.cpp", ["sh", "-c", both, "sh", "OUT"])
    add("merge, types kept", "lorid-edge", [*merge, "--quant", "same"])
    add("merge to Q8_0", "lorid-edge", [*merge, "--quant", "Q8_0"])
    return commands


def _hugging_face_config(base: Path, folder: Path) -> str:
    """llama.cpp's converter reads the architecture from a Hugging Face config.json.

    Made by a child: the peak memory of what is measured counts from this process's own size.
    """
    code = (
        "import sys\n"
        "from transformers import AutoConfig\n"
        "config = AutoConfig.from_pretrained(sys.argv[1], gguf_file=sys.argv[2])\n"
        "name = {'qwen2': 'Qwen2', 'llama': 'Llama'}[config.model_type]\n"
        "config.architectures = [f'{name}ForCausalLM']\n"
        "config.save_pretrained(sys.argv[3])\n"
    )
    arguments = [str(base.parent), base.name, str(folder)]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, stderr=subprocess.DEVNULL)
    return str(folder)


def _measure(command: Command) -> Run:
    command.output.unlink(missing_ok=True)
    began = time.perf_counter()
    child = subprocess.Popen(
        command.arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    if status != 0 or not command.output.exists():
        raise SystemExit(f"failed with status {status}: {' '.join(command.arguments)}")
    command.output.unlink()
    return Run(seconds, usage.ru_maxrss * PEAK_UNIT_BYTES)


def _row(command: Command, runs: list[Run]) -> dict[str, Any]:
    seconds = [run.seconds for run in runs]
    return {
        "task": command.task,
        "tool": command.tool,
        "seconds": statistics.median(seconds),
        "least_seconds": min(seconds),
        "most_seconds": max(seconds),
        "peak_bytes": max(run.peak_bytes for run in runs),
    }


if __name__ == "__main__":
    main()
