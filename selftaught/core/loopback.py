"""Servers on loopback are not private: every user of the machine reaches them, and a web page may try to.

A server that this project starts for one person answers who has its key: a bearer token, the password that
OpenAI's clients call the API key, or, for a page in a browser, a cookie that its address sets once (`?key=…`). And it
answers under the names of loopback alone, so that a name which a stranger points at 127.0.0.1 reads nothing. Servers in
a cluster are kept by network policies and a gateway, not by this.
"""

import hmac
import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

KEY = "SELFTAUGHT_LOOPBACK_KEY"
"""Environment variable: the key of the server that is started with it; not set, nothing is asked for."""
NAMES = ("127.0.0.1", "localhost", "[::1]")
OPEN = "/health"
"""Says whether the server is up, and nothing else."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def new_key() -> str:
    """A key that cannot be guessed."""
    return secrets.token_urlsafe(24)


def bearer(key: str) -> dict[str, str]:
    """The header that shows `key`; none where there is none to show."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def refusal(host: str, shown: str, key: str) -> tuple[int, str] | None:
    """Status and words for a request under the name `host` that shows the key `shown`; None where it is let in."""
    if host.rpartition(":")[0] not in NAMES and host not in NAMES:
        return 421, f"This server answers under the names of loopback alone: {', '.join(NAMES)}."
    if not hmac.compare_digest(shown.encode(), key.encode()):
        return 401, "The key of this server is missing or wrong. `selftaught up` and `selftaught serve` print it."
    return None


def token(authorization: str) -> str:
    """The key that an Authorization header shows, or an empty text."""
    scheme, _, shown = authorization.partition(" ")
    return shown.strip() if scheme.lower() == "bearer" else ""


class Keyed:
    """Wraps an ASGI application, with the key of the environment (`vllm … --middleware` its path)."""

    def __init__(self, app: App) -> None:
        self._app, self._key = app, os.environ.get(KEY, "")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not self._key or scope["path"] == OPEN:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        shown = token(headers.get("authorization", "")) or _kept(headers.get("cookie", ""))
        refused = refusal(headers.get("host", ""), asked.get("key", "") or shown, self._key)
        if refused is not None:
            await _answer(send, *refused)
        elif "key" in asked:
            await _answer(send, 303, "", self._cookie(scope, asked))
        else:
            await self._app(scope, receive, send)

    def _cookie(self, scope: Message, asked: dict[str, str]) -> list[tuple[bytes, bytes]]:
        """The browser keeps the key, and the address that it continues to, and its history, are without it."""
        rest = urlencode([(name, value) for name, value in asked.items() if name != "key"])
        kept = f"{_COOKIE}={self._key}; Path=/; HttpOnly; SameSite=Strict"
        return [(b"location", f"{scope['path']}{'?' if rest else ''}{rest}".encode()), (b"set-cookie", kept.encode())]


_COOKIE = "selftaught-key"


def _kept(cookies: str) -> str:
    try:
        found = SimpleCookie(cookies).get(_COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


async def _answer(send: Send, status: int, words: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    plain = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [plain, *(headers or [])]})
    await send({"type": "http.response.body", "body": f"{words}\n".encode() if words else b""})
