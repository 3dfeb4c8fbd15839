"""A webhook gets each round's outcome, and the outcome does not depend on its delivery."""

from typing import Any

import pytest

from selftaught.core.errors import RoundFailed
from selftaught.core.webhook import URL
from tests.campaign.test_local import Desk, desk
from tests.hooks import listening
from tests.rounds import database, model, platform, recorded_blocks, requests

__all__ = ["database", "desk", "model", "platform", "recorded_blocks", "requests"]


def test_promoted_and_refused_rounds_are_told_with_what_decided(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    with listening() as hook:
        monkeypatch.setenv(URL, hook.url)
        rounds: list[Any] = list(desk.campaign(rounds=2).run())
    promoted, refused = hook.received
    assert [each["event"] for each in hook.received] == ["round.promoted", "round.refused"]
    assert (promoted["line"], promoted["campaign"], promoted["round"], promoted["attempt"]) == (
        "line",
        "campaign",
        1,
        0,
    )
    for found, ended in zip((promoted, refused), rounds, strict=True):
        last = ended.report.last
        assert (found["challenger"]["digest"], found["mlflow_run"]) == (last.challenger.digest, last.mlflow_run)
        assert [found[name] for name in ("metric", "gain", "low", "high")] == [
            getattr(last.gate, name) for name in ("metric", "gain", "low", "high")
        ]
        assert last.gate.checks[0].reason in found["reason"]
    assert refused["champion"]["digest"] == promoted["challenger"]["digest"]
    assert [each["X-Selftaught-Delivery-Id"] for each in hook.headers] == [
        "round.promoted/line/campaign/1-0",
        "round.refused/line/campaign/2-0",
    ]


def test_a_failed_round_is_told_with_why(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    with listening() as hook:
        monkeypatch.setenv(URL, hook.url)
        with pytest.raises(RoundFailed):
            desk.run(curate={"type": "accepted", "minimum": 1000})
    (failed,) = hook.received
    assert (failed["event"], failed["round"], failed["challenger"], failed["gain"]) == ("round.failed", 1, None, None)
    assert "1000" in failed["reason"]


@pytest.mark.parametrize("status", [500, 302])
def test_a_webhook_that_says_no_costs_no_round(status: int, desk: Desk, monkeypatch: pytest.MonkeyPatch):
    with listening() as hook:
        hook.status = status
        monkeypatch.setenv(URL, hook.url)
        assert desk.run() == [(1, 0, "promoted")]
    assert len(hook.bodies) == 1
