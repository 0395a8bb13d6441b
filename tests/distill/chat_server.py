"""A real HTTP server that plays an OpenAI-compatible endpoint, well or badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RULES = ["Add the parts to find the whole.", "Multiply the price by the number of items."]


@dataclass(frozen=True)
class Answer:
    """What the server sends."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0


def completion(content: object, prompt_tokens: int = 100, tokens: int = 20) -> Answer:
    """A proper chat completion whose message is `content` (JSON unless it is a text)."""
    text = content if isinstance(content, str) else json.dumps(content)
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return Answer(body=json.dumps({"choices": choices, "usage": usage}).encode())


def rules(*texts: str) -> Answer:
    """A completion with these rules."""
    return completion({"rules": list(texts or RULES)})


Behaviour = Callable[[int, dict[str, Any]], Answer]
"""From a request's number, from 0, and its body to the answer."""


@dataclass
class Endpoint:
    """A running endpoint, and all that it was asked."""

    url: str
    behaviour: Behaviour
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    most_at_once: int = 0

    def questions(self) -> list[str]:
        """The problems that were asked about, in the order in which they came."""
        asked = (body["messages"][-1]["content"] for body in self.bodies)
        return [text.split("Problem: ")[1].split("\n")[0] for text in asked]


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Endpoint]:
    """Serve on loopback until the end of the `with`."""
    endpoint = Endpoint("", behaviour)
    lock = threading.Lock()
    active = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal active
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(endpoint.bodies)
                endpoint.bodies.append(body)
                endpoint.headers.append(dict(self.headers))
                endpoint.times.append(time.monotonic())
                active += 1
                endpoint.most_at_once = max(endpoint.most_at_once, active)
            answer = endpoint.behaviour(number, body)
            time.sleep(answer.delay_seconds)
            with lock:
                active -= 1
            try:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)
            except OSError:
                pass  # the client did not wait

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
