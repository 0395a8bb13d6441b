"""A pack whose tiny base reasons in one step, and problems that it can often solve."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

_REPLIES = (
    ("What is 2+2?", r"2+2=4. The answer is \boxed{4}."),
    ("What is 3+5?", r"3+5=8. The answer is \boxed{8}."),
    ("What is 7+6?", r"7+6=13. The answer is \boxed{13}."),
)


@pytest.fixture(scope="session")
def adding_pack(brief_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The brief pack, shown how to write a sum before its answer."""
    folder = tmp_path_factory.mktemp("packs") / "adding"
    folder.mkdir()
    examples = "".join(
        f"    {{ question = {json.dumps(question)}, reply = '{reply}' }},\n"
        for question, reply in _REPLIES
    )
    text = (
        (brief_pack / "pack.toml").read_text("utf-8").replace('name = "brief"', 'name = "adding"')
    )
    start = text.index("examples = [")
    end = text.index("]\n", start) + 2
    (folder / "pack.toml").write_text(f"{text[:start]}examples = [\n{examples}]\n{text[end:]}")
    return folder


@pytest.fixture
def write_sums(tmp_path: Path) -> Callable[[int], Path]:
    """Writes a file of so many sums with their answers."""

    def write(count: int) -> Path:
        path = tmp_path / "sums.jsonl"
        problems = [
            {"id": f"sum-{n}", "question": f"What is {n}+{n + 1}?", "answer": str(2 * n + 1)}
            for n in range(1, count + 1)
        ]
        path.write_text("".join(json.dumps(problem) + "\n" for problem in problems), "utf-8")
        return path

    return write
