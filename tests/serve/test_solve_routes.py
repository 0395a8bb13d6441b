"""/v1/solve and its neighbours on a real server: the same as the Python API, as JSON and events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from running_server import (
    QUESTION,
    SOLVE_BRIEFLY,
    SOLVE_LONG,
    RunningServer,
    server_events,
)

from lorid_edge import Solver
from lorid_edge.errors import CancelledError, EngineError
from lorid_edge.loading import LoadSettings
from lorid_edge.packs.store import PackStore
from lorid_edge.serve.app import make_service
from lorid_edge.serve.settings import Access, Limits
from lorid_edge.solver import SolveSettings


@pytest.fixture(scope="module")
def solver(tiny_home: Path, brief_pack: Path) -> Iterator[Solver]:
    settings = LoadSettings(width=2)
    with Solver.open(brief_pack, settings=settings, store=PackStore(tiny_home)) as solver:
        yield solver


def without_times(solution: dict[str, Any]) -> dict[str, Any]:
    limits = {**solution["settings"], "max_seconds": None}  # the server always sets one
    return {**solution, "seconds": None, "settings": limits}


def test_the_solution_is_that_of_the_python_api(client: httpx.Client, solver: Solver) -> None:
    body = {"question": QUESTION, "policy": "paper", "max_rounds": 2, "seed": 7}
    answered = client.post("/v1/solve", json=body)
    assert answered.status_code == 200
    expected = solver.solve(QUESTION, settings=SolveSettings("paper", max_rounds=2), seed=7)
    assert without_times(answered.json()) == without_times(expected.to_dict())


@pytest.mark.parametrize("ask", [{"json": {"stream": True}}, {"accept": "text/event-stream"}])
def test_the_events_are_those_of_the_python_api(
    client: httpx.Client, solver: Solver, ask: dict[str, Any]
) -> None:
    settings = SolveSettings("paper", max_rounds=2)
    body = {"question": QUESTION, "policy": "paper", "max_rounds": 2, **ask.get("json", {})}
    headers = {"Accept": ask["accept"]} if "accept" in ask else {}
    with client.stream("POST", "/v1/solve", json=body, headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = list(server_events(response))
    expected = [(e.name, e.to_dict()) for e in solver.stream(QUESTION, settings=settings)]
    assert events[-1][0] == "solved"
    solution, expected_solution = events[-1][1]["solution"], expected[-1][1]["solution"]
    assert without_times(solution) == without_times(expected_solution)
    assert told(events) == told(expected)


def test_no_character_of_a_question_breaks_a_line_of_events(client: httpx.Client) -> None:
    """Python's `splitlines` and others break lines at these too, though the standard does not."""
    question = "What is 1 + 1?\u2028\u2029\x85 \u03c0"
    body = {"question": question, "policy": "ir", "stream": True}
    with client.stream("POST", "/v1/solve", json=body) as response:
        *_, (name, last) = server_events(response)
    assert (name, last["solution"]["question"]) == ("solved", question)


def told(events: list[tuple[str, Any]]) -> tuple[dict[str, str], list[Any]]:
    """Text by sample, and the other events: text may come in other portions if reading is slow."""
    texts: dict[str, str] = {}
    others = []
    for name, data in events[:-1]:
        if name == "text_added":
            key = f"{data['role']} {data['index']}"
            texts[key] = texts.get(key, "") + data["text"]
        else:
            others.append((name, data))
    return texts, others


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({}, 422, "invalid_request"),
        ({"question": ""}, 422, "invalid_request"),
        ({"question": "  \n"}, 400, "invalid_request"),
        ({"question": "x", "policy": "fast"}, 422, "invalid_request"),
        ({"question": "x", "max_rounds": 0}, 422, "invalid_request"),
        ({"question": "x", "max_rounds": 1000}, 422, "invalid_request"),
        ({"question": "x", "seed": 2**70}, 422, "invalid_request"),
        ({"question": "x", "max_seconds": -1}, 422, "invalid_request"),
        ({"question": "x", "stream": 0}, 422, "invalid_request"),
        ({"question": "x", "unknown": 1}, 422, "invalid_request"),
        ({"question": "x" * 9000}, 400, "question_too_long"),
        ({"question": "how many " * 800}, 400, "question_too_long"),
        ({"question": "how many " * 800, "stream": True}, 400, "question_too_long"),
    ],
)
def test_what_cannot_be_solved_is_refused_before_anything_is_generated(
    server: RunningServer, client: httpx.Client, body: dict[str, Any], status: int, kind: str
) -> None:
    refused = client.post("/v1/solve", json=body)
    assert refused.status_code == status, refused.text
    assert refused.json()["error"]["type"] == kind
    assert refused.json()["error"]["message"]
    assert server.jobs() == 0


