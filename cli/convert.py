"""`lorid-edge convert`: adapters and bases from one form into another."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from lorid_edge.errors import UsageError

from . import convert_checks, streams
from .converting import as_json, base_path, progress, require_choice

app = typer.Typer(
    help="Convert, merge, quantize, truncate, inspect and compare adapters and bases.\n\n"
    "Example: lorid-edge convert lora peft-adapter --base tiny -o adapter.gguf",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("inspect")(convert_checks.inspect)
app.command("verify")(convert_checks.verify)

ADAPTER_TYPES = ("f32", "f16", "q8_0")
_TERMINATED = 143

Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]
AdapterType = Annotated[
    str, typer.Option("--type", help="f32, f16 or q8_0; short rows stay f16 in q8_0.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an output that is there already.")]
IgnoreBaseHash = Annotated[
    bool,
    typer.Option(
        "--ignore-base-hash",
        help="Even if the adapter was made for another base; the result may be nonsense.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.callback()
def prepare() -> None:
    """Convert, merge, quantize, truncate, inspect and compare adapters and bases."""
    # A terminated converter cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, _stop)


@app.command()
def lora(
    folder: Annotated[Path, typer.Argument(help="Folder of a PEFT adapter, with safetensors.")],
    base: Annotated[str, typer.Option(help="The base: a GGUF file, or a pack's name or folder.")],
    output: Output,
    type_name: AdapterType = "f16",
    role: Annotated[
        str | None,
        typer.Option(help="intuitive_reasoner, knowledge_generator or deep_reasoner."),
    ] = None,
    training_data: Annotated[
        str | None, typer.Option(help="What it was trained on, kept in the file.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Its licence, kept in the file.")] = None,
    ignore_base_hash: IgnoreBaseHash = False,
    force: Force = False,
    json_wanted: AsJson = False,
) -> None:
    """Make a GGUF adapter of a PEFT adapter. All that is wrong with it is reported together.

    Example: lorid-edge convert lora peft-adapter --base tiny -o adapter.gguf --type q8_0
    """
    from lorid_edge.convert.lora import LoraConversion, convert_lora
    from lorid_edge.formats.adapter_card import MAX_TEXT_CHARACTERS, AdapterCard
    from lorid_edge.roles import Role

    roles = tuple(known.value for known in Role)
    for option, text in (("--training-data", training_data), ("--licence", licence)):
        if text is not None and not 1 <= len(text) <= MAX_TEXT_CHARACTERS:
            raise UsageError(
                f"{option} has {len(text)} characters; expected 1 to {MAX_TEXT_CHARACTERS}."
            )
    card = AdapterCard(
        role=Role(require_choice("--role", role, roles)) if role else None,
        training_data=training_data,
        licence=licence,
    )
    job = LoraConversion(
        folder=folder,
        base=base_path(base),
        output=output,
        type_name=require_choice("--type", type_name, ADAPTER_TYPES),
        card=card,
        ignore_base_hash=ignore_base_hash,
        force=force,
    )
    with progress("converting") as on_progress:
        info = convert_lora(job, on_progress)
    if json_wanted:
        return as_json(
            output=str(output),
            bytes=info.size_bytes,
            rank=info.rank,
            alpha=info.alpha,
            tensors=info.tensor_count,
            role=info.role.value if info.role else None,
            base_sha256=info.base_sha256,
        )
    return streams.result(
        f"{output}: {info.tensor_count} tensors, rank {info.rank}, {_megabytes(info.size_bytes)}"
    )


@app.command()
def merge(
    base: Annotated[str, typer.Argument(help="The base: a GGUF file, or a pack's name or folder.")],
    adapter: Annotated[Path, typer.Argument(help="A GGUF adapter for it.")],
    output: Output,
    quantization: Annotated[
        str, typer.Option("--quant", help="same, F16, Q8_0, Q4_K_M or another of quantize's.")
    ] = "same",
    scale: Annotated[float, typer.Option(help="What the adapter is multiplied by.")] = 1.0,
    ignore_base_hash: IgnoreBaseHash = False,
    force: Force = False,
    json_wanted: AsJson = False,
) -> None:
    """Add an adapter to a base for good. Metadata and tokenizer stay as they are.

    Example: lorid-edge convert merge tiny adapter.gguf -o merged.gguf --quant Q8_0
    """
    from lorid_edge.convert.merge import Merge
    from lorid_edge.convert.merge import merge as run

    job = Merge(base_path(base), adapter, output, quantization, scale, ignore_base_hash, force)
    with progress("merging") as on_progress:
        run(job, on_progress)
    _tell_output(output, json_wanted)


@app.command()
def quantize(
    source: Annotated[
        str, typer.Argument(help="The base: a GGUF file, or a pack's name or folder.")
    ],
    output: Output,
    quantization: Annotated[
        str, typer.Option("--quant", help="Such as Q4_K_M, Q5_K_M, Q6_K, Q8_0 or Q4_0.")
    ] = "Q4_K_M",
    allow_requantize: Annotated[
        bool,
        typer.Option("--allow-requantize", help="Even if it is quantized already, with loss."),
    ] = False,
    force: Force = False,
    json_wanted: AsJson = False,
) -> None:
    """Quantize a base with llama.cpp's own quantizer.

    Example: lorid-edge convert quantize tiny -o small.gguf --quant Q4_0 --allow-requantize
    """
    from lorid_edge.convert.quantize import Quantization
    from lorid_edge.convert.quantize import quantize as run

    job = Quantization(base_path(source), output, quantization, allow_requantize, force)
    with progress("quantizing") as on_progress:
        run(job, on_progress)
    _tell_output(output, json_wanted)


@app.command()
def truncate(
    source: Annotated[Path, typer.Argument(help="A GGUF adapter, or the folder of a PEFT one.")],
    output: Output,
    rank: Annotated[int | None, typer.Option(help="The rank to keep.")] = None,
    energy: Annotated[
        float | None, typer.Option(help="The share of the squared singular values to keep.")
    ] = None,
    overall: Annotated[
        bool,
        typer.Option("--overall", help="Over all weights together: --rank is then the mean."),
    ] = False,
    type_name: AdapterType = "f16",
    force: Force = False,
    json_wanted: AsJson = False,
) -> None:
    """Lower the rank of an adapter with the least error. The output is of the input's kind.

    Example: lorid-edge convert truncate adapter.gguf --rank 4 -o smaller.gguf
    """
    from lorid_edge.convert.truncate import Truncation
    from lorid_edge.convert.truncate import truncate as run

    kind = require_choice("--type", type_name, ADAPTER_TYPES)
    job = Truncation(source, output, rank, energy, overall, kind, force)
    with progress("truncating") as on_progress:
        report = run(job, on_progress)
    ranks = [pair.rank for pair in report.pairs]
    if json_wanted:
        return as_json(
            output=str(output),
            energy_kept=report.energy_kept,
            relative_error=report.relative_error,
            pairs=[vars(pair) for pair in report.pairs],
        )
    return streams.result(
        f"{output}: ranks {min(ranks)} to {max(ranks)}, mean {sum(ranks) / len(ranks):.1f} "
        f"(before: {max(pair.old_rank for pair in report.pairs)}); energy kept "
        f"{100 * report.energy_kept:.2f} %, relative error {report.relative_error:.2g}"
    )


def _tell_output(output: Path, json_wanted: bool) -> None:
    size_bytes = output.stat().st_size
    if json_wanted:
        as_json(output=str(output), bytes=size_bytes)
    else:
        streams.result(f"{output}: {_megabytes(size_bytes)}")


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _stop(_number: int, _frame: Any) -> None:
    raise SystemExit(_TERMINATED)
