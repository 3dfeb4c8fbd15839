"""Notifies a webhook of a round's outcome: promoted, refused, trained (no gate) or failed.

The body says which round it was, what was decided and by how much, in few fields that stay; the round's record has the
rest. Nothing is sent without SELFTAUGHT_WEBHOOK. A repeated step may send the same again, under the
same delivery id. How a body gets there, and that a failure to deliver costs no round, is `selftaught.core.webhook`'s.
"""

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from selftaught.core.webhook import URL, deliver
from selftaught.report.data import ReportData
from selftaught.round.job import Job
from selftaught.state.round_key import RoundKey

LONGEST = 4000
"""Characters of a reason."""


Event = Literal["round.promoted", "round.refused", "round.trained", "round.failed"]
EVENTS: Mapping[str, Event] = {
    "promoted": "round.promoted",
    "refused": "round.refused",
    "trained": "round.trained",
    "failed": "round.failed",
}
"""The event of each outcome."""


class Told(BaseModel):
    """The body, documented in docs/operations.md: fields are added, none is taken away or gets another meaning."""

    model_config = ConfigDict(frozen=True)

    event: Event
    at: str
    """When it was sent (ISO 8601, UTC)."""
    line: str
    campaign: str
    round: int
    attempt: int
    """From 0 on."""
    recipe: str
    mlflow_run: str
    champion: Mapping[str, str] | None = None
    """Digest and version of what users had before the round."""
    challenger: Mapping[str, str] | None = None
    metric: str | None = None
    gain: float | None = None
    """Of the challenger over the champion on the gate tasks, with its interval."""
    low: float | None = None
    high: float | None = None
    reason: str
    """What the gate said, or why the round failed."""


def notify_ended(job: Job, report: ReportData) -> None:
    """Tell of the round that `job` fixed and that `report` is the record of."""
    last, gate = report.last, report.last.gate
    decided = {name: getattr(gate, name) for name in ("metric", "gain", "low", "high")} if gate else {}
    _notify(
        Told(
            event=EVENTS[last.outcome],
            at=_now(),
            line=job.line,
            campaign=job.campaign,
            round=job.round,
            attempt=job.attempt,
            recipe=job.recipe.name,
            mlflow_run=job.run,
            champion=last.champion.model_dump(include={"digest", "version"}),
            challenger=last.challenger.model_dump(include={"digest", "version"}) if last.challenger else None,
            reason="; ".join(check.reason for check in gate.checks)[:LONGEST] if gate else "",
            **decided,
        )
    )


def notify_failed(key: RoundKey, recipe: str, run: str, reason: str) -> None:
    """Tell of an attempt at a round that cannot end as it was drawn; the next one is redrawn."""
    _notify(
        Told(
            event="round.failed",
            at=_now(),
            line=key.line,
            campaign=key.campaign,
            round=key.number,
            attempt=key.attempt,
            recipe=recipe,
            mlflow_run=run,
            reason=reason[:LONGEST],
        )
    )


def _notify(found: Told) -> None:
    if url := os.environ.get(URL):
        delivery = f"{found.event}/{RoundKey(found.line, found.campaign, found.round, found.attempt).name}"
        if failed := deliver(url, found.event, found.model_dump(), delivery):
            logging.getLogger(__name__).warning(failed)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
