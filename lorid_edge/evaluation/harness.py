"""A pack as a model of lm-evaluation-harness (`lm_eval`); needs the extra `harness`.

    python -m lorid_edge.evaluation.harness run --model lorid-edge \\
        --model_args pack=small,policy=adaptive --tasks my_task --include_path tasks

is `lm_eval` with one more model. In Python, give `PackModel(pack="small")` to
`lm_eval.simple_evaluate`.

The harness asks for a continuation of a text; a pack answers a question. So the whole text is the
question, and the answer alone, normalised, is what comes back: tasks have to generate, to show
no examples (`num_fewshot` 0, a pack has its own), and to compare with the answer. Temperature and
other sampling settings of a task have no meaning here; `until` is heeded.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from lorid_edge.errors import ContextOverflowError, LoridError, UsageError
from lorid_edge.loading import LoadSettings
from lorid_edge.solver import DEFAULT_PACK, DEFAULT_POLICY, Solver, SolveSettings

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import register_model
except ImportError as error:
    raise LoridError(
        "lm-evaluation-harness is not installed. Run: pip install 'lorid-edge[harness]'"
    ) from error

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

MODEL_NAME = "lorid-edge"

_logger = logging.getLogger(__name__)


@register_model(MODEL_NAME)
class PackModel(LM):
    """A loaded pack that the harness can ask. `close` it, or let the process end.

    Args:
        pack: a name or the path of a pack's folder.
        width, in_flight, threads: see `LoadSettings`.
        policy, max_rounds, max_seconds, seed, calculator: see `SolveSettings`. Where a task asks a
            question several times, each time has a seed of its own, from `seed` on.
        batch_size, max_batch_size, device: the harness always says them; they have no meaning here.

    Raises:
        what `Solver.open` raises.
    """

    def __init__(
        self,
        pack: str = DEFAULT_PACK,
        *,
        policy: str = DEFAULT_POLICY,
        width: int = 4,
        in_flight: int = 8,
        threads: int | None = None,
        max_rounds: int | None = None,
        max_seconds: float | None = None,
        seed: int = 0,
        calculator: bool = True,
        batch_size: Any = None,
        max_batch_size: Any = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        # Refuse what is wrong before anything is loaded.
        self._settings = SolveSettings(policy, max_rounds, seed, max_seconds, calculator)
        load = LoadSettings(width=width, in_flight=in_flight, threads=threads)
        self._solver = Solver.open(pack, settings=load)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The answer to each request's text; "" where there is none.

        A question that is too long for the context has no answer, with a warning.
        """
        replies = [""] * len(requests)
        for repetition, places in enumerate(self._by_repetition(requests)):
            questions = [_question(requests[place]) for place in places]
            settings = replace(self._settings, seed=self._settings.seed + repetition)
            with closing(self._solver.solve_many(questions, settings=settings)) as solutions:
                for position, solution in solutions:
                    request = requests[places[position]]
                    reply = _until(solution.answer or "", request.args[1])
                    replies[places[position]] = reply
                    self.cache_hook.add_partial("generate_until", request.args, reply)
        return replies

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> NoReturn:
        """Refused: raises UsageError."""
        raise UsageError(
            "A pack answers questions; it gives no likelihood of a text. Of lm-evaluation-harness "
            "only tasks with output_type: generate_until can be run."
        )

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> NoReturn:
        """Refused: raises UsageError."""
        self.loglikelihood(requests)

    def close(self) -> None:
        """Free the pack."""
        self._solver.close()

    def _by_repetition(self, requests: list[Instance]) -> list[list[int]]:
        """The places of the requests that fit: each question once in each list."""
        seen: defaultdict[str, int] = defaultdict(int)
        lists: list[list[int]] = []
        for place, request in enumerate(requests):
            question = _question(request)
            try:
                self._solver.check(question)
            except ContextOverflowError as error:
                _logger.warning("request %d has no answer: %s", place, error)
                continue
            if seen[question] == len(lists):
                lists.append([])
            lists[seen[question]].append(place)
            seen[question] += 1
        return lists


def _question(request: Instance) -> str:
    return str(request.args[0]).strip()


def _until(text: str, settings: dict[str, Any]) -> str:
    """The text up to the first of the task's stops."""
    stops = settings.get("until") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        if stop:
            text = text.partition(stop)[0]
    return text


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
