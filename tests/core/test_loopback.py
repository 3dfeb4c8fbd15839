"""What this project serves on loopback answers who has its key, under the names of loopback, and nobody else."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.errors import Unavailable
from selftaught.core.loopback import KEY, Keyed, bearer, new_key, refusal, token
from selftaught.lines import background
from selftaught.platform import Platform
from selftaught.settings import Settings, database_url
from selftaught.state.store import open_store
from selftaught.state.tracking import Tracker
from tests.registry_made import LINE, Registry
from tests.waiting import end, until

pytest_plugins = ["tests.registry_fixtures"]
SECRET = "a-key_that-nobody-guesses"


async def everything(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> httpx.AsyncClient:
    monkeypatch.setenv(KEY, SECRET)
    return httpx.AsyncClient(transport=httpx.ASGITransport(Keyed(everything)), base_url="http://127.0.0.1:5000")


@pytest.mark.parametrize("path", ["/", "/v1/models", "/classify", "/metrics", "/docs", "/ajax-api/3.0/mlflow/x"])
async def test_without_the_key_nothing_is_answered(client: httpx.AsyncClient, path: str):
    for shown in ({}, bearer("another"), {"Authorization": f"Basic {SECRET}"}, {"Cookie": "selftaught-key=no"}):
        assert (await client.get(path, headers=shown)).status_code == 401
    assert (await client.get(path, headers=bearer(SECRET))).text == path


@pytest.mark.parametrize("host", ["evil.example", "evil.example:5000", "127.0.0.1.evil.example", "10.0.0.1:5000", ""])
async def test_another_name_for_loopback_reads_nothing(client: httpx.AsyncClient, host: str):
    """A page of evil.example whose name leads to 127.0.0.1 is of one origin with the server, for a browser."""
    assert (await client.get("/", headers=bearer(SECRET) | {"Host": host})).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:5000", "localhost:8000", "[::1]:8000", "[::1]"])
def test_the_names_of_loopback_are_let_in(host: str):
    assert refusal(host, SECRET, SECRET) is None


async def test_a_browser_is_given_a_cookie_and_an_address_without_the_key(client: httpx.AsyncClient):
    first = await client.get("/models", params={"key": SECRET, "page": "2"})
    assert (first.status_code, first.headers["location"]) == (303, "/models?page=2")
    assert "HttpOnly; SameSite=Strict" in first.headers["set-cookie"]
    assert (await client.get(first.headers["location"])).text == "/models"
    assert (await client.get("/", params={"key": "wrong"}, headers={"Cookie": ""})).status_code == 401


async def test_whether_it_is_up_is_no_secret(client: httpx.AsyncClient):
    assert (await client.get("/health")).status_code == 200


@given(st.text(max_size=50))
def test_no_header_but_the_keys_lets_in(header: str):
    assert token(header) != SECRET
    assert refusal("localhost", token(header), SECRET)


def test_keys_are_not_repeated():
    assert len({new_key() for _ in range(100)}) == 100


@pytest.fixture
def ui(registry: Registry, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The real MLflow UI over a registry: its address, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {KEY: SECRET, "SELFTAUGHT_HOME": str(registry.home)}
    with (tmp_path / "ui.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "selftaught.state.tracking_ui", str(port)], env=environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        assert until(lambda: answers(url), 300), (tmp_path / "ui.log").read_text()
        yield url, process.pid
    finally:
        end(process.pid)
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


def test_the_mlflow_ui_is_one_process_and_shows_the_registry_to_who_has_the_key(ui: tuple[str, int]):
    url, process = ui
    search = f"{url}/ajax-api/2.0/mlflow/registered-models/search"
    assert httpx.get(search).status_code == httpx.get(url).status_code == 401
    found = httpx.get(search, headers=bearer(SECRET)).json()["registered_models"]
    assert [model["name"] for model in found] == [LINE]
    assert "<title>MLflow</title>" in httpx.get(url, headers=bearer(SECRET)).text
    assert not Path(f"/proc/{process}/task/{process}/children").read_text()


def test_the_mlflow_ui_is_given_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A program instead of this interpreter shows what it is started with."""
    shows = tmp_path / "python"
    shows.write_text("#!/bin/sh\nexec env\n")
    shows.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(shows))
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "GIT_PASSWORD", "HF_TOKEN"):
        monkeypatch.setenv(name, "hunter2")
    settings = Settings(home=tmp_path, store=str(tmp_path), tracking_uri=database_url(tmp_path / "mlflow.db"))
    with pytest.raises(Unavailable, match="mlflow: did not come up"):
        background._tracking_ui(Platform(settings, open_store(settings.store), Tracker(settings.tracking_uri)), 0)
    text = (tmp_path / "served" / "mlflow.log").read_text()
    assert f"{KEY}=" in text
    assert "hunter2" not in text
