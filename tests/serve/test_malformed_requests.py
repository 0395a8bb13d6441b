"""Hundreds of requests made from the server's own OpenAPI description, most of them malformed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from running_server import RunningServer

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,unsupported_method,negative_data_rejection"
)


@pytest.fixture
def quick_server(tiny_home: Path, brief_pack: Path, tmp_path: Path) -> Iterator[RunningServer]:
    """A server that gives its best answer at once: what it is sent is mostly nonsense."""
    arguments = ["--pack", str(brief_pack), "--max-seconds", "0.01", "--width", "1"]
    server = RunningServer(tiny_home, tmp_path / "log", *arguments)
    yield server
    assert server.process.poll() is None, server.log.read_text()
    assert server.stop() == 0
    assert len(server.log.read_text().splitlines()) == 1


def test_malformed_requests_are_refused_without_a_failure_or_a_leak(
    quick_server: RunningServer, tmp_path: Path
) -> None:
    server, process = quick_server, psutil.Process(quick_server.process.pid)

    def run(phases: str, examples: int) -> str:
        child = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                *("--header", f"Authorization: Bearer {server.token}"),
                *("--checks", CHECKS, "--mode", "all", "--phases", phases),
                *("--max-examples", str(examples), "--seed", "1"),
                *("--generation-deterministic", "--no-color", "--continue-on-failure"),
                f"{server.address}/openapi.json",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert child.returncode == 0, child.stdout[-6000:] + child.stderr[-2000:]
        return child.stdout

    run("fuzzing", examples=5)
    before_bytes, threads, files = (
        process.memory_info().rss,
        process.num_threads(),
        process.num_fds(),
    )
    run("coverage,fuzzing", examples=15)
    with server.client() as client:
        metrics = client.get("/metrics").text
    counts = re.findall(r'requests_total\{route="[^"]*",status="(\d+)"\} (\d+)', metrics)
    assert sum(int(count) for status, count in counts if status.startswith("4")) >= 200
    assert not [status for status, _ in counts if status.startswith("5")]
    assert server.jobs() == 0
    assert process.num_threads() <= threads + 2
    assert process.num_fds() <= files + 5
    assert process.memory_info().rss - before_bytes < 30_000_000


def test_the_description_names_every_route_and_the_token(quick_server: RunningServer) -> None:
    with quick_server.client() as client:
        description = client.get("/openapi.json").json()
    routes = {"/v1/solve", "/v1/packs", "/v1/chat/completions", "/v1/models", "/health", "/metrics"}
    assert routes <= description["paths"].keys()
    for path in routes - {"/health"}:
        operation = next(iter(description["paths"][path].values()))
        assert operation["security"], path
        assert "401" in operation["responses"]
    assert "bearer" in json.dumps(description["components"]["securitySchemes"])
