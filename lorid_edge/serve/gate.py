"""Who gets in: the checks of Host, Origin, token and body that come before any route.

A page of another site can make a browser on this machine send requests here, under a name of its
own that points to 127.0.0.1 (DNS rebinding) or across sites. The first shows in Host, the second in
Origin and Sec-Fetch-Site; both are refused, with or without a token.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from lorid_edge.serve.refusals import Refusal
from lorid_edge.serve.settings import Access, Limits

PROTECTED = ("/v1/", "/metrics")

_SECURITY_HEADERS = [
    (b"content-security-policy", b"default-src 'self'; base-uri 'none'; object-src 'none'; "
     b"form-action 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]  # fmt: skip


class Gate:
    """ASGI middleware that lets in what `Access` and `Limits` allow."""

    def __init__(self, app: Any, access: Access, limits: Limits) -> None:
        self._app = app
        self._access = access
        self._limits = limits

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in
                   reversed(scope["headers"])}  # fmt: skip
        allowed_origin = headers.get("origin") if self._is_listed(headers.get("origin")) else None

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = list(_SECURITY_HEADERS)
                if allowed_origin is not None:
                    extra += _cross_origin_headers(allowed_origin)
                message = {**message, "headers": [*message.get("headers", []), *extra]}
            await send(message)

        try:
            self._check_host(headers)
            self._check_origin(scope, headers)
            if scope["method"] == "OPTIONS" and allowed_origin is not None:
                await _answer_preflight(headers, send_with_headers)
                return
            self._check_token(scope, headers)
            body = await self._read_body(headers, receive)
        except Refusal as refusal:
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, _replay(body, receive), send_with_headers)

    def _check_host(self, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        name = host_name(host)
        if name == "localhost" or name in self._access.host_names:
            return
        address = _address(name)
        if address is not None and (address.is_loopback or self._access.any_address):
            return
        raise Refusal(
            421,
            "wrong_host",
            f"Host is {host[:80]!r}; this server answers to its address and to localhost. "
            "To let it answer to another name, start it with --allow-host NAME.",
        )

    def _check_origin(self, scope: Any, headers: dict[str, str]) -> None:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if self._is_listed(origin):
            return
        if origin is None:
            is_page = not scope["path"].startswith(
                PROTECTED
            )  # a link from elsewhere may lead to it
            if is_page or site in (None, "same-origin", "none"):
                return
        elif origin == f"{scope['scheme']}://{headers.get('host', '')}":
            return
        raise Refusal(
            403,
            "cross_site",
            f"A page of {(origin or 'another site')[:80]} may not send requests here. To let it, "
            "start the server with --allow-origin ORIGIN.",
        )

    def _is_listed(self, origin: str | None) -> bool:
        return origin is not None and origin in self._access.origins

    def _check_token(self, scope: Any, headers: dict[str, str]) -> None:
        token = self._access.token
        if token is None or not scope["path"].startswith(PROTECTED):
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(
            given.strip().encode("latin-1"), token.encode()
        ):
            raise Refusal(
                401,
                "unauthorized",
                "The token is missing or wrong. Send 'Authorization: Bearer TOKEN' with the token "
                "that was printed when the server started.",
                www_authenticate="Bearer",
            )

    async def _read_body(self, headers: dict[str, str], receive: Any) -> bytes:
        """The whole body, within the limits of size and time."""
        limit = self._limits.max_body_bytes
        announced = headers.get("content-length", "0")
        if announced.isdigit() and int(announced[:20]) > limit:
            raise _too_large(limit)

        async def read() -> bytes:
            parts, size, more = [], 0, True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "disconnected", "The client went away.")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                more = message.get("more_body", False)
                if size > limit:
                    raise _too_large(limit)
            return b"".join(parts)

        try:
            return await asyncio.wait_for(read(), self._limits.receive_seconds)
        except asyncio.TimeoutError:
            raise Refusal(
                408,
                "timeout",
                f"The body did not end within {self._limits.receive_seconds:g} s.",
                connection="close",
            ) from None


def _too_large(limit: int) -> Refusal:
    message = f"The body is larger than {limit:,} bytes. Send one question at a time."
    return Refusal(413, "too_large", message, connection="close")


def _replay(body: bytes, receive: Any) -> Any:
    """A `receive` that gives `body`, then what comes after it: the disconnect."""
    pending: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Any:
        return pending.pop() if pending else await receive()

    return replayed


def host_name(host: str) -> str:
    """The name or address in a Host header, without its port; "" if it holds none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _cross_origin_headers(origin: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin.encode()),
        (b"access-control-expose-headers", b"retry-after"),
        (b"vary", b"Origin"),
    ]


async def _answer_preflight(headers: dict[str, str], send: Any) -> None:
    """Allow whatever headers are asked for: clients of OpenAI's protocol send some of their own."""
    asked = headers.get("access-control-request-headers", "authorization, content-type")
    allowed = [
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", asked.encode("latin-1")),
        (b"access-control-max-age", b"600"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": allowed})
    await send({"type": "http.response.body", "body": b""})
