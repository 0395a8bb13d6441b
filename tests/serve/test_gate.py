"""Who gets in: token, Host, Origin, and what a page of another site can and cannot do."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from running_server import COMMAND, SOLVE_BRIEFLY, RunningServer, environment

from lorid_edge.errors import UsageError
from lorid_edge.serve.settings import web_origin

PROTECTED = ["/v1/packs", "/v1/models", "/metrics"]


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", "Basic {token}", "{token}", "Bearer \xff"]
)
def test_without_the_token_nobody_gets_in(
    server: RunningServer, path: str, authorization: str | None
) -> None:
    headers = {}
    if authorization is not None:
        headers["Authorization"] = authorization.format(token=server.token).encode("latin-1")
    refused = httpx.get(server.address + path, headers=headers)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["error"]["type"] == "unauthorized"


def test_no_spelling_of_a_path_gets_around_the_token(server: RunningServer) -> None:
    for path in ("//v1/packs", "/V1/packs", "/%76%31/packs", "/v1%2fpacks", "/./v1/packs"):
        with server.connect() as connection:
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            answer = connection.makefile("rb").read()
        assert answer.split()[1] in (b"401", b"404"), path
        assert b'"packs"' not in answer


def test_page_and_health_need_no_token_and_tell_no_secret(server: RunningServer) -> None:
    for path in ("/health", "/openapi.json"):
        answered = httpx.get(server.address + path)
        assert answered.status_code == 200
        assert server.token not in answered.text


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "169.254.1.1", "[::", ""]
)
@pytest.mark.parametrize("path", ["/health", "/v1/packs", "/"])
def test_a_name_that_was_bound_to_this_machine_is_refused(
    server: RunningServer, path: str, host: str
) -> None:
    """DNS rebinding: the browser takes evil.example to be 127.0.0.1 and sends its name as Host."""
    refused = httpx.get(server.address + path, headers={**server.headers, "Host": host})
    assert refused.status_code == 421
    assert refused.json()["error"]["type"] == "wrong_host"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "LOCALHOST", "[::1]:99"])
def test_names_of_this_machine_are_let_in(server: RunningServer, host: str) -> None:
    answered = httpx.get(server.address + "/v1/packs", headers={**server.headers, "Host": host})
    assert answered.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},  # another port is another origin
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_may_not_ask_even_without_a_token(
    start_server: Callable[..., RunningServer], headers: dict[str, str]
) -> None:
    """Cross-site requests: a form or a script elsewhere sends what a browser lets it send."""
    server = start_server("--no-token")
    assert server.token is None
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        refused = httpx.post(
            server.address + "/v1/solve",
            content=b'{"question": "What is 1 + 1?"}',
            headers={**headers, "Content-Type": content_type},
        )
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers
    assert httpx.get(server.address + "/v1/packs", headers=headers).status_code == 403
    preflight = httpx.options(
        server.address + "/v1/solve", headers={"Access-Control-Request-Method": "POST", **headers}
    )
    assert "access-control-allow-origin" not in preflight.headers
    own = {"Origin": server.address, "Sec-Fetch-Site": "same-origin"}
    solved = httpx.post(server.address + "/v1/solve", json=SOLVE_BRIEFLY, headers=own, timeout=60)
    assert solved.status_code == 200


def test_names_and_origins_can_be_let_in(start_server: Callable[..., RunningServer]) -> None:
    origin = "http://localhost:3000"
    server = start_server("--allow-origin", f"{origin}/", "--allow-host", "Laptop.lan:8127")
    asked = {"Access-Control-Request-Method": "POST", "Origin": origin}
    preflight = httpx.options(server.address + "/v1/solve", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == origin
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    names = "authorization, x-stainless-os"  # of OpenAI's client for browsers
    preflight = httpx.options(
        server.address + "/v1/solve", headers={**asked, "Access-Control-Request-Headers": names}
    )
    assert preflight.headers["access-control-allow-headers"] == names
    headers = {**server.headers, "Origin": origin, "Host": "laptop.lan:8127"}
    solved = httpx.post(
        server.address + "/v1/solve", json=SOLVE_BRIEFLY, headers=headers, timeout=60
    )
    assert solved.status_code == 200
    assert solved.headers["access-control-allow-origin"] == origin
    assert solved.headers["access-control-expose-headers"] == "retry-after"
    assert httpx.post(server.address + "/v1/solve", headers={"Origin": origin}).status_code == 401


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("HTTP://LocalHost:3000", "http://localhost:3000"),
        ("https://example.org/", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://example.org:443", "http://example.org:443"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_an_origin_is_taken_as_browsers_write_it(text: str, origin: str) -> None:
    assert web_origin(text) == origin


@pytest.mark.parametrize(
    "text", ["", "*", "null", "localhost:3000", "http://", "http://a.example/page", "http://a:b"]
)
def test_what_is_no_origin_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="--allow-origin"):
        web_origin(text)


def test_pages_are_held_to_this_server(server: RunningServer) -> None:
    answered = httpx.get(server.address + "/health")
    policy = answered.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answered.headers["x-content-type-options"] == "nosniff"


def refusal_to_start(home: Path, *arguments: str, token: str | None = None) -> tuple[int, str]:
    variables = environment(home) | ({} if token is None else {"LORID_EDGE_TOKEN": token})
    child = subprocess.run(
        [COMMAND, "serve", "--pack", "tiny", "--port", "0", *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return child.returncode, child.stderr


def test_other_machines_are_never_let_in_without_a_token(tiny_home: Path) -> None:
    code, message = refusal_to_start(tiny_home, "--host", "0.0.0.0", "--no-token")
    assert code == 2
    assert "--no-token" in message


@pytest.mark.parametrize("token", ["short", "has a space", "schlüssel123"])
def test_a_token_that_cannot_be_sent_or_is_short_is_refused(tiny_home: Path, token: str) -> None:
    code, message = refusal_to_start(tiny_home, token=token)
    assert code == 2
    assert "LORID_EDGE_TOKEN" in message
    assert token not in message


def test_on_another_interface_addresses_are_let_in_and_names_are_not(
    start_server: Callable[..., RunningServer],
) -> None:
    server = start_server("--host", "0.0.0.0")
    port = server.address.rpartition(":")[2]
    for host, status in (("192.168.1.7", 200), ("evil.example", 421)):
        headers = {**server.headers, "Host": host}
        answered = httpx.get(f"http://127.0.0.1:{port}/v1/packs", headers=headers)
        assert answered.status_code == status


def test_the_name_that_it_listens_on_is_let_in(start_server: Callable[..., RunningServer]) -> None:
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        pytest.skip("this machine's name has no address")
    server = start_server("--host", name)
    assert httpx.get(server.address + "/v1/packs", headers=server.headers).status_code == 200


def test_the_token_can_be_given_by_the_environment(
    tiny_home: Path, tmp_path: Path, brief_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("running_server.environment", lambda home: {
        **os.environ, "LORID_EDGE_HOME": str(home), "LORID_EDGE_TOKEN": "chosen-by-me"
    })  # fmt: skip
    server = RunningServer(tiny_home, tmp_path / "log", "--pack", str(brief_pack))
    try:
        assert server.token == "chosen-by-me"
        assert httpx.get(server.address + "/v1/packs", headers=server.headers).status_code == 200
    finally:
        server.stop()
