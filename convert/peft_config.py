"""What `adapter_config.json` of a PEFT adapter says: scales, ranks, targets, what cannot be had.

The meaning of each field follows PEFT 0.21 (`LoraConfig`), whose patterns are regular expressions.
They come from a file that may be hostile, so only patterns that cannot backtrack for long are used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import comb, prod, sqrt
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorid_edge.errors import AdapterError

CONFIG_NAME = "adapter_config.json"
MAX_CONFIG_BYTES = 2**20
MAX_MODULE_CHARACTERS = 100
"""Of a module's path. Those of known models have about half of it."""

_MAX_PATTERN_LENGTH = 300
_MAX_STEPS = 4 * 10**5
"""Of all patterns of a file on one module's path, in the worst case: some 0.1 s."""

_NAMES_OF_LINEAR = "all-linear"
_UNSUPPORTED = {
    "use_dora": "DoRA scales whole columns of the weight, which GGUF adapters cannot express",
    "lora_bias": "a bias beside lora_B cannot be expressed in GGUF",
    "use_qalora": "QALoRA pools its inputs, which llama.cpp does not",
    "use_bdlora": "block-diagonal adapters cannot be expressed in GGUF",
    "fan_in_fan_out": "transposed weights (Conv1D) do not occur in the architectures known here",
    "layer_replication": "the base of the pack has no replicated layers",
    "megatron_config": "Megatron's layers are split differently",
    "target_parameters": "parameters that belong to no linear module cannot be adapted",
    "trainable_token_indices": "retrained embeddings of tokens cannot be expressed in GGUF",
    "modules_to_save": "whole modules saved beside the adapter cannot be expressed in GGUF",
    "alora_invocation_tokens": "the runtime applies an adapter to all tokens, not from a mark on",
    "arrow_config": "routing between adapters is not possible",
    "kasa_config": "KaSA truncates the weights of the base",
    "monteclora_config": "weights that are drawn anew at each use cannot be expressed in GGUF",
}
_CHANGES_THE_BASE = re.compile(r"pissa(_niter_\d+)?|olora|corda|loftq|lora_ga")

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Rank = Annotated[int, Field(ge=1)]


