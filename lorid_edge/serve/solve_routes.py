"""The server's own routes: /v1/solve and /v1/packs."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

from lorid_edge.loop.solution import Solution
from lorid_edge.packs.catalogue import describe_packs
from lorid_edge.packs.store import PackStore
from lorid_edge.serve.event_stream import (
    EVENT_STREAM_TYPE,
    EventEncoder,
    EventStream,
    until_disconnected,
)
from lorid_edge.serve.refusals import Refusal
from lorid_edge.serve.requests import ErrorBody, PackList, SolveRequest
from lorid_edge.serve.work import Job, Work

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody}
    for status in (400, 401, 403, 404, 405, 408, 413, 421, 422, 429, 500, 503)
}

_TOKEN = HTTPBearer(auto_error=False, description="The token printed at the start.")
PROTECTION = [Depends(_TOKEN)]
"""For the served description alone: the gate has checked the token before any route."""

EVENTS: dict[str, Any] = {"content": {EVENT_STREAM_TYPE: {}}}


def solve_routes(work: Work, store: PackStore) -> APIRouter:
    """The routes, on the work of one solver."""
    router = APIRouter(dependencies=PROTECTION)

    @router.post("/v1/solve", response_model=None, responses={200: {"model": Solution, **EVENTS}})
    async def solve(body: SolveRequest, request: Request) -> Any:
        """Solve a problem: the solution as JSON, or its events as they happen."""
        settings = body.settings(work.limits, work.solver.width)
        is_stream = body.stream or (body.stream is None and _wants_events(request))

        def begin() -> Job:
            return work.begin(body.question, settings, with_events=is_stream)

        if is_stream:
            return EventStream(begin, EventEncoder())
        solution = await finish(begin(), request)
        return JSONResponse(solution.to_dict())

    @router.get("/v1/packs")
    def packs() -> PackList:
        """The packs known, which are here, and which one is loaded."""
        loaded = work.solver.loaded.workplace.manifest.name
        return PackList.model_validate({"packs": describe_packs(store, loaded)})

    return router


async def finish(job: Job, request: Request) -> Solution:
    """The job's solution; a client that goes away ends the job.

    Raises:
        Refusal: the client went away.
    """
    with job:
        solving = asyncio.ensure_future(job.solution())
        watching = asyncio.ensure_future(until_disconnected(request.receive))
        try:
            await asyncio.wait({solving, watching}, return_when=asyncio.FIRST_COMPLETED)
            if solving.done():
                return solving.result()
        finally:
            solving.cancel()
            watching.cancel()
    raise Refusal(400, "disconnected", "The client went away.")


def _wants_events(request: Request) -> bool:
    return EVENT_STREAM_TYPE in request.headers.get("accept", "")
