"""A server whose certificate nobody here trusts is not away: it is reported at once, with the fix."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from selftaught.cluster.client import Cluster
from selftaught.core.errors import Away, BadInput, SelftaughtError, Unavailable
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.records import Message
from selftaught.serving.routes.repository import Repository
from selftaught.state.tracking import AUTHORITIES, Tracker
from tests.certificates import Certificates, issue
from tests.kubernetes_api import Kubernetes, kubeconfig, serving


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def untrusted(certificates: Certificates) -> Iterator[str]:
    with serving(Kubernetes(), certificates) as server:
        yield server.url


@pytest.fixture(autouse=True)
def trusted_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*AUTHORITIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "MLFLOW_TRACKING_INSECURE_TLS"):
        monkeypatch.delenv(name, raising=False)


def cluster(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(folder / "kubeconfig", url)))
    Cluster("space", "name").pods("app=engine")


def tracker(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Tracker(url).lines()


def repository(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Repository(f"{url}/lines", "main", "A <a@b>")._connection() as client:  # pyright: ignore[reportPrivateUsage]
        client.get_refs("/lines")


def endpoint(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        async with Endpoint(f"{url}/v1", "line", "d" * 64, policy=RetryPolicy(patience=600)) as model:
            await model.chat([Message(role="user", content="?")])

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("use", "fix"),
    [
        (cluster, "Name the authority that signed it in KUBECONFIG"),
        (tracker, "Name the file of the authority that signed it in MLFLOW_TRACKING_SERVER_CERT_PATH"),
        (repository, "Name the file of the authority that signed it in SSL_CERT_FILE"),
        (endpoint, "CERTIFICATE_VERIFY_FAILED"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_not_waited_for(
    use: Callable[[str, Path, pytest.MonkeyPatch], None],
    fix: str,
    untrusted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin = time.monotonic()
    with pytest.raises(SelftaughtError, match=fix) as found:
        use(untrusted, tmp_path, monkeypatch)
    assert not isinstance(found.value, Away)
    assert time.monotonic() - begin < 120  # and not the 600 s of patience


@pytest.mark.parametrize("name", AUTHORITIES)
def test_the_tracking_server_is_trusted_as_mlflow_trusts_it(
    name: str, untrusted: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in is no MLflow, which its answer to the next question says: the certificate was accepted."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv(name, str(certificates.authority))
    with pytest.raises((Unavailable, KeyError)) as found:
        Tracker(untrusted).lines()
    assert "certificate" not in str(found.value)


def test_a_file_of_authorities_that_is_not_there_is_named(untrusted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", "/nowhere.pem")
    with pytest.raises(BadInput, match=r"MLFLOW_TRACKING_SERVER_CERT_PATH: /nowhere\.pem: no file of certificates"):
        Tracker(untrusted).lines()
