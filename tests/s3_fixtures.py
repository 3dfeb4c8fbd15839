"""One S3 server for the entire test session.

A test module asks for it with `pytest_plugins = ["tests.s3_fixtures"]`.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.s3_server import S3Server, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A running SeaweedFS with the bucket `selftaught`."""
    with s3_server() as server:
        server.client().create_bucket(Bucket="selftaught")
        yield server


@pytest.fixture
def s3_prefix(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of its own in the bucket, with the environment set so that clients find the server."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture
def raw(s3: S3Server) -> Any:
    """A plain client of the same server, to look at and to damage what the store wrote."""
    return s3.client()
