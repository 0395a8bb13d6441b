"""A job's events as a response that goes on while the job does (server-sent events)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from fastapi import Response

from lorid_edge.errors import LoridError
from lorid_edge.loop.events import Event
from lorid_edge.serve.refusals import Refusal, error_body, refusal_of
from lorid_edge.serve.work import Job

KEEP_ALIVE_SECONDS = 10.0
"""A comment is sent when nothing else was for so long, so that nobody in between hangs up."""

EVENT_STREAM_TYPE = "text/event-stream"

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Encoder(Protocol):
    """How events are written."""

    def start(self) -> bytes:
        """What to send at once, before the work has begun."""

    def encode(self, events: list[Event]) -> bytes:
        """What to send for `events`; b"" for nothing."""

    def encode_error(self, refusal: Refusal) -> bytes:
        """What to send instead of a solution."""

    def end(self) -> bytes:
        """What to send at the very end."""


class EventEncoder:
    """Each event under its own name."""

    def start(self) -> bytes:
        return b": the work begins when its turn comes\n\n"

    def encode(self, events: list[Event]) -> bytes:
        return b"".join(_frame(event.name, event.to_json()) for event in events)

    def encode_error(self, refusal: Refusal) -> bytes:
        return _frame("error", json.dumps(error_body(refusal)))

    def end(self) -> bytes:
        return b""


class EventStream(Response):
    """Begins a job and sends what happens; a client that goes away ends it."""

    def __init__(self, begin: Callable[[], Job], encoder: Encoder) -> None:
        super().__init__()
        self._begin = begin
        self._encoder = encoder

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            job = self._begin()
        except LoridError as error:
            await refusal_of(error)(scope, receive, send)
            return
        with contextlib.suppress(LoridError), job:  # the client was told of it
            writing = asyncio.ensure_future(self._write(job, send))
            watching = asyncio.ensure_future(until_disconnected(receive))
            try:
                await asyncio.wait({writing, watching}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                job.cancel()
                for task in (writing, watching):
                    task.cancel()
                await asyncio.gather(writing, watching, return_exceptions=True)
            if not writing.cancelled():
                writing.result()

    async def _write(self, job: Job, send: Any) -> None:
        async def body(content: bytes, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": content, "more_body": more})

        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await body(self._encoder.start())
        try:
            async for events in _with_pauses(job.batches()):
                content = self._encoder.encode(events) if events else b": waiting\n\n"
                if content:
                    await body(content)
        except Exception as error:
            told = self._encoder.encode_error(refusal_of(error))
            await body(told + self._encoder.end(), more=False)
            raise
        await body(self._encoder.end(), more=False)


async def until_disconnected(receive: Any) -> None:
    """Return when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _with_pauses(batches: AsyncIterator[list[Event]]) -> AsyncIterator[list[Event]]:
    """The batches, with an empty one whenever none came for a while."""
    while True:
        waiting = asyncio.ensure_future(anext(batches))
        try:
            while not (await asyncio.wait({waiting}, timeout=KEEP_ALIVE_SECONDS))[0]:
                yield []
            with contextlib.suppress(StopAsyncIteration):
                yield waiting.result()
                continue
            return
        finally:
            waiting.cancel()


def _frame(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()
