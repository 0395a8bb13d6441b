"""The server through real clients of OpenAI's protocol: `openai`, `huggingface_hub` and `llm`.

`llm` is a program that uses the package `openai`; `huggingface_hub` has a client of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from running_server import QUESTION, SOLVE_LONG, RunningServer, until

from lorid_edge.loop.events import Event, RoleStarted, SampleFinished, TextAdded
from lorid_edge.loop.solution import Sample
from lorid_edge.roles import Role
from lorid_edge.serve.narration import Narration

MESSAGES: list[Any] = [
    {"role": "system", "content": "You are a calculator."},
    {"role": "user", "content": "What is 1 + 1?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
]


@pytest.fixture
def chat(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=server.address + "/v1", api_key=server.token, max_retries=0
    ) as client:
        yield client


@pytest.fixture(scope="module")
def solution(server: RunningServer) -> dict[str, Any]:
    """The solution that the server's own route gives for the last message."""
    body = {"question": QUESTION, "policy": "paper", "max_rounds": 1, "seed": 3}
    with server.client() as client:
        return client.post("/v1/solve", json=body).json()  # type: ignore[no-any-return]


CHOICES: dict[str, Any] = {
    "messages": MESSAGES,
    "seed": 3,
    "extra_body": {"policy": "paper", "max_rounds": 1},
}


def test_models_are_the_loaded_pack(chat: openai.OpenAI) -> None:
    assert [model.id for model in chat.models.list()] == ["brief"]
    assert chat.models.retrieve("brief").owned_by == "lorid-edge"
    with pytest.raises(openai.NotFoundError, match="gpt-4"):
        chat.models.retrieve("gpt-4")


def test_the_answer_is_content_and_the_work_is_reasoning_content(
    chat: openai.OpenAI, solution: dict[str, Any]
) -> None:
    reply = chat.chat.completions.create(model="brief", **CHOICES)
    message = reply.choices[0].message
    assert message.content == (solution["answer"] or "No answer was found.")
    reasoning = message.model_dump()["reasoning_content"]
    assert all(sample["text"] in reasoning for sample in solution["samples"])
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == solution["tokens"]["generated"]
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    outcome = reply.model_dump()["lorid_edge"]
    assert outcome == {key: solution[key] for key in ("status", "confidence")}


def test_streaming_tells_the_work_and_then_the_answer(
    chat: openai.OpenAI, solution: dict[str, Any]
) -> None:
    stream = chat.chat.completions.create(
        model="lorid-edge", stream=True, stream_options={"include_usage": True}, **CHOICES
    )
    chunks = [chunk.model_dump() for chunk in stream]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    reasoning = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    content = "".join(delta.get("content") or "" for delta in deltas)
    assert content == (solution["answer"] or "No answer was found.")
    assert all(sample["text"] in reasoning for sample in solution["samples"])
    assert deltas[0]["role"] == "assistant"
    assert len([delta for delta in deltas if delta.get("reasoning_content")]) > 3
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == solution["tokens"]["generated"]
    assert len({chunk["id"] for chunk in chunks}) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_of_huggingface_hub(
    stream: bool, server: RunningServer, solution: dict[str, Any]
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    client = hub.InferenceClient(base_url=f"{server.address}/v1", api_key=server.token)
    reply = client.chat_completion(
        MESSAGES, model="brief", stream=stream, seed=3, extra_body=CHOICES["extra_body"]
    )
    expected = solution["answer"] or "No answer was found."
    if not stream:
        assert reply.choices[0].message.content == expected
        return
    deltas = [chunk.choices[0].delta for chunk in reply if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == expected
    reasoning = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    assert all(sample["text"] in reasoning for sample in solution["samples"])


def test_a_stream_that_is_closed_stops_its_work(chat: openai.OpenAI, server: RunningServer) -> None:
    stream = chat.chat.completions.create(
        model="brief",
        messages=MESSAGES,
        stream=True,
        extra_body={"policy": "vote", "max_rounds": SOLVE_LONG["max_rounds"]},
    )
    for chunk in stream:
        if chunk.choices[0].delta.model_dump().get("reasoning_content"):
            break
    stream.close()
    until(lambda: server.jobs() == 0, seconds=3)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "gpt-4"}, openai.NotFoundError),
        ({"messages": []}, openai.UnprocessableEntityError),
        ({"messages": [{"role": "system", "content": "Hello"}]}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": ""}]}, openai.BadRequestError),
        ({"messages": [{"role": "nobody", "content": "x"}]}, openai.UnprocessableEntityError),
        ({"n": 2}, openai.UnprocessableEntityError),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            openai.BadRequestError,
        ),
    ],
)
def test_what_cannot_be_done_is_said(
    chat: openai.OpenAI, change: dict[str, Any], error: type[openai.APIStatusError]
) -> None:
    with pytest.raises(error) as caught:
        chat.chat.completions.create(**{"model": "brief", "messages": MESSAGES, **change})
    assert caught.value.body.keys() >= {"type", "message"}  # type: ignore[union-attr]


def test_a_wrong_token_is_an_authentication_error(server: RunningServer) -> None:
    client = openai.OpenAI(base_url=server.address + "/v1", api_key="wrong", max_retries=0)
    with client, pytest.raises(openai.AuthenticationError):
        client.models.list()


@pytest.mark.parametrize("options", [[], ["--no-stream"]])
def test_the_llm_tool_asks_the_server(
    server: RunningServer, tmp_path: Path, options: list[str]
) -> None:
    """A client with settings of its own, as its users set it up: a file that names the server."""
    model = {
        "model_id": "here",
        "model_name": "brief",
        "api_base": server.address + "/v1",
        "api_key_name": "here",
    }
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))
    (tmp_path / "keys.json").write_text(json.dumps({"here": server.token}))
    command = str(Path(sys.executable).parent / "llm")
    child = subprocess.run(
        [command, "-m", "here", "--no-log", *options, "What is 12 * 12?"],
        env={**os.environ, "LLM_USER_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    body = {"question": "What is 12 * 12?"}
    answer = httpx.post(
        server.address + "/v1/solve", json=body, headers=server.headers, timeout=60
    ).json()["answer"]
    assert child.stdout.strip() == (answer or "No answer was found.")


def test_samples_that_are_written_at_once_are_told_one_after_another() -> None:
    intuitive, deep = Role.INTUITIVE_REASONER, Role.DEEP_REASONER

    def finished(role: Role, index: int, text: str) -> Event:
        sample = Sample(
            role=role, round=1, index=index, text=text, answer=None, tokens=1, finish="end"
        )
        return SampleFinished(sample)

    narration = Narration()
    told = [
        narration.tell([RoleStarted(intuitive, 1, 0), RoleStarted(intuitive, 1, 1)]),
        narration.tell([TextAdded(intuitive, 1, "b1"), TextAdded(intuitive, 0, "a1")]),
        narration.tell([RoleStarted(deep, 1, 0), TextAdded(intuitive, 1, " b2")]),
        narration.tell([finished(intuitive, 1, "b1 b2"), TextAdded(intuitive, 0, " a2")]),
        narration.tell([finished(intuitive, 0, "a1 a2")]),
        narration.tell([TextAdded(deep, 0, "c")]),
    ]
    assert told == [
        "",
        "Intuitive reasoner 1:\na1",
        "",
        " a2",
        "\n\nIntuitive reasoner 2:\nb1 b2\n\n",
        "Deep reasoner 1:\nc",
    ]
