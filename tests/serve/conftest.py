"""Servers that several test modules share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from running_server import RunningServer


@pytest.fixture(scope="session")
def server(
    tiny_home: Path, brief_pack: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """A server with the brief pack and the usual limits, whose log has to stay empty."""
    log = tmp_path_factory.mktemp("server") / "log"
    server = RunningServer(tiny_home, log, "--pack", str(brief_pack), "--width", "2")
    yield server
    assert server.process.poll() is None, "the server died"
    assert server.stop() == 0
    lines = log.read_text().splitlines()
    assert lines == [f"{server.address}/#token={server.token}"]


@pytest.fixture
def start_server(
    tiny_home: Path, brief_pack: Path, tmp_path: Path
) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers with options of their own; they are killed at the end."""
    started: list[RunningServer] = []

    def start(*arguments: str) -> RunningServer:
        log = tmp_path / f"log{len(started)}"
        started.append(RunningServer(tiny_home, log, "--pack", str(brief_pack), *arguments))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client
