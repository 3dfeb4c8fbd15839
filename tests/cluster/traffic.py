"""Users of a line's stable address, all the time: new connections, one kept alive, and streams, long ones and short."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a user: when it was sent and answered (monotonic seconds), by which version, or what failed."""

    user: str
    sent: float
    answered: float
    model: str
    error: str = ""


Ask = Callable[[httpx.Client, str, dict[str, Any]], str]
"""Asks a URL for a completion, all of it; returns the version that gave it, raises httpx.HTTPError."""


def complete(client: httpx.Client, url: str, body: dict[str, Any]) -> str:
    """See `Ask`."""
    return client.post(url, json=body).raise_for_status().json()["model"]


def streamed(client: httpx.Client, url: str, body: dict[str, Any]) -> str:
    """See `Ask`. A stream that breaks off, ends before its last token or comes from two versions has failed."""
    with client.stream("POST", url, json=body | {"stream": True}) as answer:
        lines = [line.removeprefix("data: ") for line in answer.raise_for_status().iter_lines() if line[:5] == "data:"]
    if lines[-1:] != ["[DONE]"]:
        raise httpx.RemoteProtocolError(f"the stream broke off after {len(lines)} pieces: {lines[-1:]}")
    pieces = [json.loads(line) for line in lines[:-1]]
    models = {piece.get("model") for piece in pieces}
    if len(models) != 1 or pieces[-1]["choices"][0]["finish_reason"] != "length":
        raise httpx.RemoteProtocolError(f"the stream of {len(lines)} pieces is not complete: {lines[-3:]}")
    return models.pop()


USERS: tuple[tuple[str, Ask, bool, int], ...] = (
    ("fresh", complete, False, 4),
    ("kept", complete, True, 4),
    ("streaming", streamed, True, 200),
    ("brief", streamed, True, 4),  # many beginnings, where gateways cut what comes too early
)
"""Their name, how they ask, whether they keep their connection, and how many tokens they ask for."""


@dataclass
class Traffic:
    """Users of `line` at `url`, from the beginning of the `with` block to its end. A gateway is asked for `host`."""

    url: str
    line: str
    host: str = ""
    requests: list[Request] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Traffic":
        for user in USERS:
            thread = threading.Thread(target=self._use, args=user, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    @property
    def failed(self) -> list[Request]:
        """The requests that were not answered."""
        return [request for request in self.requests if request.error]

    @property
    def answers(self) -> Counter[tuple[str, str]]:
        """How many answers each kind of user got from each version."""
        return Counter((request.user, request.model) for request in self.requests if not request.error)

    def settled(self, model: str, since: float, within: float) -> float:
        """Wait until every user's newest answer is `model`'s; returns how long after `since` another's was asked for.

        Users have `within` seconds, and the time that their slowest answer takes.
        """
        while not self._all(model, since):
            slowest = max(request.answered - request.sent for request in self.requests)
            if time.monotonic() > since + within + 2 * slowest + 5:
                break
            time.sleep(0.2)
        return max((r.sent - since for r in self.requests if r.model != model), default=0.0)

    def _all(self, model: str, since: float) -> bool:
        newest = {request.user: request for request in list(self.requests) if request.sent > since}
        return len(newest) == len(self._threads) and {request.model for request in newest.values()} == {model}

    def _use(self, user: str, ask: Ask, kept: bool, tokens: int) -> None:
        body = {"model": self.line, "prompt": "Once upon a time", "max_tokens": tokens, "ignore_eos": True}
        kept_alive = self._client()
        while not self._stop.is_set():
            client = kept_alive if kept else self._client()
            self.requests.append(self._asked(user, ask, client, body))
            if not kept:
                client.close()
            time.sleep(0.1)
        kept_alive.close()

    def _client(self) -> httpx.Client:
        return httpx.Client(headers={"Host": self.host} if self.host else {}, timeout=120, trust_env=False)

    def _asked(self, user: str, ask: Ask, client: httpx.Client, body: dict[str, Any]) -> Request:
        sent = time.monotonic()
        try:
            model = ask(client, f"{self.url}/v1/completions", body)
        except httpx.HTTPError as error:
            return Request(user, sent, time.monotonic(), "", f"{type(error).__name__}: {error}")
        return Request(user, sent, time.monotonic(), model)
