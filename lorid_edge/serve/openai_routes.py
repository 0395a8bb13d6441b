"""/v1/chat/completions and /v1/models, for programs that speak OpenAI's protocol.

The last user message is the problem. The answer comes as content, the work as reasoning_content.
Of OpenAI's settings `seed`, `stream` and `stream_options` are heeded, the rest has no meaning here.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from lorid_edge.loop.events import Event, Solved
from lorid_edge.loop.solution import Solution
from lorid_edge.serve.event_stream import EventStream
from lorid_edge.serve.narration import Narration
from lorid_edge.serve.refusals import Refusal, error_body
from lorid_edge.serve.requests import SolveChoices
from lorid_edge.serve.solve_routes import EVENTS, PROTECTION, finish
from lorid_edge.serve.work import Job, Work

OWN_NAME = "lorid-edge"
"""A model name that always means the pack that is loaded."""

NO_ANSWER = "No answer was found."


class ContentPart(BaseModel):
    """A part of a message; only text can be read."""

    type: str
    text: str | None = None


class Message(BaseModel):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None

    def text(self) -> str:
        """All of its text.

        Raises:
            Refusal: there is something else in it.
        """
        if not isinstance(self.content, list):
            return self.content or ""
        if any(part.text is None for part in self.content):
            raise Refusal(400, "invalid_request", "Only text can be read, no images or sounds.")
        return "\n".join(part.text or "" for part in self.content)


class StreamOptions(BaseModel):
    """What else a stream is to hold."""

    include_usage: StrictBool | None = None


class ChatRequest(SolveChoices):
    """A conversation whose last user message is the problem."""

    model_config = ConfigDict(extra="ignore")

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None

    def question(self) -> str:
        """The last user message.

        Raises:
            Refusal: there is none.
        """
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text()
        raise Refusal(400, "invalid_request", "There is no message of the role user.")


class ModelEntry(BaseModel):
    """A pack, as a model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = OWN_NAME


class ModelList(BaseModel):
    """The pack that is loaded, as a list of models."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


def openai_routes(work: Work) -> APIRouter:
    """The routes, on the work of one solver."""
    router = APIRouter(dependencies=PROTECTION)
    pack = work.solver.loaded.workplace.manifest.name
    entry = ModelEntry(id=pack, created=int(time.time()))

    def require_model(name: str) -> None:
        if name not in (pack, OWN_NAME):
            message = f"There is no model {name[:80]!r} here; the one that is loaded is {pack!r}."
            raise Refusal(404, "model_not_found", message)

    @router.get("/v1/models")
    async def models() -> ModelList:
        """The pack that is loaded."""
        return ModelList(data=[entry])

    @router.get("/v1/models/{name}")
    async def model(name: str) -> ModelEntry:
        """The pack that is loaded, if that is its name."""
        require_model(name)
        return entry

    @router.post("/v1/chat/completions", response_model=None, responses={200: EVENTS})
    async def chat(body: ChatRequest, request: Request) -> Any:
        """Solve the problem in the last user message."""
        require_model(body.model)
        question = body.question()
        settings = body.settings(work.limits, work.solver.width)

        def begin() -> Job:
            return work.begin(question, settings, with_events=bool(body.stream))

        reply = _Reply(pack)
        if body.stream:
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            encoder = _ChunkEncoder(reply, bool(with_usage))
            return EventStream(begin, encoder)
        return JSONResponse(reply.whole(await finish(begin(), request)))

    return router


class _Reply:
    """One completion: what all its parts have in common, and its forms."""

    def __init__(self, model: str) -> None:
        self._common = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, solution: Solution) -> dict[str, Any]:
        """The completion as one object."""
        message = {
            "role": "assistant",
            "content": _answer(solution),
            "reasoning_content": _reasoning(solution),
        }
        return {
            **self._common,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": _usage(solution),
            "lorid_edge": _outcome(solution),
        }

    def chunk(
        self, delta: dict[str, str] | None, finish_reason: str | None = None, **more: Any
    ) -> bytes:
        """A part of a stream; without a delta one that holds only `more`."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        choices = [] if delta is None else [choice]
        return _frame(
            {**self._common, "object": "chat.completion.chunk", "choices": choices, **more}
        )


class _ChunkEncoder:
    """Events as chunks of a completion."""

    def __init__(self, reply: _Reply, with_usage: bool) -> None:
        self._reply = reply
        self._with_usage = with_usage
        self._narration = Narration()

    def start(self) -> bytes:
        return self._reply.chunk({"role": "assistant", "content": ""})

    def encode(self, events: list[Event]) -> bytes:
        parts = []
        told = self._narration.tell(events)
        if told:
            parts.append(self._reply.chunk({"reasoning_content": told}))
        last = events[-1]
        if isinstance(last, Solved):
            parts.append(self._reply.chunk({"content": _answer(last.solution)}))
            outcome = _outcome(last.solution)
            parts.append(self._reply.chunk({}, "stop", lorid_edge=outcome))
            if self._with_usage:
                parts.append(self._reply.chunk(None, usage=_usage(last.solution)))
        return b"".join(parts)

    def encode_error(self, refusal: Refusal) -> bytes:
        return _frame(error_body(refusal))

    def end(self) -> bytes:
        return b"data: [DONE]\n\n"


def _answer(solution: Solution) -> str:
    return NO_ANSWER if solution.answer is None else solution.answer


def _reasoning(solution: Solution) -> str:
    return "\n\n".join(
        f"{sample.role.value.replace('_', ' ').capitalize()} {sample.index + 1}:\n{sample.text}"
        for sample in solution.samples
        if sample.text
    )


def _outcome(solution: Solution) -> dict[str, Any]:
    return {"status": solution.status.value, "confidence": solution.confidence}


def _usage(solution: Solution) -> dict[str, Any]:
    tokens = solution.tokens
    prompt = tokens.prompt + tokens.cached
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens.generated,
        "total_tokens": prompt + tokens.generated,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.generated},
    }


def _frame(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()
