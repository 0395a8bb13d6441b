"""`lorid-edge serve` as a command: what it prints, what it refuses, and what it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running_server import COMMAND, SOLVE_BRIEFLY, RunningServer, environment


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "serve", *arguments],
        env={**environment(home), **variables},
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_without_fastapi(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; sys.modules['fastapi'] = None; sys.modules['uvicorn'] = None\n"
        f"sys.argv = ['lorid-edge', 'serve', *{list(arguments)!r}]\n"
        "from lorid_edge.cli.main import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment(home),
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_address_goes_to_stderr_and_stdout_stays_empty(
    tiny_home: Path, brief_pack: Path
) -> None:
    with subprocess.Popen(
        [COMMAND, "serve", "--port", "0", "--pack", str(brief_pack)],
        env=environment(tiny_home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stderr is not None
        assert child.stdout is not None
        line = child.stderr.readline()
        child.terminate()
        assert child.wait(10) == 0
        assert line.startswith("http://127.0.0.1:")
        assert len(line.strip().partition("#token=")[2]) >= 32
        assert child.stdout.read() == child.stderr.read() == ""


def test_tokens_differ_from_start_to_start(start_server: Callable[..., RunningServer]) -> None:
    assert start_server().token != start_server().token


def test_a_port_in_use_is_said(tiny_home: Path, server: RunningServer) -> None:
    port = server.address.rpartition(":")[2]
    refused = run(tiny_home, "--pack", "tiny", "--port", port)
    assert refused.returncode == 1
    assert f"port {port}" in refused.stderr
    assert "--port" in refused.stderr


def test_an_address_of_another_machine_is_not_blamed_on_another_program(tiny_home: Path) -> None:
    refused = run(tiny_home, "--pack", "tiny", "--host", "999.1.1.1")
    assert refused.returncode == 1
    assert "--host" in refused.stderr
    assert "program" not in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--queue-length", "0"],
        ["--max-seconds", "nan"],
        ["--max-seconds", "0"],
        ["--width", "99"],
        ["--port", "x"],
        ["--port", "70000"],
        ["--port", "-1"],
        ["--allow-origin", "localhost:3000"],
        ["--host", "0.0.0.0", "--stdio"],
        ["--no-token", "--stdio"],
        ["--json", "--stdio"],
    ],
)
def test_impossible_options_are_wrong_usage(tiny_home: Path, arguments: list[str]) -> None:
    refused = run(tiny_home, "--pack", "tiny", *arguments)
    assert refused.returncode == 2
    assert arguments[0].removeprefix("--") in refused.stderr
    assert "Traceback" not in refused.stderr


def test_without_its_extra_the_server_says_what_to_install(
    tiny_home: Path, brief_pack: Path
) -> None:
    refused = run_without_fastapi(tiny_home, "--pack", str(brief_pack), "--port", "0")
    assert refused.returncode == 1
    assert "pip install 'lorid-edge[serve]'" in refused.stderr


def test_lines_need_no_extra(tiny_home: Path, brief_pack: Path) -> None:
    done = run_without_fastapi(tiny_home, "--stdio", "--pack", str(brief_pack))
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["method"] for line in done.stdout.splitlines()] == ["ready"]


def test_a_pack_that_is_not_here_is_said_to_the_parent(tmp_path: Path) -> None:
    refused = run(tmp_path, "--stdio", "--pack", "tiny")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "LORID_EDGE_OFFLINE" in refused.stderr


def test_the_server_solves_with_less_memory_too(
    start_server: Callable[..., RunningServer],
) -> None:
    server = start_server("--low-memory", "--width", "1", "--threads", "1")
    with server.client() as client:
        assert client.post("/v1/solve", json=SOLVE_BRIEFLY).json()["settings"]["width"] == 1
