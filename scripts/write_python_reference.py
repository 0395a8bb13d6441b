"""Write docs/python.md from the docstrings of the public API; a test fails when it is stale.

python scripts/write_python_reference.py
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import sys
import textwrap
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

TARGET = Path(__file__).parents[1] / "docs" / "python.md"

CONTENTS = {
    "lorid_edge.solver": ["Solver", "SolveSettings"],
    "lorid_edge.stream": ["Stream"],
    "lorid_edge.loading": ["LoadSettings"],
    "lorid_edge.loop.events": [
        *("RoleStarted", "TextAdded", "CalculatorResult", "SampleFinished", "Agreement", "Solved"),
    ],
    "lorid_edge.loop.solution": [
        *("Solution", "Status", "Sample", "TokenCounts", "Seconds", "Settings"),
    ],
    "lorid_edge.roles": ["Role"],
    "lorid_edge.packs.store": ["PackStore"],
    "lorid_edge.errors": [
        *("LoridError", "UsageError", "ModelFileError", "AdapterError", "PackError"),
        *("DownloadError", "OfflineError", "EngineError", "MemoryShortageError"),
        *("ContextOverflowError", "CancelledError"),
    ],
}

INTRODUCTION = """# Python

Made from the docstrings by `scripts/write_python_reference.py`. docs/embedding.md shows how the
parts go together. Names that begin with an underscore, and modules that are not here, may change.
"""


def reference() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for module_name, names in CONTENTS.items():
        module = importlib.import_module(module_name)
        parts.append(f"## {module_name}\n\n{_prose(module.__doc__)}\n")
        parts += [_class_section(module, getattr(module, name)) for name in names]
    return "\n".join(parts)


def _class_section(module: ModuleType, kind: type[Any]) -> str:
    parent = kind.__bases__[0].__name__
    head = f"### {kind.__name__}"
    if issubclass(kind, Exception):
        return f"{head}\n\n{_prose(kind.__doc__)} A {parent}.\n"
    parts = [head, "", _prose(kind.__doc__), ""]
    fields = _field_lines(module, kind)
    if fields:
        parts += ["```text", *fields, "```", ""]
    for name, member in vars(kind).items():
        if not name.startswith("_") and _is_documented(member):
            parts += [
                f"#### `{kind.__name__}.{_signature(name, member)}`",
                "",
                _prose_of(member),
                "",
            ]
    return "\n".join(parts)


def _is_documented(member: Any) -> bool:
    function = member.__func__ if isinstance(member, classmethod) else member
    return isinstance(function, property) or inspect.isfunction(function)


def _signature(name: str, member: Any) -> str:
    if isinstance(member, property):
        return name
    function = member.__func__ if isinstance(member, classmethod) else member
    signature = inspect.signature(function)
    parts = []
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        is_required = parameter.default is parameter.empty
        default = "" if is_required else f" = {parameter.default!r}"
        parts.append(f"{parameter.name}: {parameter.annotation}{default}")
    return f"{name}({', '.join(parts)}) -> {signature.return_annotation}"


def _prose_of(member: Any) -> str:
    function = member.__func__ if isinstance(member, classmethod) else member
    return _prose(function.__doc__)


def _field_lines(module: ModuleType, kind: type[Any]) -> list[str]:
    """Fields or enumerated values with their types and defaults, as the source has them."""
    if not (dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel | Enum)):
        return []
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    lines = []
    for line in tree.body:
        if isinstance(line, ast.Assign | ast.AnnAssign):
            lines.append(ast.unparse(line).replace("'", '"'))
        elif lines and isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
            lines[-1] += f"  # {inspect.cleandoc(str(line.value.value))}"
    return lines


def _prose(docstring: str | None) -> str:
    """A docstring as Markdown: lists where it lists arguments, attributes or errors."""
    lines = []
    is_list = False
    for line in inspect.cleandoc(docstring or "").splitlines():
        stripped = line.strip()
        if stripped in ("Args:", "Attributes:", "Raises:"):
            is_list = True
            lines += [stripped, ""]
        elif not is_list or not stripped:
            lines.append(line)
        elif line.startswith("        "):
            lines.append(f"  {stripped}")
        else:
            name, _, text = stripped.partition(": ")
            lines.append(f"- `{name}`: {text}")
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    sys.stderr.write(f"wrote {TARGET}\n")
