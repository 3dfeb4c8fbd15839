"""Whether the model hub answers: asked twice at most, whatever it says."""

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from selftaught.core.errors import Unavailable
from selftaught.core.hub import silence
from selftaught.state.starter import resolve


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """A hub that answers as `handler` does."""
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        yield url
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "says"), [(200, ""), (401, ""), (404, ""), (500, "status 500"), (503, "status 503")]
)
def test_any_answer_but_a_servers_error_will_do(status: int, says: str, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

    with serving(Hub, monkeypatch) as url:
        assert silence() == (f"{url}: {says}" if says else "")
    assert len(asked) == 1


def test_a_hub_that_nobody_serves_is_silent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert silence() == "http://127.0.0.1:9: [Errno 111] Connection refused"


def test_nobody_is_asked_where_the_user_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert silence() == ""


def test_a_connection_that_fails_while_files_are_fetched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fields = {
        "/api/models/owner/name/revision/main": {"id": "owner/name", "sha": "a" * 40, "siblings": []},
        f"/api/models/owner/name/tree/{'a' * 40}": [
            {"type": "file", "path": "model.safetensors", "oid": "b" * 40, "size": 7}
        ],
    }

    class Hub(BaseHTTPRequestHandler):
        """It lists a file, and breaks every connection on which that is fetched."""

        def do_GET(self) -> None:
            if "/resolve/" in self.path:
                self.close_connection = True
                return
            said = json.dumps(fields.get(self.path.partition("?")[0], {})).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def do_HEAD(self) -> None:
            self.send_response(200)
            for name, value in {"ETag": '"b"', "X-Repo-Commit": "a" * 40, "Content-Length": "7"}.items():
                self.send_header(name, value)
            self.end_headers()

    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the hub's library tries five times more
    with serving(Hub, monkeypatch), pytest.raises(Unavailable, match="owner/name: no such folder, and the model hub"):
        resolve("owner/name", tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []
