"""A webhook gets a body that it can check, and one that is away or says no is a word and not an error."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core import webhook
from selftaught.core.webhook import SIGNING, deliver, signed
from tests.hooks import listening

BODY = {"event": "round.promoted", "line": "größe"}


def test_a_body_arrives_as_json_under_its_delivery_id_without_a_signature(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(SIGNING, raising=False)
    with listening() as hook:
        assert deliver(hook.url, "sent", BODY, "one") == ""
    assert hook.received == [BODY]
    (headers,) = hook.headers
    assert (headers["Content-Type"], headers["X-Selftaught-Delivery-Id"]) == ("application/json", "one")
    assert headers["X-Selftaught-Event"] == "sent"
    assert "X-Selftaught-Signature" not in headers


def test_who_has_the_secret_can_check_what_arrived(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SIGNING, "s3cret")
    with listening() as hook:
        assert deliver(hook.url, "sent", BODY, "one") == ""
    (headers,), (body,) = hook.headers, hook.bodies
    said = f"{headers['X-Selftaught-Delivery-Id']}.{headers['X-Selftaught-Timestamp']}.".encode() + body
    digest = hmac.new(b"s3cret", said, hashlib.sha256).digest()
    assert headers["X-Selftaught-Signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert "s3cret" not in str(headers)


@given(st.binary(), st.text("abc/0", min_size=1), st.integers(0, 2**33))
def test_a_signature_is_of_body_id_and_time(content: bytes, delivery: str, at: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SIGNING, "key")
        said = signed(content, delivery, at)["X-Selftaught-Signature"]
        others = (
            signed(content + b"x", delivery, at),
            signed(content, f"{delivery}x", at),
            signed(content, delivery, at + 1),
        )
        assert said not in {other["X-Selftaught-Signature"] for other in others}
        assert said == signed(content, delivery, at)["X-Selftaught-Signature"]


@pytest.mark.parametrize("status", [302, 401, 500])
def test_a_webhook_that_says_no_is_told_of_by_its_host_alone(status: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(SIGNING, "s3cret")
    with listening() as hook:
        hook.status = status
        said = deliver(hook.url.replace("127", "user:hidden@127"), "sent", BODY, "one")
    assert said == f"webhook at 127.0.0.1: not notified (status {status}). Check SELFTAUGHT_WEBHOOK."


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "nowhere", "http://[", "http://a:port/", "ftp://host/", ""])
def test_a_webhook_that_is_not_there_is_told_of(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(webhook, "PATIENCE", 0.1)
    assert "not notified (" in deliver(url, "sent", BODY, "one")
