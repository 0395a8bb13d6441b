"""Clients that vanish, stall, flood or lie: the server does its other work and loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from running_server import (
    SOLVE_BRIEFLY,
    SOLVE_LONG,
    RunningServer,
    server_events,
    until,
)

TCP_REPAIR = 19
STREAM_LONG = {**SOLVE_LONG, "stream": True}


def request_bytes(server: RunningServer, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    head = (
        "POST /v1/solve HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def still_solves(server: RunningServer) -> bool:
    with server.client() as client:
        return client.post("/v1/solve", json=SOLVE_BRIEFLY).status_code == 200


# --- going away -----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [SOLVE_LONG, STREAM_LONG], ids=["json", "events"])
@pytest.mark.parametrize(
    "early",
    [b"", b"\r\n", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ids=["nothing", "an empty line", "the next request"],
)
def test_a_client_that_goes_away_stops_its_work(
    server: RunningServer, body: dict[str, Any], early: bytes
) -> None:
    cancelled = server.metric('lorid_edge_solves_total{outcome="cancelled"}')
    connection = server.connect()
    connection.sendall(request_bytes(server, body))
    until(lambda: server.jobs() == 1)
    connection.sendall(early)
    connection.close()
    until(lambda: server.jobs() == 0, seconds=3)
    assert server.metric('lorid_edge_solves_total{outcome="cancelled"}') == cancelled + 1


def test_a_client_that_proposes_another_protocol_is_noticed_too(server: RunningServer) -> None:
    head, _, content = request_bytes(server, SOLVE_LONG).partition(b"\r\n\r\n")
    upgrade = b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"  # what curl --http2 sends
    with server.connect() as connection:
        connection.sendall(head + upgrade + content)
        until(lambda: server.jobs() == 1)
    until(lambda: server.jobs() == 0, seconds=3)


def test_what_is_sent_early_is_kept_and_answered(server: RunningServer) -> None:
    asked = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with server.connect() as connection, connection.makefile("rb") as answers:
        connection.sendall(request_bytes(server, {**SOLVE_LONG, "max_seconds": 1}))
        until(lambda: server.jobs() == 1)
        connection.sendall(asked[:20])
        connection.sendall(asked[20:])
        answered = answers.read()
    assert answered.count(b"HTTP/1.1 200 OK") == 2
    assert b'"status":"ok"' in answered


def test_a_client_that_floods_before_it_is_answered_is_given_up(server: RunningServer) -> None:
    with server.connect() as connection:
        connection.sendall(request_bytes(server, SOLVE_LONG))
        until(lambda: server.jobs() == 1)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"x" * 10_000)
            pytest.fail("ten megabytes were taken")
        until(lambda: server.jobs() == 0, seconds=3)


def test_a_client_that_goes_away_in_the_middle_of_its_prompt(
    tiny_home: Path, tmp_path: Path
) -> None:
    server = RunningServer(tiny_home, tmp_path / "log", "--pack", "tiny", "--width", "1")
    question = "What is this sum? " + " ".join(str(number) for number in range(100, 200))
    try:
        with server.connect() as connection, connection.makefile("rb") as answer:
            body = {"question": question, "policy": "ir", "stream": True}
            connection.sendall(request_bytes(server, body))
            assert any(line.startswith(b"event: role_started") for line in answer)
        until(lambda: server.jobs() == 0, seconds=3)
        assert server.metric('lorid_edge_solves_total{outcome="cancelled"}') == 1
    finally:
        server.stop()


def test_a_half_open_connection(server: RunningServer) -> None:
    """The client's machine is gone: nothing says so until the server sends something."""
    with server.connect() as connection:
        connection.sendall(request_bytes(server, STREAM_LONG))
        until(lambda: server.jobs() == 1)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)  # then close sends nothing
        except OSError:
            pytest.skip("needs Linux and CAP_NET_ADMIN")
    until(lambda: server.jobs() == 0, seconds=5)
    assert still_solves(server)


def test_one_that_waits_and_goes_away_leaves_the_queue(server: RunningServer) -> None:
    with server.client() as client:
        with client.stream("POST", "/v1/solve", json=STREAM_LONG) as running:
            events = server_events(running)
            next(events)
            waiting = server.connect()
            waiting.sendall(request_bytes(server, SOLVE_BRIEFLY))
            until(lambda: server.jobs() == 2)
            waiting.close()
            until(lambda: server.jobs() == 1)
            assert next(events)
        until(lambda: server.jobs() == 0)


