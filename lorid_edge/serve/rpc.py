"""JSON-RPC 2.0 as it is used here: what a line says, and the lines that answer it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lorid_edge.errors import CancelledError, LoridError
from lorid_edge.serve.refusals import refusal_of

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
FAILED, TOO_MANY_REQUESTS, CANCELLED = -32000, -32001, -32800

RequestId = str | int


class RpcError(LoridError):
    """An error with a code of JSON-RPC."""

    def __init__(self, code: int, kind: str, message: str) -> None:
        """Args:
        kind: the error's type, for programs; the same words as over HTTP.
        """
        super().__init__(message)
        self.code = code
        self.kind = kind


@dataclass(frozen=True)
class Call:
    """A request, or a notification if it has no id."""

    id: RequestId | None
    method: str
    params: Any

    def named_params(self) -> dict[str, Any]:
        """The parameters by name; {} where there are none.

        Raises:
            RpcError: they have no names.
        """
        if self.params is None:
            return {}
        if not isinstance(self.params, dict):
            raise RpcError(INVALID_PARAMS, "invalid_request", "params has to be an object.")
        return self.params


def read_call(line: bytes) -> Call:
    """What a line asks for.

    Raises:
        RpcError: it is not a JSON-RPC 2.0 request.
    """
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RpcError(PARSE_ERROR, "parse_error", f"The line is not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("jsonrpc") != "2.0":
        raise _invalid('A line has to hold one object with "jsonrpc": "2.0".')
    identifier, method = content.get("id"), content.get("method")
    if isinstance(identifier, bool) or not isinstance(identifier, str | int | None):
        raise _invalid("id has to be a string or a whole number.")
    if not isinstance(method, str):
        raise _invalid("method has to be a string.")
    return Call(identifier, method, content.get("params"))


def result_line(identifier: RequestId | None, result: Any) -> str:
    """The answer to a request."""
    return _line({"id": identifier, "result": result})


def notification_line(method: str, params: dict[str, Any]) -> str:
    """A message that needs no answer."""
    return _line({"method": method, "params": params})


def error_line(identifier: RequestId | None, error: BaseException) -> str:
    """The answer to a request that failed; `identifier` is None where it could not be read."""
    told = _rpc_error_of(error)
    content = {"code": told.code, "message": str(told), "data": {"type": told.kind}}
    return _line({"id": identifier, "error": content})


def _rpc_error_of(error: BaseException) -> RpcError:
    if isinstance(error, RpcError):
        return error
    if isinstance(error, CancelledError):
        return RpcError(CANCELLED, "cancelled", str(error))
    if isinstance(error, ValidationError):
        problems = (f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()[:5])
        return RpcError(INVALID_PARAMS, "invalid_request", "; ".join(problems))
    refusal = refusal_of(error)
    code = INVALID_PARAMS if refusal.status < 500 else FAILED
    return RpcError(code, refusal.kind, str(refusal))


def _invalid(message: str) -> RpcError:
    return RpcError(INVALID_REQUEST, "invalid_request", message)


def _line(content: dict[str, Any]) -> str:
    """In ASCII: an id may hold half a character (a lone surrogate), which UTF-8 cannot."""
    return json.dumps({"jsonrpc": "2.0", **content})
