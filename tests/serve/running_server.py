"""A real `lorid-edge serve` in a process of its own, for tests and benchmarks."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

COMMAND = str(Path(sys.executable).parent / "lorid-edge")
QUESTION = "Tom has 3 boxes of 12 pencils and gives away 5. How many pencils are left?"
SOLVE_BRIEFLY = {"question": QUESTION, "policy": "ir"}
SOLVE_LONG = {"question": QUESTION, "policy": "vote", "max_rounds": 30}  # several seconds


def environment(home: Path) -> dict[str, str]:
    """The environment of a child that uses `home` and no network."""
    cleared = {name: value for name, value in os.environ.items() if name != "LORID_EDGE_TOKEN"}
    return {**cleared, "LORID_EDGE_HOME": str(home), "LORID_EDGE_OFFLINE": "1"}


class RunningServer:
    """A server and the means to talk to it. `stop` it."""

    def __init__(self, home: Path, log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [COMMAND, "serve", "--port", "0", "--json", *arguments],
                env=environment(home),
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(10)
            raise AssertionError(f"the server did not start: {log.read_text()}")
        started = json.loads(line)
        self.address: str = started["address"]
        self.token: str | None = started["token"]
        self.headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def client(self, **options: Any) -> httpx.Client:
        """A client that sends the token."""
        options = {"timeout": 60, **options}
        return httpx.Client(base_url=self.address, headers=self.headers, **options)

    def connect(self) -> socket.socket:
        """A bare connection."""
        parts = urlsplit(self.address)
        assert parts.hostname is not None
        return socket.create_connection((parts.hostname, parts.port or 80), timeout=30)

    def metric(self, name: str) -> float:
        """One line of /metrics; 0 if there is none of that name."""
        with self.client() as client:
            text = client.get("/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
        return float(found[1]) if found else 0.0

    def jobs(self) -> int:
        """Problems that are being solved or wait."""
        return int(self.metric("lorid_edge_jobs"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            if self.process.stdout is not None:
                self.process.stdout.close()


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something holds; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


def server_events(response: httpx.Response) -> Iterator[tuple[str, Any]]:
    """(name, data) of each server-sent event."""
    name = "message"
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
            name = "message"
