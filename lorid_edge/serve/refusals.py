"""Errors as clients see them: a status and {"error": {"type", "message"}}."""

from __future__ import annotations

import json
from typing import Any

from lorid_edge.errors import (
    CancelledError,
    ContextOverflowError,
    LoridError,
    MemoryShortageError,
    UsageError,
)

JSON_TYPE = b"application/json"

_KINDS: list[tuple[type[LoridError], int, str]] = [
    (UsageError, 400, "invalid_request"),
    (ContextOverflowError, 400, "question_too_long"),
    (CancelledError, 503, "cancelled"),
    (MemoryShortageError, 503, "memory_shortage"),
    (LoridError, 500, "failed"),
]


class Refusal(LoridError):
    """A request that is not served."""

    def __init__(self, status: int, kind: str, message: str, **headers: str) -> None:
        """Args:
        kind: the error's type, for programs.
        headers: of the response; underscores stand for hyphens.
        """
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer as an ASGI application."""
        body = json.dumps(error_body(self)).encode()
        headers = [
            (b"content-type", JSON_TYPE),
            (b"content-length", str(len(body)).encode()),
            *((name.encode(), value.encode()) for name, value in self.headers.items()),
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def refusal_of(error: BaseException) -> Refusal:
    """The refusal that tells a client of `error`; of a defect it tells nothing but that."""
    if isinstance(error, Refusal):
        return error
    for family, status, kind in _KINDS:
        if isinstance(error, family):
            return Refusal(status, kind, str(error))
    return Refusal(500, "defect", "The server failed in a way that was not foreseen; see its log.")


def error_body(refusal: Refusal) -> dict[str, dict[str, str]]:
    """The JSON of an error."""
    return {"error": {"type": refusal.kind, "message": str(refusal)}}
