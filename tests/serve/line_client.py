"""A parent process that talks JSON-RPC with `lorid-edge serve --stdio`, for tests."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any

from running_server import COMMAND, environment


class LineClient:
    """A child and the lines to and from it. Leave its `with` to end the child."""

    def __init__(self, home: Path, pack: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [COMMAND, "serve", "--stdio", "--pack", str(pack), *arguments],
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def send(self, **message: Any) -> None:
        """Write one JSON-RPC message."""
        self.write(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def write(self, line: bytes) -> None:
        """Write one line as it is."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next message; {} when there are no more."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {}  # type: ignore[no-any-return]

    def answer(self, identifier: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The answer to a request, and the events that came before it under its id."""
        events = []
        while message := self.receive():
            if message.get("method") == "event" and message["params"]["id"] == identifier:
                events.append(message["params"])
            elif "method" not in message and message["id"] == identifier:
                return message, events
        raise AssertionError("the child ended before it answered")

    def __enter__(self) -> LineClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
