"""A stand-in for a gateway: an HTTP proxy that draws every request again by the weights of its line's HTTPRoute.

It matches host names alone, sets the headers that the rule's filter says, streams nothing and opens a connection for
each request that it sends on.
"""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx


@dataclass
class Gateway:
    """`route` gives the HTTPRoute of a line (None: there is none), `address` the URL of a Service."""

    route: Callable[[str], dict[str, Any] | None]
    address: Callable[[str], str]
    sent: list[tuple[dict[str, int], str]] = field(default_factory=list)
    """Of each request for an answer: the weights it was drawn by, and the Service that it came to."""
    drawing: random.Random = field(default_factory=lambda: random.Random(0))
    onward: httpx.Client = field(
        default_factory=lambda: httpx.Client(
            limits=httpx.Limits(max_keepalive_connections=0), timeout=120, trust_env=False
        )
    )

    def choose(self, host: str) -> tuple[dict[str, int], str] | None:
        """The weights that hold for `host` and the Service that they give a request to."""
        route = self.route(host.partition(".")[0])
        if route is None or host not in route["spec"]["hostnames"]:
            return None
        backends = route["spec"]["rules"][0]["backendRefs"]
        weights = {backend["name"]: backend["weight"] for backend in backends}
        return weights, self.drawing.choices(list(weights), list(weights.values()))[0]

    def headers(self, host: str) -> dict[str, str]:
        """The headers that the rule for `host` sets, whatever the client sent."""
        (rule,) = self.route(host.partition(".")[0])["spec"]["rules"]
        modifiers = [each for each in rule.get("filters", []) if each["type"] == "RequestHeaderModifier"]
        return {each["name"]: each["value"] for made in modifiers for each in made["requestHeaderModifier"]["set"]}

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on loopback; yields the URL."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"gateway": self}))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gateway: Gateway

    def do_GET(self) -> None:
        self._forward(b"")

    def do_POST(self) -> None:
        self._forward(self.rfile.read(int(self.headers["Content-Length"])))

    def _forward(self, body: bytes) -> None:
        chosen = self.gateway.choose(self.headers["Host"])
        if chosen is None:
            return self._answer(404, b"no route")
        if body:
            self.gateway.sent.append(chosen)
        url = f"{self.gateway.address(chosen[1])}{self.path}"
        headers = {**self._sent(), **self.gateway.headers(self.headers["Host"])}
        try:
            answer = self.gateway.onward.request(self.command, url, content=body, headers=headers)
        except httpx.HTTPError as error:
            return self._answer(503, str(error).encode())
        return self._answer(answer.status_code, answer.content)

    def _sent(self) -> dict[str, str]:
        """What the client said of itself, and of the body."""
        own = {name.lower(): value for name, value in self.headers.items() if name.lower().startswith("x-")}
        return own | {"Content-Type": "application/json"}

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
