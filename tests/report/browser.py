"""A headless Chromium for the report's tests: opens one file at a given width and says what a person would meet.

Speaks the devtools protocol, because Chromium's own window is never narrower than about 500 px.
"""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0"
).split()


def chromium() -> str | None:
    """The path of a Chromium or Chrome on this machine."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass(slots=True)
class Page:
    """One open page. `events` are the protocol's, in order."""

    socket: ClientConnection
    session: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    ids: Iterator[int] = field(default_factory=count)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its result; what happens meanwhile is added to `events`."""
        number = next(self.ids)
        session = {"sessionId": self.session} if self.session else {}
        self.socket.send(json.dumps({"id": number, "method": method, "params": params, **session}))
        while (message := json.loads(self.socket.recv(timeout=60))).get("id") != number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression (awaited when it is a promise)."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 120) -> None:
        """Until the expression is true."""
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, f"still not true after {seconds} s: {expression}"
            time.sleep(0.05)

    def resize(self, width: int, height: int = 900) -> None:
        """Make the page as wide as a device."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def dark(self, on: bool = True) -> None:
        """Prefer a dark colour scheme."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if on else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def errors(self) -> list[dict[str, Any]]:
        """Everything that the console calls an error or warning, uncaught exceptions among it."""
        logged = [e["params"]["entry"] for e in self.events if e.get("method") == "Log.entryAdded"]
        thrown = [e["params"] for e in self.events if e.get("method") == "Runtime.exceptionThrown"]
        return [entry for entry in logged if entry["level"] in ("error", "warning")] + thrown

    def requests(self) -> list[str]:
        """The addresses of everything that the page asked for."""
        return [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]

    def picture(self, path: Path) -> None:
        """The complete page as a PNG."""
        image = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(image["data"]))

    def pdf(self, path: Path) -> None:
        """The page as it is printed."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF")["data"]))


@contextmanager
def opened(file: Path, profile: Path, *, width: int, dark: bool = False) -> Iterator[Page]:
    """`file` in a browser of its own, loaded."""
    program = chromium()
    assert program
    browser = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(_address(profile), max_size=None, open_timeout=60, ping_interval=None) as socket:
            yield _load(Page(socket), file, width, dark)
    finally:
        browser.terminate()
        browser.wait()


def _address(profile: Path) -> str:
    port = profile / "DevToolsActivePort"
    end = time.monotonic() + 60
    while not (port.exists() and len(port.read_text().split()) == 2):
        assert time.monotonic() < end, "Chromium did not start within 60 s"
        time.sleep(0.05)
    number, path = port.read_text().split()
    return f"ws://127.0.0.1:{number}{path}"


def _load(page: Page, file: Path, width: int, dark: bool) -> Page:
    target = page.call("Target.createTarget", url="about:blank")["targetId"]
    page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        page.call(f"{domain}.enable")
    page.resize(width)
    page.dark(dark)
    page.call("Page.navigate", url=file.resolve().as_uri())
    page.wait(f"document.readyState === 'complete' && location.href === {json.dumps(file.resolve().as_uri())}")
    return page
