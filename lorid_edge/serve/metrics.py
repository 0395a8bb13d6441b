"""Counters in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lorid_edge.loop.solution import Solution

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BUCKETS_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0)


class Metrics:
    """What the server did since it started."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._solves: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._buckets: Counter[float] = Counter()
        self._seconds = 0.0

    def count_request(self, route: str, status: int) -> None:
        """A request was answered; `route` is its pattern, never what a client made up."""
        self._requests[route, status] += 1

    def count_solution(self, solution: Solution) -> None:
        """A problem was solved."""
        self._solves[solution.status.value] += 1
        for kind in ("prompt", "cached", "generated", "forced"):
            self._tokens[kind] += getattr(solution.tokens, kind)
        self._seconds += solution.seconds.total
        for bound in _BUCKETS_SECONDS:
            self._buckets[bound] += solution.seconds.total <= bound

    def count_unsolved(self, outcome: str) -> None:
        """A problem was `cancelled` or `failed`."""
        self._solves[outcome] += 1

    def text(self, jobs: int, resident_bytes: int) -> str:
        """All of it.

        Args:
            jobs: problems that are being solved or wait.
            resident_bytes: memory of this process.
        """
        solved = sum(n for key, n in self._solves.items() if key not in ("cancelled", "failed"))
        seconds = "lorid_edge_solve_seconds"
        lines = [
            "# TYPE lorid_edge_requests_total counter",
            *(
                f'lorid_edge_requests_total{{route="{route}",status="{status}"}} {count}'
                for (route, status), count in sorted(self._requests.items())
            ),
            "# TYPE lorid_edge_solves_total counter",
            *(
                f'lorid_edge_solves_total{{outcome="{outcome}"}} {count}'
                for outcome, count in sorted(self._solves.items())
            ),
            "# TYPE lorid_edge_tokens_total counter",
            *(
                f'lorid_edge_tokens_total{{kind="{kind}"}} {count}'
                for kind, count in sorted(self._tokens.items())
            ),
            f"# TYPE {seconds} histogram",
            *(f'{seconds}_bucket{{le="{b:g}"}} {self._buckets[b]}' for b in _BUCKETS_SECONDS),
            f'{seconds}_bucket{{le="+Inf"}} {solved}',
            f"{seconds}_sum {self._seconds:.4f}",
            f"{seconds}_count {solved}",
            "# TYPE lorid_edge_jobs gauge",
            f"lorid_edge_jobs {jobs}",
            "# TYPE process_resident_memory_bytes gauge",
            f"process_resident_memory_bytes {resident_bytes}",
        ]
        return "\n".join(lines) + "\n"


class CountedRequests:
    """ASGI middleware that counts answers by route and status."""

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                self._metrics.count_request(route, message["status"])
            await send(message)

        await self._app(scope, receive, counted)
