"""Whether what training needs is here: the extra `train`, and a GPU where one is demanded."""

from __future__ import annotations

import importlib.util

from lorid_edge.errors import LoridError
from lorid_edge.machine import Machine

_PACKAGES = ("torch", "transformers", "peft", "safetensors", "tomlkit", "matplotlib")


def require_training_packages() -> None:
    """Raise LoridError if a package of the extra `train` is not installed."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise LoridError(
            f"training needs packages that are not installed: {', '.join(missing)}. "
            "Run: pip install 'lorid-edge[train]'"
        )


def has_gpu() -> bool:
    """Whether torch can use a CUDA device."""
    import torch

    return bool(torch.cuda.is_available())


def versions() -> dict[str, str]:
    """The versions that a training run depends on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("lorid-edge", "torch", "transformers", "peft", "llama-cpp-python"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """The machine that a run is made on, with its GPUs."""
    import torch

    found: dict[str, str | int] = Machine.here().to_dict()
    if torch.cuda.is_available():
        found["gpus"] = torch.cuda.device_count()
        found["gpu"] = torch.cuda.get_device_name(0)
    return found
