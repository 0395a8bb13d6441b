"""What is sent to an OpenAI-compatible endpoint, and how to do with less where it refuses a part.

Endpoints differ in what they accept: not all can hold a reply to a JSON schema, some refuse a seed
or a temperature, some want `max_completion_tokens`. A form is what is sent besides the messages;
`simpler` gives the next one to try.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal

from lorid_edge.distill.knowledge import SCHEMA, SYSTEM, TEMPLATE
from lorid_edge.distill.teacher import Ask

_OBJECT_REPLY = ' Reply with a JSON object {"rules": [...]} that holds this list.'


@dataclass(frozen=True)
class RequestForm:
    """Which of the optional parts are sent.

    Attributes:
        reply: what the reply is held to: a JSON schema, any JSON object, or nothing.
        limit_name: what the endpoint calls the most tokens of a reply.
    """

    reply: Literal["schema", "object", "free"] = "schema"
    with_seed: bool = True
    with_temperature: bool = True
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    def simpler(self, complaint: str) -> RequestForm | None:
        """A form without what an endpoint complains of; None if there is nothing left to omit."""
        complaint = complaint.casefold()
        if "max_completion_tokens" in complaint and self.limit_name == "max_tokens":
            return replace(self, limit_name="max_completion_tokens")
        if "temperature" in complaint and self.with_temperature:
            return replace(self, with_temperature=False)
        if "seed" in complaint and self.with_seed:
            return replace(self, with_seed=False)
        if self.reply == "schema":
            return replace(self, reply="object")
        if self.reply == "object":
            return replace(self, reply="free")
        if self.with_seed:
            return replace(self, with_seed=False)
        return None

    def body(self, ask: Ask, model: str, max_tokens: int) -> dict[str, Any]:
        """The request for one problem, as JSON's types."""
        body: dict[str, Any] = {
            "model": model,
            "messages": chat_messages(ask, self.reply != "free"),
        }
        body[self.limit_name] = max_tokens
        if self.with_temperature:
            body["temperature"] = ask.temperature
        if self.with_seed:
            body["seed"] = ask.seed
        if self.reply == "schema":
            schema = {"name": "rules", "strict": True, "schema": SCHEMA}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.reply == "object":
            body["response_format"] = {"type": "json_object"}
        return body


def chat_messages(ask: Ask, wants_object: bool) -> list[dict[str, str]]:
    """The talk that ends in the problem; examples come before it as earlier turns."""
    system = SYSTEM + (_OBJECT_REPLY if wants_object else "")
    messages = [{"role": "system", "content": system}]
    for example in TEMPLATE.examples:
        asked = TEMPLATE.fill(example.question, example.knowledge)
        reply = example.reply
        if wants_object:
            reply = json.dumps({"rules": json.loads(reply)}, ensure_ascii=False)
        messages.append({"role": "user", "content": asked})
        messages.append({"role": "assistant", "content": reply})
    messages.append({"role": "user", "content": TEMPLATE.fill(ask.question, ask.rationale)})
    return messages


@dataclass(frozen=True)
class Completion:
    """What an endpoint answered; tokens are 0 where it does not tell."""

    text: str
    prompt_tokens: int
    generated_tokens: int


def read_completion(content: bytes) -> Completion:
    """The reply in a response's body. Raises ValueError if it is none."""
    try:
        body = json.loads(content)
        message = body["choices"][0]["message"]
        text = message.get("content")
        usage = body.get("usage") or {}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("its reply is no chat completion") from error
    if text is not None and not isinstance(text, str):
        raise ValueError("its reply is no chat completion")
    return Completion(
        text or "", _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    )


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
    return value if is_count else 0  # type: ignore[return-value]
