"""What the server allows: to whom, and how much."""

from __future__ import annotations

from dataclasses import dataclass, fields

from lorid_edge.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """Bounds on what clients may ask for. All have to be more than 0.

    Attributes:
        body_bytes: the body of one request.
        question_characters: one question.
        rounds: most rounds that a request may set.
        solve_seconds: one solve, whatever the request says; then it gives its best answer so far.
        queue_length: requests that wait; more are refused with 429.
        connections: open at the same time; more are refused with 503.
        receive_seconds: for a client to send its headers, and again its body.
        send_seconds: for a client to take what is sent; then its work is stopped.
        stop_seconds: for what runs to finish when the server is to stop; then it is cancelled.
    """

    body_bytes: int = 262_144
    question_characters: int = 8_000
    rounds: int = 32
    solve_seconds: float = 600.0
    queue_length: int = 64
    connections: int = 256
    receive_seconds: float = 10.0
    send_seconds: float = 30.0
    stop_seconds: float = 2.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < float("inf"):
                raise UsageError(f"{field.name} is {value}; it has to be more than 0 and finite.")


@dataclass(frozen=True)
class Access:
    """Who may talk to the server.

    Attributes:
        token: what clients send as `Authorization: Bearer TOKEN`; None to let everyone in.
        host_names: names besides localhost that a request may give as its Host.
        origins: web origins, such as http://localhost:3000, whose pages may send requests.
        any_address: whether Host may be any IP address, as when listening on other interfaces.
    """

    token: str | None
    host_names: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    any_address: bool = False
