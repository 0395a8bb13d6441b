"""A teacher behind HTTP: a real server on loopback that fails in every way."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.utils import formatdate
from typing import Any

import pytest
from chat_server import Answer, Behaviour, Endpoint, rules, serving

from lorid_edge.distill.endpoint_teacher import (
    HOPELESS_REFUSALS,
    EndpointSettings,
    EndpointTeacher,
    retry_after_seconds,
)
from lorid_edge.distill.knowledge import parse_rules
from lorid_edge.distill.teacher import Ask, Reply
from lorid_edge.errors import CancelledError, LoridError, OfflineError, UsageError

ASK = Ask("a", "A pen costs $3. What do 4 pens cost?", "3 * 4 = 12", seed=7)


def settings(url: str, **more: Any) -> EndpointSettings:
    return EndpointSettings(
        url, "m", **{"tries": 3, "timeout_seconds": 5.0, "first_wait_seconds": 0.02, **more}
    )


@contextmanager
def teacher_of(behaviour: Behaviour, **more: Any) -> Iterator[tuple[EndpointTeacher, Endpoint]]:
    with (
        serving(behaviour) as endpoint,
        closing(EndpointTeacher(settings(endpoint.url, **more))) as teacher,
    ):
        yield teacher, endpoint


def ask_one(teacher: EndpointTeacher) -> Reply:
    teacher.submit(ASK)
    replies = teacher.next_replies()
    assert len(replies) == 1
    return replies[0]


def test_a_good_endpoint_is_asked_once() -> None:
    with teacher_of(lambda *_: rules()) as (teacher, endpoint):
        reply = ask_one(teacher)
        assert (reply.key, reply.prompt_tokens, reply.generated_tokens) == ("a", 100, 20)
        assert len(parse_rules(reply.text)) == 2
        assert teacher.next_replies() == []
        assert teacher.name.endswith(": m")
    (body,) = endpoint.bodies
    assert body["response_format"]["type"] == "json_schema"
    assert (body["seed"], body["temperature"], body["model"]) == (7, 0.2, "m")
    last = body["messages"][-1]
    assert last["role"] == "user"
    assert ASK.question in last["content"]
    assert ASK.rationale in last["content"]
    assert "Authorization" not in endpoint.headers[0]


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-1")
    with teacher_of(lambda *_: rules(), key_variable="MY_KEY") as (teacher, endpoint):
        ask_one(teacher)
    assert endpoint.headers[0]["Authorization"] == "Bearer secret-1"
    for value, part in (("", "is empty"), ("a\nb", "cannot be a key"), ("ü", "cannot be a key")):
        monkeypatch.setenv("MY_KEY", value)
        with pytest.raises(UsageError, match=part):
            EndpointTeacher(settings(endpoint.url, key_variable="MY_KEY"))


@pytest.mark.parametrize(
    "failures",
    [
        [Answer(500), Answer(503, b"busy")],
        [Answer(429, b"{}", {"Retry-After": "0"}), Answer(502)],
        [Answer(200, b"<html>"), Answer(200, b'{"choices": []}')],
        [
            Answer(200, b'{"choices": [{"message": {"content": 3}}]}'),
            Answer(529),
        ],
        [Answer(200, b"[" * 100_000)],
    ],
)
def test_what_may_pass_is_tried_again(failures: list[Answer]) -> None:
    def behave(number: int, _: object) -> Answer:
        return failures[number] if number < len(failures) else rules()

    with teacher_of(behave) as (teacher, endpoint):
        assert len(parse_rules(ask_one(teacher).text)) == 2
        assert len(endpoint.bodies) == len(failures) + 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(500, b"no\nluck"), r"failed 3 times in a row: answers 500 .*: no luck"),
        (Answer(200, b"rubbish"), "no chat completion"),
        (Answer(200, b"x" * (2**22 + 1)), "longer than"),
        (Answer(200, b"", delay_seconds=0.6), r"no reply within 0\.2 s"),
    ],
)
def test_a_teacher_that_is_down_is_given_up(answer: Answer, reason: str) -> None:
    limit = 0.2 if answer.delay_seconds else 5.0
    with teacher_of(lambda *_: answer, timeout_seconds=limit) as (teacher, endpoint):
        teacher.submit(ASK)
        with pytest.raises(LoridError, match=reason) as caught:
            teacher.next_replies()
        assert endpoint.url in str(caught.value)
        assert "run the same command again" in str(caught.value)
        assert len(endpoint.bodies) == 3


def test_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    with closing(EndpointTeacher(settings(url))) as teacher:
        teacher.submit(ASK)
        with pytest.raises(LoridError, match="cannot be reached"):
            teacher.next_replies()


@pytest.mark.parametrize("status", [401, 403, 404, 301])
def test_what_will_not_pass_is_not_tried_again(status: int) -> None:
    with teacher_of(lambda *_: Answer(status, b"wrong key")) as (teacher, endpoint):
        teacher.submit(ASK)
        with pytest.raises(LoridError, match=f"answers {status}.*wrong key"):
            teacher.next_replies()
        assert len(endpoint.bodies) == 1


def test_the_wait_doubles_and_a_server_may_ask_for_more() -> None:
    none = Answer(429, b"", {"Retry-After": "0"})  # shortens no wait
    answers = [Answer(500), none, Answer(429, b"", {"Retry-After": "0.5"})]

    def behave(number: int, _: object) -> Answer:
        return answers[number] if number < len(answers) else rules()

    with teacher_of(behave, tries=4, first_wait_seconds=0.1) as (teacher, endpoint):
        ask_one(teacher)
        waits = [after - before for before, after in zip(endpoint.times, endpoint.times[1:],
                                                         strict=False)]  # fmt: skip
    assert waits[0] >= 0.05
    assert waits[1] >= 0.1
    assert waits[2] >= 0.5


def test_retry_after_headers() -> None:
    assert retry_after_seconds(None) is None
    assert retry_after_seconds("2") == 2
    assert retry_after_seconds("-1") == 0
    assert retry_after_seconds("1e9") == 600
    assert retry_after_seconds("nan") is None
    assert retry_after_seconds("soon") is None
    in_a_while = retry_after_seconds(formatdate(time.time() + 100, usegmt=True))
    assert in_a_while is not None
    assert 90 < in_a_while <= 100


def test_parts_that_an_endpoint_refuses_are_left_out() -> None:
    def behave(_: int, body: dict[str, Any]) -> Answer:
        if body.get("response_format", {}).get("type") == "json_schema":
            return Answer(400, b'{"error": "response_format json_schema is not supported"}')
        for part in ("seed", "temperature"):
            if part in body:
                return Answer(422, f"unknown field {part}".encode())
        if "max_tokens" in body:
            return Answer(400, b"use max_completion_tokens")
        return rules()

    with teacher_of(behave) as (teacher, endpoint):
        ask_one(teacher)
        refused = len(endpoint.bodies)
        ask_one(teacher)
        assert len(endpoint.bodies) == refused + 1  # what was learnt is remembered
    body = endpoint.bodies[-1]
    assert body["response_format"] == {"type": "json_object"}
    assert "max_completion_tokens" in body
    assert json.loads(body["messages"][2]["content"])["rules"]


def test_a_form_that_suits_one_problem_alone_is_not_kept() -> None:
    """Some endpoints refuse a request because what the model wrote misses the schema."""

    def behave(_: int, body: dict[str, Any]) -> Answer:
        is_odd = "Odd" in body["messages"][-1]["content"]
        has_schema = body.get("response_format", {}).get("type") == "json_schema"
        return Answer(400, b"failed to generate JSON") if is_odd and has_schema else rules()

    with teacher_of(behave) as (teacher, endpoint):
        ask_one(teacher)
        teacher.submit(Ask("b", "Odd?", "r", 1))
        assert teacher.next_replies()[0].refusal == ""
        ask_one(teacher)
    assert endpoint.bodies[-1] == endpoint.bodies[0]


def test_what_was_found_out_survives_a_wait() -> None:
    """An endpoint that refuses two parts and is busy at every other request."""

    def behave(number: int, body: dict[str, Any]) -> Answer:
        if number % 2:
            return Answer(429, b"busy")
        for part in ("seed", "temperature"):
            if part in body:
                return Answer(422, f"unknown field {part}".encode())
        return rules()

    with teacher_of(behave) as (teacher, endpoint):
        ask_one(teacher)
    assert len(endpoint.bodies) == 5


def test_an_endpoint_that_refuses_everything_is_given_up_one_problem_is_not() -> None:
    with teacher_of(lambda *_: Answer(400, b"no"), concurrency=1) as (teacher, endpoint):
        for _ in range(HOPELESS_REFUSALS - 1):  # these may be too long, the next may be answered
            assert ask_one(teacher).refusal == "refused by the teacher"
        teacher.submit(ASK)
        with pytest.raises(LoridError, match="answers 400 Bad Request: no"):
            teacher.next_replies()
        assert "response_format" not in endpoint.bodies[-1]

    def behave(_: int, body: dict[str, Any]) -> Answer:
        return Answer(400, b"too long") if "Long" in body["messages"][-1]["content"] else rules()

    with teacher_of(behave) as (teacher, endpoint):
        ask_one(teacher)
        teacher.submit(Ask("b", "Long?", "r", 1))
        assert teacher.next_replies() == [Reply("b", "", 0, 0, refusal="refused by the teacher")]
        ask_one(teacher)  # in the form that was good before
    assert endpoint.bodies[-1] == endpoint.bodies[0]


def test_requests_run_at_once_but_no_more_than_allowed() -> None:
    answer = Answer(200, rules().body, delay_seconds=0.1)
    with teacher_of(lambda *_: answer, concurrency=3) as (teacher, endpoint):
        for number in range(9):
            teacher.submit(Ask(str(number), "q", "r", number))
        keys: set[str] = set()
        while replies := teacher.next_replies():
            keys |= {reply.key for reply in replies}
        assert keys == set("012345678")
        assert endpoint.most_at_once == 3


def test_abort_ends_a_wait_at_once() -> None:
    answer = Answer(429, b"", {"Retry-After": "300"})
    with teacher_of(lambda *_: answer) as (teacher, _):
        teacher.submit(ASK)
        timer = threading.Timer(0.2, teacher.abort)
        timer.start()
        began = time.monotonic()
        with pytest.raises(CancelledError):
            teacher.next_replies()
        assert time.monotonic() - began < 5


def test_impossible_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("localhost:8000", "ftp://example.org", "http://"):
        with pytest.raises(UsageError, match="no endpoint"):
            EndpointSettings(url, "m")
    with pytest.raises(UsageError, match="name of its model"):
        EndpointSettings("http://localhost", "")
    monkeypatch.setenv("LORID_EDGE_OFFLINE", "1")
    with pytest.raises(OfflineError, match="forbids"):
        EndpointTeacher(settings("https://example.org/v1"))
    EndpointTeacher(settings("http://localhost:1/v1")).close()
    address = "http://[::1]:1/v1/chat/completions"
    assert settings(address).address == address
    assert settings(address).is_loopback
