"""The solver for a parent process, in any language: JSON-RPC 2.0, one message a line.

Requests are read in one thread and each is solved in one of its own, in the order in which they
came. docs/protocol.md describes the messages.
"""

from __future__ import annotations

import contextlib
import threading
from typing import IO, Any

from lorid_edge import __version__
from lorid_edge.errors import CancelledError
from lorid_edge.loop.events import Event, Solved
from lorid_edge.packs.catalogue import describe_packs
from lorid_edge.packs.store import PackStore
from lorid_edge.serve import rpc
from lorid_edge.serve.requests import SolveRequest, check_question_length
from lorid_edge.serve.rpc import Call, RequestId, RpcError
from lorid_edge.serve.settings import Limits
from lorid_edge.solver import Solver
from lorid_edge.stream import Stream


class LineServer:
    """Answers the lines of `requests` on `answers`."""

    def __init__(
        self,
        solver: Solver,
        store: PackStore,
        limits: Limits,
        requests: IO[bytes],
        answers: IO[bytes],
    ) -> None:
        self._solver = solver
        self._store = store
        self._limits = limits
        self._requests = requests
        self._answers = answers
        self._writing = threading.Lock()
        self._lock = threading.Lock()
        self._active: dict[RequestId, tuple[Stream[Event], threading.Thread]] = {}

    def run(self) -> None:
        """Serve until `shutdown`, or until the requests end and what was asked is answered."""
        pack = self._solver.loaded.workplace.manifest.name
        self._write(rpc.notification_line("ready", {"pack": pack, "version": __version__}))
        for line in iter(self._next_line, b""):
            if line.isspace():
                continue
            try:
                call = rpc.read_call(line)
            except RpcError as error:
                self._write(rpc.error_line(None, error))
                continue
            if call.method == "shutdown":
                self._cancel_all()
                self._answer(call, None)
                return
            try:
                self._take(call)
            except Exception as error:
                if call.id is not None:
                    self._write(rpc.error_line(call.id, error))
        self._wait_for_all()

    def _next_line(self) -> bytes:
        """The next line; one that is too long is cut off where it is certain to be no JSON."""
        limit = self._limits.max_body_bytes
        line = self._requests.readline(limit)
        rest = line
        while len(rest) == limit and not rest.endswith(b"\n"):
            rest = self._requests.readline(limit)
        return line

    def _take(self, call: Call) -> None:
        if call.method not in ("solve", "cancel", "packs"):
            raise RpcError(
                rpc.METHOD_NOT_FOUND,
                "method_not_found",
                f"There is no method {call.method[:80]!r}. Methods: solve, cancel, packs, "
                "shutdown.",
            )
        params = call.named_params()
        if call.method == "cancel":
            self._cancel(call, params.get("id"))
        elif call.method == "packs":
            loaded = self._solver.loaded.workplace.manifest.name
            self._answer(call, {"packs": describe_packs(self._store, loaded)})
        elif call.id is not None:  # without an id there would be no way to answer
            self._begin(call.id, SolveRequest.model_validate(params))

    def _begin(self, identifier: RequestId, request: SolveRequest) -> None:
        """Give a problem its place among the others and a thread."""
        check_question_length(request.question, self._limits)
        settings = request.settings(self._limits, self._solver.width)
        self._solver.check(request.question)
        with self._lock:
            if identifier in self._active:
                message = f"The id {identifier!r} belongs to a request that is not answered yet."
                raise RpcError(rpc.INVALID_REQUEST, "invalid_request", message)
            if len(self._active) > self._limits.queue_length:
                message = f"{len(self._active)} problems wait already; try again later."
                raise RpcError(rpc.TOO_MANY_REQUESTS, "too_many_requests", message)
            stream = self._solver.stream(request.question, settings=settings)
            stream.queue()
            with_events = request.stream is not False
            thread = threading.Thread(
                target=self._solve,
                args=(identifier, stream, with_events),
                name="lorid-edge-stdio",
                daemon=True,
            )
            self._active[identifier] = stream, thread
        thread.start()

    def _solve(self, identifier: RequestId, stream: Stream[Event], with_events: bool) -> None:
        answer = rpc.error_line(identifier, CancelledError("Cancelled."))
        try:
            for event in stream:
                if with_events:
                    params = {"id": identifier, "event": event.name, "data": event.to_dict()}
                    self._write(rpc.notification_line("event", params))
                if isinstance(event, Solved):
                    answer = rpc.result_line(identifier, event.solution.to_dict())
        except BaseException as error:
            answer = rpc.error_line(identifier, error)
        with self._lock:  # before the answer: then the id may be used again
            del self._active[identifier]
        with contextlib.suppress(OSError):  # nobody reads any more
            self._write(answer)

    def _cancel(self, call: Call, identifier: Any) -> None:
        """Tell whether there is such a request, and cancel it, in this order."""
        if isinstance(identifier, bool) or not isinstance(identifier, str | int):
            message = "id has to be that of the request to cancel."
            raise RpcError(rpc.INVALID_PARAMS, "invalid_request", message)
        with self._lock:
            found = self._active.get(identifier)
        self._answer(call, {"cancelled": found is not None})
        if found is not None:
            found[0].cancel()

    def _cancel_all(self) -> None:
        with self._lock:
            streams = [stream for stream, _ in self._active.values()]
        for stream in streams:
            stream.cancel()
        self._wait_for_all()

    def _wait_for_all(self) -> None:
        with self._lock:
            threads = [thread for _, thread in self._active.values()]
        for thread in threads:
            thread.join()

    def _answer(self, call: Call, result: Any) -> None:
        if call.id is not None:
            self._write(rpc.result_line(call.id, result))

    def _write(self, line: str) -> None:
        with self._writing:
            self._answers.write(line.encode() + b"\n")
            self._answers.flush()
