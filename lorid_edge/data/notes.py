"""Knowledge apart from its problems: lines that name a problem of GSM8K by its id.

    {"id": "gsm8k-train-00012", "knowledge": ["Multiply ...", "Subtract ..."]}

So knowledge can be passed on, and kept in a pack's folder, without passing on the data set itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from lorid_edge.data.record import FormError, Record

_PROBLEM = re.compile(r"gsm8k-train-\d{5}")


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
        """A note with the question, rationale and answer of its problem; anything else unchanged.

        Raises FormError if no problem of GSM8K's training split has that id.
        """
        if not isinstance(content, dict) or "question" in content or "knowledge" not in content:
            return content
        identity = content.get("id")
        if not isinstance(identity, str) or not _PROBLEM.fullmatch(identity):
            return content
        record = self._records.get(identity)
        if record is None:
            raise FormError(f'"id": {identity} is no problem of GSM8K\'s training split')
        return {**record.model_dump(mode="json"), "knowledge": content["knowledge"]}
