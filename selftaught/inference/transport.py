"""HTTP as the models' client speaks it: one request and its complete answer, at a cost that does not grow with the
others.

aiohttp's, because httpx looks at every connection of its pool for each request (encode/httpx#3215): at 256 in flight
that alone is milliseconds. Opens as many connections as there are requests; takes no proxy and no credentials from the
environment, keeps no cookies, follows no redirects. It tries nothing again and judges no answer
(`selftaught.inference.endpoint` does).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError

from selftaught.core.authorities import trusted

CONNECT_S = 10.0
"""For a name, a connection and its TLS handshake."""
IDLE_S = 4.0
"""For which a connection is kept that is idle: uvicorn, and so vLLM, closes it after five seconds."""


class LostError(Exception):
    """No complete answer came: nobody is there, or it broke off, or took too long. Its cause is the library's error."""


class AddressError(Exception):
    """Nobody can be asked so: there is no such address, or no header for such a key."""


class PackingError(Exception):
    """An answer came that cannot be unpacked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said. The names of `headers` are found in any case."""

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def well(self) -> bool:
        """Whether it is the answer to what was asked."""
        return 200 <= self.status < 300


class Transport:
    """Connections to servers, with `headers` on every request. For one event loop, which runs at the first of them.

    `timeout` is the longest time in which a server says nothing (s).
    """

    def __init__(self, headers: Mapping[str, str], timeout: float) -> None:
        self._headers, self._timeout = headers, timeout

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S, ssl=trusted()),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(connect=CONNECT_S, sock_read=self._timeout),
        )

    async def ask(self, method: Literal["GET", "POST"], url: str, body: dict[str, Any] | None = None) -> Answer:
        """The answer to one request, `body` sent as JSON. Raises LostError, AddressError and PackingError."""
        try:
            async with self._session.request(method, url, json=body, allow_redirects=False) as said:
                return Answer(url, said.status, said.headers, await said.read())
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise AddressError(_description(error)) from error
        except aiohttp.ClientPayloadError as error:
            raise (PackingError if _of_packing(error) else LostError)(_description(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise LostError(_description(error)) from error
        except ValueError as error:  # of a name that DNS cannot hold, of a key with a line's end
            raise AddressError(_description(error)) from error

    async def aclose(self) -> None:
        """Close the connections."""
        if "_session" in vars(self):
            await self._session.close()


def _of_packing(error: aiohttp.ClientPayloadError) -> bool:
    return isinstance(error.__cause__, ContentEncodingError)


def _description(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