class FailingStream:
    """A stream that cannot be read."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def queue(self) -> None:
        pass

    def cancel(self) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        raise self._error


class FailingSolver:
    """A solver that takes a question and then fails."""

    def __init__(self, error: Exception) -> None:
        self.loaded = SimpleNamespace(
            workplace=SimpleNamespace(manifest=SimpleNamespace(name="failing"))
        )
        self.width = 1
        self._error = error

    def check(self, question: str) -> None:
        pass

    def stream(self, question: str, settings: SolveSettings) -> FailingStream:
        return FailingStream(self._error)


@pytest.mark.parametrize(
    ("error", "kind", "outcome"),
    [
        (EngineError("out of cells"), "failed", "failed"),
        (CancelledError("stopped"), "cancelled", "cancelled"),
        (ZeroDivisionError("secret"), "defect", "failed"),
    ],
)
def test_a_stream_that_fails_says_so_and_counts_as_failed(
    tmp_path: Path, error: Exception, kind: str, outcome: str
) -> None:
    solver: Any = FailingSolver(error)
    application = make_service(solver, PackStore(tmp_path), Access(None), Limits()).application

    async def ask() -> tuple[str, str]:
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        address = "http://localhost"
        async with httpx.AsyncClient(transport=transport, base_url=address) as client:
            body = {"question": "What is 1 + 1?", "stream": True}
            events = (await client.post("/v1/solve", json=body)).text
            return events, (await client.get("/metrics")).text

    events, metrics = asyncio.run(ask())
    assert "event: error\n" in events
    assert f'"type": "{kind}"' in events
    assert "secret" not in events
    assert f'lorid_edge_solves_total{{outcome="{outcome}"}} 1\n' in metrics
    assert "lorid_edge_jobs 0\n" in metrics


@pytest.mark.parametrize(
    "content",
    [
        b'{"question": "lone \\ud800"}',
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"question": NaN}',
        b"\xff\xfe",
        b"1" * 10_000,
    ],
)
def test_what_is_no_json_is_refused(client: httpx.Client, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    refused = client.post("/v1/solve", content=content, headers=headers)
    assert refused.status_code in (400, 422)
    assert refused.json()["error"]["type"] == "invalid_request"


def test_the_packs_are_listed_with_the_one_that_is_loaded(client: httpx.Client) -> None:
    packs = {pack["name"]: pack for pack in client.get("/v1/packs").json()["packs"]}
    assert {"tiny", "small", "standard", "brief"} <= packs.keys()
    assert packs["tiny"].keys() == {"name", "description", "present", "loaded"}
    assert packs["tiny"]["present"]
    assert [name for name, pack in packs.items() if pack["loaded"]] == ["brief"]


def test_health_and_metrics_tell_of_the_work(server: RunningServer, client: httpx.Client) -> None:
    before = server.metric("lorid_edge_solve_seconds_count")
    client.post("/v1/solve", json=SOLVE_BRIEFLY)
    assert server.metric("lorid_edge_solve_seconds_count") == before + 1
    assert server.metric('lorid_edge_requests_total{route="/v1/solve",status="200"}') > 0
    assert server.metric("process_resident_memory_bytes") > 50_000_000
    assert client.get("/health").json()["status"] == "ok"


def test_paths_that_do_not_exist_have_the_same_form_of_error(client: httpx.Client) -> None:
    for path, status in (("/v1/nothing", 404), ("/v1/solve", 405)):
        refused = client.get(path)
        assert refused.status_code == status
        assert refused.json()["error"].keys() == {"type", "message"}


def test_the_page_is_asked_for_again_but_not_sent_again(client: httpx.Client) -> None:
    first = client.get("/")
    again = client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-cache"


def test_health_can_be_asked_for_its_headers_alone(client: httpx.Client) -> None:
    answered = client.head("/health")
    assert (answered.status_code, answered.content) == (200, b"")


def test_a_refused_method_is_told_what_is_allowed(client: httpx.Client) -> None:
    assert client.get("/v1/solve").headers["Allow"] == "POST"
    assert "GET" in client.request("TRACE", "/health").headers["Allow"]


def test_too_many_requests_are_told_when_to_come_again(
    start_server: Callable[..., RunningServer],
) -> None:
    server = start_server("--queue-length", "1")
    with server.client() as client, contextlib.ExitStack() as accepted:
        for _ in range(2):
            request = client.stream("POST", "/v1/solve", json={**SOLVE_LONG, "stream": True})
            assert accepted.enter_context(request).status_code == 200
        for more in ({}, {"stream": True}):
            refused = client.post("/v1/solve", json={**SOLVE_BRIEFLY, **more})
            assert refused.status_code == 429
            assert refused.json()["error"]["type"] == "too_many_requests"
            assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_the_limits_can_be_set(start_server: Callable[..., RunningServer]) -> None:
    server = start_server(
        *("--max-body-bytes", "300", "--max-question-characters", "20"),
        *("--max-rounds", "2", "--max-seconds", "0.01"),
    )
    with server.client() as client:
        large = client.post("/v1/solve", json={"question": "x" * 400})
        assert (large.status_code, large.json()["error"]["type"]) == (413, "too_large")
        long = client.post("/v1/solve", json={"question": "x" * 30})
        assert (long.status_code, long.json()["error"]["type"]) == (400, "question_too_long")
        assert (
            client.post("/v1/solve", json={"question": "1+1?", "max_rounds": 3}).status_code == 422
        )
        late = client.post("/v1/solve", json={"question": "1+1?", "max_seconds": 100}).json()
        assert late["status"] == "undecided"
        assert late["settings"]["max_seconds"] == 0.01
        own = client.post("/v1/solve", json={"question": "1+1?", "policy": "paper"}).json()
        assert own["settings"]["max_rounds"] == 2  # the policy's own are 5
