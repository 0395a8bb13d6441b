"""The HTTP interface as one ASGI application."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from lorid_edge import __version__
from lorid_edge.errors import LoridError
from lorid_edge.packs.store import PackStore
from lorid_edge.serve import metrics as prometheus
from lorid_edge.serve.gate import PROTECTED, Gate
from lorid_edge.serve.metrics import CountedRequests, Metrics
from lorid_edge.serve.openai_routes import openai_routes
from lorid_edge.serve.refusals import Refusal, error_body, refusal_of
from lorid_edge.serve.settings import Access, Limits
from lorid_edge.serve.solve_routes import ERRORS, PROTECTION, solve_routes
from lorid_edge.serve.work import Work
from lorid_edge.solver import Solver

_LOGGER = logging.getLogger("lorid_edge.serve")

PAGE_FOLDER = Path(__file__).parent / "page"

_HTTP_KINDS = {404: "not_found", 405: "method_not_allowed", 400: "invalid_request"}


@dataclass(frozen=True)
class Service:
    """The application and the work behind it."""

    application: Any
    work: Work


def make_service(solver: Solver, store: PackStore, access: Access, limits: Limits) -> Service:
    """Everything that is served, on a loaded solver."""
    metrics = Metrics()
    work = Work(solver, limits, metrics)
    app = FastAPI(
        title="lorid-edge",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=ERRORS,
    )
    _answer_errors(app)

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the server can take requests."""
        return {"status": "ok", "version": __version__}

    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}

    @app.get("/metrics", response_class=Response, responses={200: text}, dependencies=PROTECTION)
    async def measured() -> Response:
        """Counters in the text format of Prometheus."""
        measures = metrics.text(work.count, psutil.Process().memory_info().rss)
        return Response(measures, media_type=prometheus.CONTENT_TYPE)

    app.include_router(solve_routes(work, store))
    app.include_router(openai_routes(work))
    if PAGE_FOLDER.is_dir():
        app.router.routes.append(_PageMount("/", _PageFiles(directory=PAGE_FOLDER, html=True)))
    return Service(CountedRequests(Gate(app, access, limits), metrics), work)


class _PageFiles(StaticFiles):
    """Browsers ask each time whether a file is still the same: a newer server has other files."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


class _PageMount(Mount):
    """The page's files; by itself it would also take a GET of what can only be posted to."""

    def matches(self, scope: Any) -> Any:
        if scope["path"].startswith(PROTECTED):
            return Match.NONE, {}
        return super().matches(scope)


def _answer_errors(app: FastAPI) -> None:
    """Give every error the same form."""

    def answer(refusal: Refusal) -> JSONResponse:
        return JSONResponse(error_body(refusal), refusal.status, headers=refusal.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()[:5]
        ]
        return answer(Refusal(422, "invalid_request", "; ".join(problems)))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        kind = _HTTP_KINDS.get(error.status_code, "refused")
        refusal = Refusal(error.status_code, kind, f"{request.url.path}: {error.detail}")
        refusal.headers.update(error.headers or {})
        if error.status_code == 405:  # RFC 9110 wants it; the files of Starlette 1.7 leave it out
            refusal.headers.setdefault("Allow", "GET, HEAD")
        return answer(refusal)

    @app.exception_handler(LoridError)
    async def failed(request: Request, error: LoridError) -> JSONResponse:
        return answer(refusal_of(error))

    @app.exception_handler(Exception)
    async def defective(request: Request, error: Exception) -> JSONResponse:
        _LOGGER.error(
            "%s %s: unexpected %s: %s",
            request.method,
            request.url.path,
            type(error).__name__,
            error,
        )
        return answer(refusal_of(error))
