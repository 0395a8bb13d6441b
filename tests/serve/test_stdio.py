"""JSON-RPC lines with a real child process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from line_client import LineClient
from running_server import COMMAND, QUESTION, SOLVE_BRIEFLY, SOLVE_LONG, environment, until

from lorid_edge import Solver
from lorid_edge.loading import LoadSettings
from lorid_edge.packs.store import PackStore
from lorid_edge.solver import SolveSettings

PROTOCOL_PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


@pytest.fixture
def child(tiny_home: Path, brief_pack: Path) -> Iterator[LineClient]:
    with LineClient(tiny_home, brief_pack, "--width", "2") as client:
        assert client.receive()["method"] == "ready"
        yield client


def test_events_and_solution_are_those_of_the_python_api(
    child: LineClient, tiny_home: Path, brief_pack: Path
) -> None:
    body = {"question": QUESTION, "policy": "paper", "max_rounds": 2, "seed": 5}
    child.send(id="a", method="solve", params=body)
    answer, events = child.answer("a")
    load, store = LoadSettings(width=2), PackStore(tiny_home)
    with Solver.open(brief_pack, settings=load, store=store) as solver:
        settings = SolveSettings("paper", max_rounds=2, seed=5)
        expected = [
            (event.name, event.to_dict()) for event in solver.stream(QUESTION, settings=settings)
        ]
    assert [(event["event"], event["data"]) for event in events[:-1]] == expected[:-1]
    assert events[-1]["event"] == "solved"
    assert events[-1]["data"] == {"solution": answer["result"]}
    samples = expected[-1][1]["solution"]["samples"]
    assert answer["result"]["samples"] == samples


def test_events_can_be_left_out(child: LineClient) -> None:
    child.send(id=1, method="solve", params={**SOLVE_BRIEFLY, "stream": False})
    answer, events = child.answer(1)
    assert events == []
    assert answer["result"]["schema"] == 1


def test_requests_are_answered_in_order_and_cancelled_one_by_one(child: LineClient) -> None:
    child.send(id=1, method="solve", params=SOLVE_LONG)
    for identifier in (2, 3, 4):
        child.send(id=identifier, method="solve", params={**SOLVE_BRIEFLY, "stream": False})
    while child.receive()["method"] != "event":
        pass
    child.send(id="c3", method="cancel", params={"id": 3})
    child.send(id="c1", method="cancel", params={"id": 1})
    child.send(id="c9", method="cancel", params={"id": 9})
    answers: dict[Any, Any] = {}
    while len(answers) < 7:
        message = child.receive()
        if "method" not in message:
            answers[message["id"]] = message
    assert answers[1]["error"]["code"] == answers[3]["error"]["code"] == -32800
    assert [key for key in answers if key in (2, 4)] == [2, 4]
    assert answers[2]["result"]["samples"] == answers[4]["result"]["samples"]
    assert answers["c1"]["result"] == answers["c3"]["result"] == {"cancelled": True}
    assert answers["c9"]["result"] == {"cancelled": False}


@pytest.mark.parametrize(
    ("line", "code", "identifier"),
    [
        (b"{", -32700, None),
        (b"\xff\xfe", -32700, None),
        (b"[" * 100_000, -32700, None),
        (b"[]", -32600, None),
        (b'{"id": 1, "method": "packs"}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "packs"}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 2}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "packs", "params": [1]}', -32602, 1),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "guess", "params": null}', -32601, 1),
        (b'{"jsonrpc": "2.0", "id": "\\ud800", "method": "guess"}', -32601, "\ud800"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "guess"}', -32601, 1),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "guess", "params": [1]}', -32601, 1),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "solve"}', -32602, 1),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "solve", "params": {"question": 1}}', -32602, 1),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "solve", "params": {"question": " "}}', -32602, 1),
        (
            b'{"jsonrpc": "2.0", "id": 1, "method": "solve", "params": {"question": "'
            + b"how many " * 800
            + b'"}}',
            -32602,
            1,
        ),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "cancel", "params": {}}', -32602, 1),
        (b'{"jsonrpc": "2.0", "x": "' + b"x" * 400_000 + b'"}', -32700, None),
    ],
)
def test_what_cannot_be_done_is_said(
    child: LineClient, line: bytes, code: int, identifier: Any
) -> None:
    child.write(line)
    child.write(b"")
    answer = child.receive()
    assert answer["error"]["code"] == code, answer
    assert answer["error"]["data"]["type"]
    assert answer["id"] == identifier
    child.send(id="after", method="packs")
    assert any(pack["loaded"] for pack in child.receive()["result"]["packs"])


def test_what_cannot_be_solved_is_said_without_waiting_for_its_turn(child: LineClient) -> None:
    child.send(id=1, method="solve", params={**SOLVE_LONG, "stream": False})
    for identifier, question in ((2, " "), (3, "how many " * 800)):
        child.send(id=identifier, method="solve", params={"question": question})
        refused = child.receive()
        assert (refused["id"], refused["error"]["code"]) == (identifier, -32602)


def test_an_id_in_use_is_refused_and_a_full_queue_too(tiny_home: Path, brief_pack: Path) -> None:
    with LineClient(tiny_home, brief_pack, "--queue-length", "1") as child:
        for identifier in (1, 1, 2, 3):
            params = {**SOLVE_LONG, "stream": False}
            child.send(id=identifier, method="solve", params=params)
        refused = []
        while len(refused) < 2:
            message = child.receive()
            if "error" in message:
                refused.append((message["id"], message["error"]["code"]))
        assert refused == [(1, -32600), (3, -32001)]


def test_notifications_are_never_answered(child: LineClient) -> None:
    child.send(method="solve", params=SOLVE_BRIEFLY)
    child.send(method="packs")
    child.send(method="guess")
    child.send(method="packs", params=[1])
    child.send(id="last", method="cancel", params={"id": 0})
    assert child.receive()["id"] == "last"


def test_shutdown_cancels_what_runs_and_ends(child: LineClient) -> None:
    child.send(id=1, method="solve", params=SOLVE_LONG)
    while child.receive()["method"] != "event":
        pass
    child.send(id=2, method="shutdown")
    cancelled, _ = child.answer(1)
    assert cancelled["error"]["code"] == -32800
    assert child.receive() == {"jsonrpc": "2.0", "id": 2, "result": None}
    assert child.process.wait(5) == 0
    assert child.process.stderr is not None
    assert child.process.stderr.read() == b""


def test_the_end_of_the_requests_lets_what_was_asked_finish(child: LineClient) -> None:
    child.send(id=1, method="solve", params=SOLVE_BRIEFLY)
    assert child.process.stdin is not None
    child.process.stdin.close()
    answer, _ = child.answer(1)
    assert answer["result"]["question"] == QUESTION
    assert child.process.wait(5) == 0


def test_it_ends_with_its_parent_even_if_its_input_stays_open(
    tiny_home: Path, brief_pack: Path, tmp_path: Path
) -> None:
    """The parent is killed; this test still holds the other end of the child's input."""
    reading, writing = os.pipe()
    request = {"jsonrpc": "2.0", "id": 1, "method": "solve", "params": SOLVE_LONG}
    program = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], stdout=open('answers', 'wb'))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(100)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, COMMAND, "serve", "--stdio", "--pack", str(brief_pack)],
        env=environment(tiny_home),
        stdin=reading,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    )
    os.close(reading)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    os.write(writing, json.dumps(request).encode() + b"\n")
    until(lambda: b'"event"' in (tmp_path / "answers").read_bytes())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    began = time.monotonic()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, seconds=5)
    assert time.monotonic() - began < 3
    os.close(writing)


