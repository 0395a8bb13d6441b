"""`lorid-edge convert inspect` and `verify`: what a file is, and whether it does what it should."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorid_edge.errors import UsageError

from . import streams
from .converting import as_json, base_path, progress, user_path

if TYPE_CHECKING:
    from lorid_edge.convert.verification import Comparison

DIFFERENT = 1


def inspect(
    path: Annotated[
        str, typer.Argument(help="A GGUF base or adapter, a PEFT folder, or the name of a pack.")
    ],
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor too.")] = False,
    json_wanted: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, all tensors included.")
    ] = False,
) -> None:
    """Tell what is in a base, an adapter or a PEFT folder. Only headers are read.

    Example: lorid-edge convert inspect adapter.gguf
    """
    from lorid_edge.convert.inspection import inspect as look
    from lorid_edge.convert.peft_config import CONFIG_NAME

    folder = user_path(path)
    found = look(folder if (folder / CONFIG_NAME).is_file() else base_path(path))
    if json_wanted:
        return as_json(
            kind=found.kind,
            path=str(found.path),
            **found.facts,
            tensors=[asdict(tensor) for tensor in found.tensors],
        )
    streams.result(f"{'kind':18} {found.kind}")
    for name, value in found.facts.items():
        streams.result(f"{name:18} {_text(value)}")
    if tensors:
        for tensor in found.tensors:
            shape = " x ".join(map(str, tensor.shape))
            streams.result(f"{tensor.type:5} {tensor.size_bytes:>13,}  {shape:20}  {tensor.name}")
    return None


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of the PEFT adapter.")],
    converted: Annotated[
        Path, typer.Argument(help="The GGUF adapter made of it, or a base with it merged.")
    ],
    base: Annotated[str, typer.Option(help="The base: a GGUF file, or a pack's name or folder.")],
    positions: Annotated[int, typer.Option(help="Tokens to compare, at most 4096.")] = 512,
    prompts: Annotated[
        Path | None, typer.Option(help="A text file, one prompt a line, instead of those built in.")
    ] = None,
    as_shipped: Annotated[
        bool,
        typer.Option(
            "--as-shipped",
            help="Run llama.cpp on the packed base: its rounding of activations comes on top.",
        ),
    ] = False,
    min_agreement: Annotated[
        float, typer.Option(help="Least share of equal next tokens that passes.")
    ] = 0.99,
    max_divergence: Annotated[
        float, typer.Option(help="Largest mean KL divergence, in nats, that passes.")
    ] = 1e-3,
    json_wanted: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare torch + PEFT with llama.cpp on the same tokens. Exit code 1 if they differ.

    Needs torch: pip install 'lorid-edge[train]'

    Example: lorid-edge convert verify peft-adapter adapter.gguf --base tiny --positions 64
    """
    from lorid_edge.convert.verification import Tolerance, Verification
    from lorid_edge.convert.verification import verify as compare
    from lorid_edge.formats.gguf import read_gguf

    is_adapter = read_gguf(converted).text("general.type") == "adapter"
    job = Verification(
        folder=folder,
        adapter=converted if is_adapter else None,
        merged=None if is_adapter else converted,
        base=base_path(base),
        positions=positions,
        prompts=_read_prompts(prompts),
        as_shipped=as_shipped,
        tolerance=Tolerance(min_agreement, max_divergence),
    )
    with progress("comparing") as on_progress:
        comparison = compare(job, on_progress)
    if json_wanted:
        as_json(ok=comparison.is_within_tolerance, **asdict(comparison))
    else:
        _tell(comparison)
    if not comparison.is_within_tolerance:
        streams.note(
            "lorid-edge: the converted file does not do what the PEFT adapter does "
            f"(at least {min_agreement:g} agreement and at most {max_divergence:g} nats pass)."
        )
        raise typer.Exit(DIFFERENT)


def _tell(comparison: Comparison) -> None:
    rows = {
        "positions": f"{comparison.positions}",
        "next token agrees": f"{100 * comparison.next_token_agreement:.2f} %",
        "KL divergence": f"mean {comparison.mean_divergence:.3g}, "
        f"largest {comparison.largest_divergence:.3g} nats",
        "logit difference": f"mean {comparison.mean_logit_difference:.3g}, "
        f"largest {comparison.largest_logit_difference:.3g}",
        "adapter changes": f"{100 * comparison.changed_by_adapter:.1f} % of the next tokens",
    }
    for name, text in rows.items():
        streams.result(f"{name:18} {text}")


def _read_prompts(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as UTF-8 text ({error}).") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise UsageError(f"{path}: holds no prompt; expected one a line.")
    return texts


def _text(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} ({count})" for name, count in value.items())
    if isinstance(value, list):
        return "; ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