def test_a_client_killed_with_signal_9(server: RunningServer) -> None:
    program = (
        "import httpx, sys\n"
        "address, token, body = sys.argv[1:]\n"
        "headers = {'Authorization': f'Bearer {token}', 'Content-Type': 'application/json'}\n"
        "address += '/v1/solve'\n"
        "with httpx.stream('POST', address, content=body, headers=headers) as answer:\n"
        "    for line in answer.iter_lines(): print(line, flush=True)\n"
    )
    assert server.token is not None
    arguments = [server.address, server.token, json.dumps(STREAM_LONG)]
    child = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE)
    assert child.stdout is not None
    while not child.stdout.readline().startswith(b"event:"):
        pass
    assert server.jobs() == 1
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    until(lambda: server.jobs() == 0, seconds=3)
    assert still_solves(server)


# --- stalling -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(
    tiny_home: Any, brief_pack: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server that waits a second for its clients."""
    log = tmp_path_factory.mktemp("impatient") / "log"
    arguments = [
        "--pack",
        str(brief_pack),
        *["--receive-seconds", "1", "--send-seconds", "1", "--max-rounds", "1000"],
    ]
    server = RunningServer(tiny_home, log, *arguments)
    yield server
    server.stop()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /health HT",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Half: ",
    ],
    ids=["nothing", "half a line", "half a header"],
)
def test_headers_that_never_end(impatient: RunningServer, sent: bytes) -> None:
    with impatient.connect() as connection:
        connection.sendall(sent)
        connection.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1000) == b""
    assert still_solves(impatient)


def test_a_connection_that_is_kept_alive_may_not_stall_either(impatient: RunningServer) -> None:
    with impatient.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he")
        connection.settimeout(15)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1000):
                pass
    assert still_solves(impatient)


def test_one_who_is_refused_may_not_stall_with_the_rest_of_the_body(
    impatient: RunningServer,
) -> None:
    with impatient.connect() as connection:
        connection.sendall(
            b"POST /v1/solve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
        )
        connection.settimeout(15)
        assert b" 401 " in connection.recv(1000)
        connection.sendall(b"{")
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1000):
                pass
    assert still_solves(impatient)


def test_a_body_without_end(impatient: RunningServer) -> None:
    with impatient.connect() as connection:
        head, _, _ = request_bytes(impatient, SOLVE_BRIEFLY).partition(b"\r\n\r\n")
        connection.sendall(head + b'\r\n\r\n{"quest')
        connection.settimeout(10)
        with connection.makefile("rb") as answer:
            assert b" 408 " in answer.read().splitlines()[0]  # and then the connection ends
    assert impatient.jobs() == 0
    assert still_solves(impatient)


def test_chunks_without_end_are_cut_off_at_the_limit(impatient: RunningServer) -> None:
    with impatient.connect() as connection:
        connection.sendall(
            b"POST /v1/solve HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            + f"Authorization: Bearer {impatient.token}\r\n\r\n".encode()
        )
        sent_bytes = 0
        with contextlib.suppress(ConnectionError):
            while sent_bytes < 50_000_000:
                connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                sent_bytes += 0x10000
    assert sent_bytes < 10_000_000  # buffers of both sides, and then no more
    assert still_solves(impatient)


def test_headers_without_end_are_cut_off(impatient: RunningServer) -> None:
    with impatient.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"x" * 10_000)
            pytest.fail("ten megabytes of headers were taken")
    assert still_solves(impatient)


def test_slow_readers_stall_nobody_and_are_given_up(impatient: RunningServer) -> None:
    cancelled = impatient.metric('lorid_edge_solves_total{outcome="cancelled"}')
    readers = []
    for _ in range(2):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.connect(("127.0.0.1", int(impatient.address.rpartition(":")[2])))
        connection.sendall(request_bytes(impatient, {**STREAM_LONG, "max_rounds": 1000}))
        readers.append(connection)
    until(lambda: impatient.jobs() == 2)
    assert still_solves(impatient)  # the queue keeps its order: after the two were given up
    assert impatient.metric('lorid_edge_solves_total{outcome="cancelled"}') == cancelled + 2
    until(lambda: connections(impatient) <= 1)
    for connection in readers:
        connection.close()


def test_one_who_reads_only_the_page_slowly_is_given_up_too(impatient: RunningServer) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.connect(("127.0.0.1", int(impatient.address.rpartition(":")[2])))
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        until(lambda: connections(impatient) >= 1)
        until(lambda: connections(impatient) == 0, seconds=30)


def connections(server: RunningServer) -> int:
    """Clients that the server has a connection with."""
    found = psutil.Process(server.process.pid).net_connections()
    return sum(connection.status == psutil.CONN_ESTABLISHED for connection in found)


# --- flooding -------------------------------------------------------------------------------------


def test_many_clients_at_once_each_get_their_own_answer(
    start_server: Callable[..., RunningServer],
) -> None:
    """32 of them, half as events; each question asks something else, and the seeds differ."""
    server = start_server("--width", "2")
    process = psutil.Process(server.process.pid)

    def ask(client: httpx.Client, number: int) -> dict[str, Any]:
        body = {"question": f"What is {number} + {number}?", "policy": "ir", "seed": number}
        if number % 2:
            return client.post("/v1/solve", json=body).json()  # type: ignore[no-any-return]
        with client.stream("POST", "/v1/solve", json={**body, "stream": True}) as response:
            *_, (name, last) = server_events(response)
            assert name == "solved"
            return last["solution"]  # type: ignore[no-any-return]

    def samples(solution: dict[str, Any]) -> Any:
        return [solution["question"], solution["seed"], solution["samples"]]

    with server.client(timeout=120) as client:
        alone = [samples(ask(client, number)) for number in range(32)]
        before_bytes = process.memory_info().rss
        found: dict[int, Any] = {}

        def work(number: int) -> None:
            with server.client(timeout=120) as own:
                found[number] = samples(ask(own, number))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [found.get(number) for number in range(32)] == alone
    assert process.memory_info().rss - before_bytes < 60_000_000
    assert server.jobs() == 0


def test_more_connections_than_allowed_are_refused(
    start_server: Callable[..., RunningServer],
) -> None:
    server = start_server("--max-connections", "8", "--receive-seconds", "60")

    def status() -> int:
        return httpx.get(server.address + "/health").status_code

    with contextlib.ExitStack() as opened:
        for _ in range(7):
            opened.enter_context(server.connect())
        with server.connect():
            until(lambda: status() == 503)
        until(lambda: status() == 200)  # the eighth


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /v1/solve HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/solve HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Content-Length: 6\r\n\r\nhello",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        bytes(range(256)) * 4,
    ],
)
def test_what_is_no_http_is_refused(
    start_server: Callable[..., RunningServer], server: RunningServer, sent: bytes
) -> None:
    with server.connect() as connection:
        connection.sendall(sent)
        connection.settimeout(15)
        assert b" 400 " in connection.recv(1000).splitlines()[0] + b" "
    assert httpx.get(server.address + "/health").status_code == 200


# --- the end --------------------------------------------------------------------------------------


def test_sigterm_lets_what_is_short_finish(start_server: Callable[..., RunningServer]) -> None:
    server = start_server()
    with (
        server.client() as client,
        client.stream("POST", "/v1/solve", json={**SOLVE_BRIEFLY, "stream": True}) as response,
    ):
        events = server_events(response)
        next(events)
        server.process.send_signal(signal.SIGTERM)
        assert [name for name, _ in events][-1] == "solved"
    assert server.process.wait(5) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_cancels_what_is_long_within_five_seconds(
    start_server: Callable[..., RunningServer], number: int
) -> None:
    server = start_server()
    began = 0.0
    with server.client() as client, contextlib.ExitStack() as opened:
        # Together they take longer than the server waits for them.
        requests = [client.stream("POST", "/v1/solve", json=STREAM_LONG) for _ in range(12)]
        responses = [opened.enter_context(request) for request in requests]
        began = time.monotonic()
        server.process.send_signal(number)
        last = [list(server_events(response))[-1] for response in responses]
    assert server.process.wait(10) == (0 if number == signal.SIGTERM else 130)
    assert time.monotonic() - began < 5
    names = [name for name, _ in last]
    assert names[-1] == "error"
    assert last[-1][1]["error"]["type"] == "cancelled"
    assert "Traceback" not in server.log.read_text()


def test_the_second_ctrl_c_ends_it_at_once(start_server: Callable[..., RunningServer]) -> None:
    server = start_server()
    with server.connect() as connection:
        connection.sendall(request_bytes(server, SOLVE_LONG))
        until(lambda: server.jobs() == 1)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(2) == 130
