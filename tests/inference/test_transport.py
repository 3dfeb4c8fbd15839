"""One request and its answer over real sockets: what is taken from the environment, followed and kept (nothing)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from selftaught.inference.transport import AddressError, LostError, Transport

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Told: 1\r\nSet-Cookie: a=b\r\n\r\nok"


class Server:
    """Answers every request with `reply`, and keeps each connection open until it is asked to `hang_up`."""

    def __init__(self, reply: bytes) -> None:
        self.reply, self.asked = reply, list[bytes]()
        self.connections, self.open = 0, list[asyncio.StreamWriter]()
        self.url, self.heard = "", asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.asked.append(head + await reader.readexactly(int(length or 0)))
                writer.write(self.reply)
                self.heard.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def hang_up(self) -> None:
        """Close what is open, as a server does with connections that is idle."""
        for each in self.open:
            each.close()


@asynccontextmanager
async def serving(reply: bytes = PLAIN) -> AsyncGenerator[Server]:
    found = Server(reply)
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield found
    found.hang_up()
    listening.close()


@asynccontextmanager
async def transport(silence: float = 30.0, **headers: str) -> AsyncGenerator[Transport]:
    made = Transport(headers, silence)
    try:
        yield made
    finally:
        await made.aclose()


async def test_a_request_is_json_with_the_standing_headers_and_its_answer_comes_whole():
    async with serving() as server, transport(Authorization="Bearer s3cret") as made:
        answer = await made.ask("POST", f"{server.url}/v1", {"prompt": [1, 2], "text": "½ \ud800"})
    assert (answer.status, answer.well, answer.content, answer.headers["x-TOLD"]) == (200, True, b"ok", "1")
    head, _, body = server.asked[0].partition(b"\r\n\r\n")
    assert b"Authorization: Bearer s3cret" in head and b"Content-Type: application/json" in head
    assert body == rb'{"prompt": [1, 2], "text": "\u00bd \ud800"}'


async def test_connections_are_used_again_and_no_more_of_them_are_opened_than_requests_wait():
    async with serving() as server, transport() as made:
        for _ in range(3):
            await asyncio.gather(*(made.ask("POST", server.url, {}) for _ in range(5)))
    assert len(server.asked) == 15
    assert server.connections == 5


async def test_a_connection_that_the_server_closed_while_nobody_used_it_is_not_used_again():
    async with serving() as server, transport() as made:
        await made.ask("POST", server.url, {})
        server.hang_up()
        await asyncio.sleep(0.05)
        assert (await made.ask("POST", server.url, {})).well
    assert server.connections == 2


async def test_no_proxy_and_no_password_of_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving() as server, transport() as made:
        assert (await made.ask("GET", server.url)).well
    assert b"authorization" not in server.asked[0].lower()


async def test_a_redirect_is_an_answer_like_others_and_no_cookie_is_kept():
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    async with serving(moved) as server, transport() as made:
        answers = [await made.ask("GET", server.url) for _ in range(2)]
    assert [(answer.status, answer.well) for answer in answers] == [(302, False)] * 2
    assert all(b"cookie" not in asked.lower() for asked in server.asked)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ],
)
async def test_half_an_answer_and_none_of_http_are_lost(reply: bytes):
    async with serving(reply) as server, transport() as made:
        waiting = asyncio.ensure_future(made.ask("POST", server.url, {}))
        await server.heard.wait()
        server.hang_up()
        with pytest.raises(LostError):
            await waiting


async def test_a_server_that_says_nothing_is_lost():
    async with serving(b"") as server, transport(silence=0.05) as made:
        with pytest.raises(LostError, match="Timeout on reading data"):
            await made.ask("GET", server.url)


NO_ADDRESSES = ["model:8000/v1", "ftp://model/v1", "http://:8000/v1", "http://model:99999/v1", ""]
NO_NAMES = [f"http://{'a' * 64}/v1", "http://a..b/v1"]


@pytest.mark.parametrize("url", [*NO_ADDRESSES, *NO_NAMES])
async def test_what_is_no_address_is_told_from_a_server_that_is_away(url: str):
    async with transport() as made:
        with pytest.raises(AddressError):
            await made.ask("GET", url)


@pytest.mark.parametrize("key", ["s3cret\n", "s3\0cret"])
async def test_a_key_that_no_header_holds_is_told_without_it(key: str):
    async with serving() as server, transport(Authorization=f"Bearer {key}") as made:
        with pytest.raises(AddressError, match="header") as found:
            await made.ask("GET", server.url)
    assert "s3" not in str(found.value)
    assert server.asked == []


async def test_a_message_about_tls_names_the_server_and_no_object_of_python():
    async def plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(PLAIN)  # as a server without TLS answers a hello
        writer.close()

    async with await asyncio.start_server(plainly, "127.0.0.1", 0) as listening, transport() as made:
        address = "127.0.0.1:{1}".format(*listening.sockets[0].getsockname())
        with pytest.raises(LostError, match=rf"{address} .*\[SSL: ") as found:
            await made.ask("GET", f"HTTPS://{address}")
    assert "object at" not in str(found.value)