# --- the page -------------------------------------------------------------------------------------


def transcript() -> list[tuple[str, dict[str, Any]]]:
    """(direction, message) of each line of the page's transcript."""
    found = re.search(r"```jsonrpc\n(.*?)```", PROTOCOL_PAGE.read_text(encoding="utf-8"), re.S)
    assert found is not None
    lines = found[1].splitlines()
    return [(line[0], json.loads(line[2:])) for line in lines if line[:2] in ("> ", "< ")]


def shape(value: Any) -> Any:
    """A message without what depends on machine and model: names, kinds and order stay."""
    if isinstance(value, dict):
        kept = {"jsonrpc", "id", "method", "event", "role", "code", "type", "schema"}
        return {key: inner if key in kept else shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None if value is None else "..."


def test_the_transcript_of_the_page_is_real(tiny_home: Path, brief_pack: Path) -> None:
    """Every request of it is sent, and answered by messages of just that form.

    Texts, and so their number, depend on the machine: any number of text events counts as one.
    """
    lines = transcript()
    assert {message.get("method") for _, message in lines} == {
        *("solve", "cancel", "packs", "shutdown", "ready", "event", None),
    }

    def comparable(message: dict[str, Any]) -> str:
        return json.dumps(shape(message), sort_keys=True).replace(
            '"answer": null', '"answer": "..."'
        )

    before = ""
    with LineClient(tiny_home, brief_pack, "--width", "1") as child:
        for direction, message in lines:
            if direction == ">":
                child.write(json.dumps(message).encode())
                continue
            expected = comparable(message)
            if "text_added" in expected and expected == before:
                continue
            received = comparable(child.receive())
            while "text_added" in received and received == before:
                received = comparable(child.receive())
            assert received == expected
            before = received
        assert child.process.wait(5) == 0
