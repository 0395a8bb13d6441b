"""Knowledge and chains apart from their problems: lines that name a problem of GSM8K by its id.

    {"id": "gsm8k-train-00012", "knowledge": ["Multiply ...", "Subtract ..."]}
    {"id": "gsm8k-train-00012", "rationale": "There are 3 * 12 = 36 ..."}

So what was made from a data set can be passed on without passing on the data set itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from lorid_edge.data.record import FormError, Record

_PROBLEM = re.compile(r"gsm8k-train-\d{5}")
_NOTED = ("knowledge", "rationale")


class NotedProblems:
    """The problems that notes name; loaded when the first note asks for one."""

    def __init__(self, load: Callable[[], Mapping[str, Record]]) -> None:
        """Args:
        load: gives the training records of GSM8K by their id.
        """
        self._load = load

    @cached_property
    def _records(self) -> Mapping[str, Record]:
        return self._load()

    def complete(self, content: Any) -> Any:
        """A note with the question and answer of its problem, and what it does not hold itself.

        Anything but a note is given back unchanged.

        Raises FormError if no problem of GSM8K's training split has that id.
        """
        if not isinstance(content, dict) or "question" in content or "problem" in content:
            return content
        noted = {name: content[name] for name in _NOTED if name in content}
        if not noted:
            return content
        identity = content.get("id")
        if not isinstance(identity, str) or not _PROBLEM.fullmatch(identity):
            return content
        record = self._records.get(identity)
        if record is None:
            raise FormError(f'"id": {identity} is no problem of GSM8K\'s training split')
        return {**record.model_dump(mode="json"), **noted}
