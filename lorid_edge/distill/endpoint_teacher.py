"""A teacher behind HTTP: any endpoint that speaks OpenAI's chat completions.

Requests run in threads, a few at a time. What may pass (a busy or broken server, a lost connection)
is tried again, each time after a longer wait, and not before the server says; after so many tries
the teacher gives up as a whole, because the next problem would fare no better.
"""

from __future__ import annotations

import email.utils
import os
import queue
import random
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lorid_edge.distill.chat_requests import RequestForm, read_completion
from lorid_edge.distill.teacher import Ask, Reply
from lorid_edge.errors import CancelledError, LoridError, OfflineError, UsageError
from lorid_edge.packs.places import OFFLINE_VARIABLE, is_offline

if TYPE_CHECKING:
    import httpx

MAX_RESPONSE_BYTES = 2**22
LONGEST_WAIT_SECONDS = 60.0
LONGEST_RETRY_AFTER_SECONDS = 600.0
CONNECT_TIMEOUT_SECONDS = 15.0
_CHAT_PATH = "/chat/completions"
_PASSING = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529))
_REFUSING_A_PART = frozenset((400, 422))


@dataclass(frozen=True)
class EndpointSettings:
    """Where the teacher is and how it is asked.

    Attributes:
        url: such as https://api.openai.com/v1 or http://127.0.0.1:8080/v1.
        model: the endpoint's name for it.
        key_variable: the environment variable that holds the key; None to send none.
        concurrency: requests under way at once, 1 to 256.
        tries: of one request, before the teacher gives up as a whole.
        timeout_seconds: for one try, from asking to the end of the reply.
        first_wait_seconds: before the second try; it doubles with each one.
        max_tokens: of a reply; reasoning models count their thoughts.
    """

    url: str
    model: str
    key_variable: str | None = None
    concurrency: int = 8
    tries: int = 6
    timeout_seconds: float = 120.0
    first_wait_seconds: float = 1.0
    max_tokens: int = 1000

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"{self.url!r} is no endpoint; expected an address such as "
                "https://api.openai.com/v1 or http://127.0.0.1:8080/v1."
            )
        if not self.model:
            raise UsageError("An endpoint needs the name of its model; give --model.")
        if not 1 <= self.concurrency <= 256 or self.tries < 1:
            raise UsageError("An endpoint is asked 1 to 256 times at once, with at least 1 try.")

    @property
    def address(self) -> str:
        """Where requests go."""
        address = self.url.rstrip("/")
        return address if address.endswith(_CHAT_PATH) else address + _CHAT_PATH

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


class _Hopeless(Exception):
    """The endpoint will not do, for the reason in the message."""


HOPELESS_REFUSALS = 5
"""So many problems refused in every form before any other is answered: it is not the problems."""


class _Passing(Exception):
    """A try failed in a way that may pass; `wait_seconds` is what the server asks for.

    `form` is what was asked in: the next try goes on with it.
    """

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds
        self.form: RequestForm | None = None


