"""The HTTP server's process: its socket, its connections and its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lorid_edge.errors import LoridError
from lorid_edge.serve.app import Service
from lorid_edge.serve.settings import Limits
from lorid_edge.serve.work import Work

_LOGGER = logging.getLogger("lorid_edge.serve")

SEND_BUFFER_BYTES = 16_384
"""What is kept for a reader, once by the system and once here, before it counts as slow. Its
events are then merged where they come from, so that many slow readers take little memory."""

EARLY_BYTES = 16_384
"""What a client may send before it has its answer, for its next requests."""

_KEEP_ALIVE_PROBE_SECONDS = 30
_TICK_SECONDS = 0.05
_CLOSING_SECONDS = 1


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port`; port 0 takes a free one.

    Raises:
        LoridError: the address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=512)
        # Its connections inherit it; else the system keeps megabytes for each slow reader.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        return listener
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = "Give an address of this machine as --host, and a --port that you may use."
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            advice = "Another program uses it; give another --port, or 0 for any that is free."
        raise LoridError(f"Cannot listen on {host}, port {port}: {reason}. {advice}") from error


def serve(
    service: Service, listener: socket.socket, limits: Limits, announce: Callable[[], None]
) -> int:
    """Serve until SIGTERM or SIGINT; returns the signal's number.

    Args:
        announce: called once requests, and signals, are heard.
    """
    config = uvicorn.Config(
        service.application,
        http=_protocol(limits),
        ws="none",
        lifespan="off",
        loop="asyncio",
        access_log=False,
        log_config=None,
        log_level="error" if _LOGGER.isEnabledFor(logging.DEBUG) else "critical",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.max_connections + 1,  # uvicorn refuses the one that reaches it
        timeout_graceful_shutdown=_CLOSING_SECONDS,
        h11_max_incomplete_event_size=16_384,
    )
    server = _Server(config, service.work, announce)
    asyncio.run(server.serve(sockets=[listener]))
    return server.received_signal


class _Server(uvicorn.Server):
    """Lets work finish for a while before it closes, then cancels it."""

    def __init__(self, config: uvicorn.Config, work: Work, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._work = work
        self._announce = announce
        self.received_signal = 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's own, it does not raise the signal again at the end."""
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.received_signal = sig
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._work.stop()
        for server in self.servers:
            server.close()
        waits = int(self._work.limits.stop_seconds / _TICK_SECONDS)
        for _ in range(waits):
            if self._work.count == 0 or self.force_exit:
                break
            await asyncio.sleep(_TICK_SECONDS)
        self._work.cancel_all()
        await super().shutdown(sockets)


def _protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's protocol, which by itself waits forever for headers, and for a client to read."""

    class BoundedProtocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            _probe_half_open(transport)
            transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES)
            self._silence = self.loop.call_later(limits.receive_seconds, self._end_if_silent)
            self._slowness: asyncio.TimerHandle | None = None

        def connection_lost(self, exc: Exception | None) -> None:
            self._silence.cancel()
            self.resume_writing()
            super().connection_lost(exc)

        def handle_events(self) -> None:
            """Read on where uvicorn stops, at what comes early: else nobody notices the end."""
            super().handle_events()
            if self.flow.read_paused and self.conn.their_state is not h11.SEND_BODY:
                early, _ = self.conn.trailing_data
                if len(early) > EARLY_BYTES:
                    self.transport.abort()
                else:
                    self.flow.resume_reading()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._silence.cancel()
            wait_seconds = self.timeout_keep_alive + limits.receive_seconds
            self._silence = self.loop.call_later(wait_seconds, self._end_if_silent)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._slowness = self.loop.call_later(limits.send_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._slowness is not None:
                self._slowness.cancel()

        def _end_if_silent(self) -> None:
            """End it if the headers of the next request, or the reading of the last, still lack.

            So does the rest of a body that was answered before it had come.
            """
            is_answered = self.cycle is not None and self.cycle.response_complete
            if is_answered or self.conn.their_state is h11.IDLE or self.transport.is_closing():
                self.transport.abort()

    return BoundedProtocol


def _probe_half_open(transport: Any) -> None:
    """Let the system ask whether a silent client still exists."""
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEP_ALIVE_PROBE_SECONDS),
        ("TCP_KEEPINTVL", _KEEP_ALIVE_PROBE_SECONDS // 3),
        ("TCP_KEEPCNT", 3),
    ):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
