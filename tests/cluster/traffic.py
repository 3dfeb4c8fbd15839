"""Users of a line's stable address, all the time: new connections, one kept alive, and long generations."""

import threading
import time
from dataclasses import dataclass, field

import httpx


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a user: when it was sent and answered (monotonic seconds), by which version, or what failed."""

    user: str
    sent: float
    answered: float
    model: str
    error: str = ""


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
        for user, kept, tokens in (("new", False, 4), ("kept", True, 4), ("long", True, 200)):
            thread = threading.Thread(target=self._use, args=(user, kept, tokens), daemon=True)
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

    def _use(self, user: str, kept: bool, tokens: int) -> None:
        kept_alive = self._client()
        while not self._stop.is_set():
            client = kept_alive if kept else self._client()
            self.requests.append(self._ask(client, user, tokens))
            if not kept:
                client.close()
            time.sleep(0.1)
        kept_alive.close()

    def _client(self) -> httpx.Client:
        return httpx.Client(headers={"Host": self.host} if self.host else {}, timeout=120, trust_env=False)

    def _ask(self, client: httpx.Client, user: str, tokens: int) -> Request:
        body = {"model": self.line, "prompt": "Once upon a time", "max_tokens": tokens, "ignore_eos": True}
        sent = time.monotonic()
        try:
            answer = client.post(f"{self.url}/v1/completions", json=body)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            return Request(user, sent, time.monotonic(), "", f"{type(error).__name__}: {error}")
        return Request(user, sent, time.monotonic(), answer.json()["model"])