class EndpointTeacher:
    """See `Teacher`."""

    def __init__(self, settings: EndpointSettings) -> None:
        """Raises:
        UsageError: the key's variable is not set, or its content cannot be a key.
        OfflineError: the endpoint is elsewhere and the network is forbidden.
        LoridError: httpx is missing.
        """
        if is_offline() and not settings.is_loopback:
            raise OfflineError(
                f"{settings.url} is on the network, which {OFFLINE_VARIABLE} forbids; "
                f"unset {OFFLINE_VARIABLE}, or use a pack or a local server as teacher"
            )
        self.name = f"{urlsplit(settings.url).netloc.rpartition('@')[2]}: {settings.model}"
        self.capacity = settings.concurrency
        self._settings = settings
        self._client = _open_client(settings)
        self._form = RequestForm()
        self._refused_first = 0
        self._has_answered = False
        self._resume_at = 0.0
        self._stopped = threading.Event()
        self._jitter = random.Random(0)
        self._asks: queue.SimpleQueue[Ask | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Reply | BaseException] = queue.SimpleQueue()
        self._under_way = 0
        self._threads = [
            threading.Thread(target=self._work, name="lorid-edge-teacher", daemon=True)
            for _ in range(settings.concurrency)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, ask: Ask) -> None:
        """Begin with a request."""
        self._under_way += 1
        self._asks.put(ask)

    def next_replies(self) -> list[Reply]:
        """Wait for replies.

        Raises:
            LoridError: the endpoint refuses, or did not answer within the tries it has.
            CancelledError: `abort` was called.
        """
        replies: list[Reply] = []
        while self._under_way and (not replies or not self._outcomes.empty()):
            outcome = self._outcomes.get()
            if isinstance(outcome, BaseException):
                if replies and not self._stopped.is_set():
                    self._outcomes.put(outcome)  # first what is good, then the error
                    return replies
                raise outcome
            self._under_way -= 1
            replies.append(outcome)
        return replies

    def abort(self) -> None:
        """From any thread: drop what is under way; `next_replies` then raises CancelledError."""
        self._stopped.set()
        self._outcomes.put(CancelledError("Cancelled."))

    def close(self) -> None:
        """End the threads; none of them is waited for."""
        self._stopped.set()
        for _ in self._threads:
            self._asks.put(None)
        self._client.close()

    # --- in the threads -----------------------------------------------------------------------

    def _work(self) -> None:
        while not self._stopped.is_set():
            ask = self._asks.get()
            if ask is None:
                return
            try:
                outcome: Reply | BaseException = self._reply(ask)
            except _Hopeless as failure:
                outcome = LoridError(
                    f"the teacher at {self._settings.url} {failure}. What was made before is "
                    "kept; run the same command again to go on."
                )
            except BaseException as error:
                outcome = error
            self._outcomes.put(outcome)

    def _reply(self, ask: Ask) -> Reply:
        wait_seconds = self._settings.first_wait_seconds
        reason, form = "", self._form
        for attempt in range(self._settings.tries):
            spread_seconds = self._jitter.random() * self._settings.first_wait_seconds
            self._sleep_until(self._resume_at + spread_seconds)
            try:
                return self._ask_in_some_form(ask, form)
            except _Passing as failure:
                reason, form = str(failure), failure.form or form
                if attempt + 1 == self._settings.tries:
                    break
                now = time.monotonic()
                asked_seconds = failure.wait_seconds or 0.0  # which hold for all threads
                self._resume_at = max(self._resume_at, now + asked_seconds)
                half = wait_seconds / 2
                self._sleep_until(now + max(asked_seconds, half) + half * self._jitter.random())
                wait_seconds = min(2 * wait_seconds, LONGEST_WAIT_SECONDS)
        tries = self._settings.tries
        raise _Hopeless(f"failed {tries} time{'s' if tries > 1 else ''} in a row: {reason}")

    def _sleep_until(self, moment: float) -> None:
        if self._stopped.wait(max(0.0, moment - time.monotonic())):
            raise CancelledError("Cancelled.")

    def _ask_in_some_form(self, ask: Ask, first: RequestForm) -> Reply:
        """Ask, with less where the endpoint refuses a part of the request.

        The form of the first reply is kept for all others. What is refused later is refused for a
        problem's own sake, or a model's reply to it.
        """
        settings = self._settings
        form: RequestForm | None = first
        while form is not None:
            body = form.body(ask, settings.model, settings.max_tokens)
            try:
                status, content = self._post(body)
            except _Passing as failure:
                failure.form = form
                raise
            if status == HTTPStatus.OK:
                reply = _reply(ask, content)
                if not self._has_answered:
                    self._has_answered, self._form = True, form
                return reply
            complaint = _excerpt(content)
            if status not in _REFUSING_A_PART:
                break
            form = form.simpler(complaint)
        else:
            self._refused_first += not self._has_answered
            if self._refused_first < HOPELESS_REFUSALS:
                return Reply(ask.key, "", 0, 0, refusal="refused by the teacher")
        raise _Hopeless(f"answers {_named(status)}: {complaint}")

    def _post(self, body: object) -> tuple[int, bytes]:
        """One try. Raises _Passing where the next may succeed."""
        import httpx

        deadline = time.monotonic() + self._settings.timeout_seconds
        content = b""
        try:
            with self._client.stream("POST", self._settings.address, json=body) as response:
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > MAX_RESPONSE_BYTES:
                        raise _Passing(f"its reply is longer than {MAX_RESPONSE_BYTES:,} bytes")
                    if time.monotonic() > deadline:
                        raise _Passing(f"no reply within {self._settings.timeout_seconds:g} s")
        except httpx.TimeoutException as error:
            raise _Passing(f"no reply within {self._settings.timeout_seconds:g} s") from error
        except (httpx.HTTPError, httpx.StreamError, RuntimeError) as error:
            if self._stopped.is_set():
                raise CancelledError("Cancelled.") from error
            raise _Passing(f"cannot be reached ({str(error) or type(error).__name__})") from error
        if response.status_code in _PASSING:
            wait_seconds = retry_after_seconds(response.headers.get("Retry-After"))
            reason = f"answers {_named(response.status_code)}: {_excerpt(content)}"
            raise _Passing(reason, wait_seconds)
        return response.status_code, content


def _reply(ask: Ask, content: bytes) -> Reply:
    """What a response's body holds. Raises _Passing if that is no completion."""
    try:
        completion = read_completion(content)
    except ValueError as error:
        raise _Passing(str(error)) from error
    return Reply(ask.key, completion.text, completion.prompt_tokens, completion.generated_tokens)


def retry_after_seconds(value: str | None) -> float | None:
    """How long a Retry-After header asks to wait, 0 to 600 s; None if there is none."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        seconds = moment.timestamp() - time.time()
    if seconds != seconds:  # NaN
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _open_client(settings: EndpointSettings) -> httpx.Client:
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise LoridError(
            "An endpoint as teacher needs httpx; run: pip install 'lorid-edge[distill]'"
        ) from error
    headers = {"User-Agent": "lorid-edge"}
    if settings.key_variable is not None:
        headers["Authorization"] = f"Bearer {_key(settings.key_variable)}"
    timeout = httpx.Timeout(
        settings.timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, settings.timeout_seconds)
    )
    return httpx.Client(
        headers=headers,
        timeout=timeout,
        limits=httpx.Limits(max_connections=settings.concurrency),
        trust_env=not settings.is_loopback,  # a proxy has no way to this machine
    )


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(
            f"The environment variable {variable}, which is to hold the key, is empty."
        )
    if not key.isascii() or not key.isprintable():
        raise UsageError(f"The content of the environment variable {variable} cannot be a key.")
    return key


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _excerpt(content: bytes) -> str:
    text = " ".join(content[:2000].decode("utf-8", "replace").split())
    return text[:200] or "no reason given"
