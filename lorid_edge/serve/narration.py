"""The work of several samples at once as one text that can be read from top to bottom."""

from __future__ import annotations

from collections.abc import Iterable

from lorid_edge.loop.events import Event, RoleStarted, SampleFinished, Solved, TextAdded
from lorid_edge.roles import Role

_SampleKey = tuple[Role, int]


class Narration:
    """Tells one sample as it is written; what the others write waits until it has ended."""

    def __init__(self) -> None:
        self._untold: dict[_SampleKey, list[str]] = {}  # the first one is being told
        self._begun: _SampleKey | None = None
        self._ended: set[_SampleKey] = set()

    def tell(self, events: Iterable[Event]) -> str:
        """What to add to the text because of `events`; "" for nothing."""
        return "".join(map(self._tell, events))

    def _tell(self, event: Event) -> str:
        if isinstance(event, RoleStarted):
            self._untold[event.role, event.index] = []
        elif isinstance(event, TextAdded):
            self._untold[event.role, event.index].append(event.text)
        elif isinstance(event, SampleFinished):
            self._ended.add((event.sample.role, event.sample.index))
        elif isinstance(event, Solved):
            self._ended.update(self._untold)
        return self._told()

    def _told(self) -> str:
        parts = []
        while self._untold:
            key, texts = next(iter(self._untold.items()))
            if texts and self._begun != key:
                parts.append(f"{key[0].value.replace('_', ' ').capitalize()} {key[1] + 1}:\n")
                self._begun = key
            parts += texts
            texts.clear()
            if key not in self._ended:
                break
            if self._begun == key:
                parts.append("\n\n")
            del self._untold[key]
        return "".join(parts)