class PeftConfig(BaseModel):
    """The fields that converting depends on; others of later versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    peft_type: str = ""
    r: _Rank = 8
    lora_alpha: _Positive = 8
    use_rslora: bool = False
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    rank_pattern: dict[str, _Rank] | None = None
    alpha_pattern: dict[str, _Positive] | None = None
    bias: str = "none"
    init_lora_weights: bool | str | None = True
    base_model_name_or_path: str | None = None

    def scale(self, module: str, rank: int) -> float:
        """What PEFT multiplies lora_B . lora_A of `module` by."""
        alpha: float = _lookup(self.alpha_pattern, module, self.lora_alpha)
        return alpha / (sqrt(rank) if self.use_rslora else rank)

    def rank(self, module: str) -> int:
        """The rank that `module` should have."""
        rank: int = _lookup(self.rank_pattern, module, self.r)
        return rank

    def is_targeted(self, module: str) -> bool:
        """Whether PEFT put an adapter on the linear module of this path."""
        if self.exclude_modules and _is_named(self.exclude_modules, module):
            return False
        if self.target_modules == _NAMES_OF_LINEAR:
            return not module.endswith(("lm_head", "embed_tokens"))
        if not self.target_modules or not _is_named(self.target_modules, module):
            return False
        layers = self.layers_to_transform
        if isinstance(self.target_modules, str) or layers is None or layers == []:
            return True
        layer = re.search(r"\.(\d+)\.", module)
        wanted = [layers] if isinstance(layers, int) else layers
        return layer is not None and int(layer[1]) in wanted


def read_config(folder: Path) -> PeftConfig:
    """Read the configuration in the PEFT folder.

    Raises AdapterError, with all its problems at once, if it is missing, no JSON, impossible, or
    asks for something that a GGUF adapter cannot express.
    """
    path = folder / CONFIG_NAME
    document = _read_json(path)
    problems = list(_unsupported(document))
    config = None
    try:
        config = PeftConfig.model_validate(document)
    except ValidationError as error:
        problems += [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        ]
    if config is not None:
        problems += _pattern_problems(config)
    if problems or config is None:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise AdapterError(f"{path}: this adapter cannot be converted:{lines}")
    return config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        raise AdapterError(
            f"{path}: no such file; expected the folder of a PEFT adapter, with {CONFIG_NAME} "
            "and adapter_model.safetensors"
        ) from None
    except OSError as error:
        raise AdapterError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_CONFIG_BYTES:
        raise AdapterError(f"{path}: longer than {MAX_CONFIG_BYTES} bytes")
    try:
        document = json.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise AdapterError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise AdapterError(f"{path}: expected a JSON object")
    return document


def _unsupported(document: dict[str, Any]) -> Iterator[str]:
    if document.get("peft_type") != "LORA":
        yield f"peft_type is {document.get('peft_type')!r}, expected 'LORA'"
    for key, reason in _UNSUPPORTED.items():
        if document.get(key):
            yield f"{key} is set: {reason}"
    if document.get("bias", "none") != "none":
        yield f"bias is {document['bias']!r}, expected 'none': GGUF adapters have no biases"
    start = document.get("init_lora_weights")
    if isinstance(start, str) and _CHANGES_THE_BASE.fullmatch(start):
        yield (
            f"init_lora_weights is {start!r}, which changes the weights of the base: save the "
            "adapter with path_initial_model_for_weight_conversion first"
        )


def _pattern_problems(config: PeftConfig) -> Iterator[str]:
    named = {"target_modules": config.target_modules, "exclude_modules": config.exclude_modules}
    patterns = [(key, value, value) for key, value in named.items() if isinstance(value, str)]
    patterns += [("rank_pattern", key, _at_the_end(key)) for key in config.rank_pattern or {}]
    patterns += [("alpha_pattern", key, _at_the_end(key)) for key in config.alpha_pattern or {}]
    steps_left = _MAX_STEPS
    for field, pattern, whole in patterns:
        problem = _pattern_problem(pattern, whole, steps_left)
        if problem is None:
            steps_left -= _most_steps(whole)
        else:
            yield f"{field}: the pattern {pattern[:80]!r} {problem}"


def _pattern_problem(pattern: str, whole: str, steps_left: int) -> str | None:
    """Why `pattern`, which is matched as part of `whole`, is not used; None if it may be."""
    if len(pattern) > _MAX_PATTERN_LENGTH:
        return f"is longer than {_MAX_PATTERN_LENGTH} characters"
    plain = _plain(pattern)
    if "(?" in plain or "#" in plain:
        return "holds # or a group (?...) other than (?:...)"
    if re.search(r"\)[*+{]", plain) or _most_steps(whole) > steps_left:
        return "repeats too much to be matched safely; name the modules instead"
    try:
        re.compile(whole)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression ({error})"
    return None


def _plain(pattern: str) -> str:
    """The pattern with every escaped character as a letter, and all groups alike."""
    return re.sub(r"(?s)\\.", "_", pattern).replace("(?:", "(")


def _most_steps(pattern: str) -> int:
    """How many ways there are at most to try a pattern on a module's path.

    Repeats share its characters in any way; each optional part is there or not; of alternatives
    each is tried.
    """
    plain = _plain(pattern)
    repeats = len(re.findall(r"[*+{]", plain))
    alternatives = prod(part.count("|") + 1 for part in re.split(r"[()]", plain))
    ways = comb(MAX_MODULE_CHARACTERS + repeats, repeats)
    return ways * alternatives << plain.count("?")


def _lookup(patterns: dict[str, Any] | None, module: str, default: Any) -> Any:
    """The value of the first pattern that matches the end of the path."""
    for pattern, value in (patterns or {}).items():
        if re.match(_at_the_end(pattern), module):
            return value
    return default


def _at_the_end(pattern: str) -> str:
    return rf"(.*\.)?({pattern})$"


def _is_named(names: list[str] | str, module: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names)
