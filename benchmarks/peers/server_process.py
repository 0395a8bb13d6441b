"""A llama-server process with a pack's base and adapters, and requests to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_llama_server import PROGRAM
from last_will import die_with_parent

from lorid_edge.packs.store import Pack
from lorid_edge.roles import Role

_START_SECONDS = 300.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class ServerSize:
    """How a server is started.

    Attributes:
        slots: sequences at once, over all roles.
        slot_tokens: the context of each.
    """

    slots: int
    slot_tokens: int
    threads: int


class ServerProcess:
    """Make it with the files of a pack; ends with `close`, and on Linux with this process."""

    def __init__(self, pack: Pack, size: ServerSize, log: Path) -> None:
        if not PROGRAM.is_file():
            sys.exit(f"{PROGRAM} is missing; run: python benchmarks/peers/build_llama_server.py")
        self._port = _free_port()
        self.adapter_ids = _adapter_ids(pack)
        command = [str(PROGRAM), "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--model", str(pack.base_path), *_adapter_options(pack)]
        command += ["--parallel", str(size.slots), "--ctx-size", str(size.slots * size.slot_tokens)]
        command += ["--threads", str(size.threads), "--threads-batch", str(size.threads)]
        # Each slot has cells of its own: attention then looks at its own tokens alone.
        command += ["--no-kv-unified"]
        # The cache of prompts in memory takes no account of adapters (ggml-org/llama.cpp#26207).
        command += ["--cache-ram", "0"]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, preexec_fn=die_with_parent
            )
        try:
            self._wait_until_ready(log)
        except BaseException:
            self.close()
            raise

    def stream(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of one completion. Closing the iterator cancels it."""
        with contextlib.closing(self._connect()) as connection:
            connection.request("POST", "/completion", json.dumps({**body, "stream": True}))
            with contextlib.closing(connection.getresponse()) as response:
                if response.status != 200:
                    raise RuntimeError(f"llama-server says {response.status}: {response.read()!r}")
                for line in response:
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port)

    def _wait_until_ready(self, log: Path) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"llama-server ended at its start; see {log}")
            with contextlib.suppress(OSError), contextlib.closing(self._connect()) as connection:
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"llama-server was not ready in {_START_SECONDS:.0f} s; see {log}")


def _adapter_ids(pack: Pack) -> dict[Role, int]:
    """The server's numbers of the adapters, in the order in which they are given to it."""
    roles = [role for role in Role if pack.adapter_path(role) is not None]
    return {role: number for number, role in enumerate(roles)}


def _adapter_options(pack: Pack) -> list[str]:
    paths = [str(path) for role in Role if (path := pack.adapter_path(role)) is not None]
    return ["--lora", ",".join(paths), "--lora-init-without-apply"] if paths else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
