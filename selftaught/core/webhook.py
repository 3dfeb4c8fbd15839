"""Signed webhooks: posts a JSON body to a URL.

Delivery is tried three times within half a minute and then given up: what happened has happened, so a webhook that is
away is a warning and never an error. The signature is that of MLflow's webhooks (HMAC-SHA256 over delivery id, time
and body), so the secret itself is never sent. What the body says is the sender's business.
"""

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx
import stamina

URL = "SELFTAUGHT_WEBHOOK"
SIGNING = "SELFTAUGHT_WEBHOOK_SECRET"
"""Environment variables: where bodies go, and what signs them. URLs of chat services are secrets themselves, so neither
is a setting that a file of a folder may name."""

EVENT = "X-Selftaught-Event"

PATIENCE = 30.0
"""Seconds that all tries together may take."""


def deliver(url: str, event: str, body: Mapping[str, object], delivery: str) -> str:
    """Post `body` as JSON to `url`. Returns why it did not arrive, or an empty string; no secret is in it.

    `event` goes into a header. `delivery` identifies the event, for a receiver that gets it twice.
    """
    try:
        _post(url, event, json.dumps(body, ensure_ascii=False).encode(), delivery)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: a port that is none, and the like
        reason = type(error).__name__
        if isinstance(error, httpx.HTTPStatusError):
            reason = f"status {error.response.status_code}"
        return f"webhook at {_host(url)}: not notified ({reason}). Check {URL}."
    return ""


@stamina.retry(on=httpx.TransportError, attempts=3, timeout=PATIENCE)
def _post(url: str, event: str, content: bytes, delivery: str) -> None:
    headers = {"Content-Type": "application/json", EVENT: event, **signed(content, delivery, int(time.time()))}
    httpx.post(url, content=content, headers=headers, timeout=10).raise_for_status()


def signed(content: bytes, delivery: str, at: int) -> dict[str, str]:
    """The headers that name a delivery of `content` at the second `at`, and sign it where there is a secret.

    Source: mlflow.webhooks.delivery (`v1,` and the base64 of HMAC-SHA256 over `<id>.<timestamp>.<body>`).
    """
    headers = {"X-Selftaught-Delivery-Id": delivery, "X-Selftaught-Timestamp": str(at)}
    if secret := os.environ.get(SIGNING):
        said = f"{delivery}.{at}.".encode() + content
        digest = hmac.new(secret.encode(), said, hashlib.sha256).digest()
        headers["X-Selftaught-Signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "no host"
    except ValueError:
        return "no host"
