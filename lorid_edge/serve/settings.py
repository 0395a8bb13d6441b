"""What the server allows: to whom, and how much."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from lorid_edge.errors import UsageError

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s/?#@:\[\]]+|\[[0-9a-f:.]+\])(:[0-9]+)?/?")
_USUAL_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class Limits:
    """Bounds on what clients may ask for, by the names of their options. All are more than 0.

    Attributes:
        max_body_bytes: the body of one request.
        max_question_characters: one question.
        max_rounds: of one solve; a request that sets more is refused.
        max_seconds: one solve, whatever the request says; then it gives its best answer so far.
        queue_length: requests that wait; more are refused with 429.
        max_connections: open at the same time; more are refused with 503.
        receive_seconds: for a client to send its headers, and again its body.
        send_seconds: for a client to take what is sent; then its work is stopped.
        stop_seconds: for what runs to finish when the server is to stop; then it is cancelled.
    """

    max_body_bytes: int = 262_144
    max_question_characters: int = 8_000
    max_rounds: int = 32
    max_seconds: float = 600.0
    queue_length: int = 64
    max_connections: int = 256
    receive_seconds: float = 10.0
    send_seconds: float = 30.0
    stop_seconds: float = 2.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < float("inf"):
                option = f"--{field.name.replace('_', '-')}"
                raise UsageError(f"{option} is {value}; it has to be more than 0 and finite.")


@dataclass(frozen=True)
class Access:
    """Who may talk to the server.

    Attributes:
        token: what clients send as `Authorization: Bearer TOKEN`; None to let everyone in.
        host_names: names besides localhost that a request may give as its Host, in small letters.
        origins: web origins, as `web_origin` gives them, whose pages may send requests.
        any_address: whether Host may be any IP address, as when listening on other interfaces.
    """

    token: str | None
    host_names: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    any_address: bool = False


def web_origin(text: str) -> str:
    """`text` as a browser writes it in Origin: in small letters, without a usual port or a path.

    Raises:
        UsageError: it is no scheme and host.
    """
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        raise UsageError(
            f"--allow-origin is '{text}'; it has to be a scheme and a host, with a port unless it "
            "is the usual one, such as http://localhost:3000."
        )
    scheme, host, port = found.groups(default="")
    return f"{scheme}://{host}{'' if port == _USUAL_PORTS.get(scheme) else port}"
