"""Which of the answers of one problem are right."""

from __future__ import annotations


class Judge:
    """Compares answers with the reference of one problem, each distinct one once.

    Expressions are compared in another process, which may take seconds; many samples say the same.
    """

    def __init__(self, reference: str) -> None:
        from lorid_edge.answers import reference_answer

        self._reference = reference_answer(reference)
        self._known: dict[str, bool] = {}

    def is_right(self, answer: str | None) -> bool:
        """Whether `answer` equals the reference; no answer is not right."""
        from lorid_edge.answers import same_answer

        if answer is None:
            return False
        if answer not in self._known:
            self._known[answer] = same_answer(answer, self._reference)
        return self._known[answer]
