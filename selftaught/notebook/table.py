"""Groups as plain rows, for `pandas.DataFrame`."""

from collections.abc import Iterable
from typing import Any

from selftaught.records import Group


def table(groups: Iterable[Group]) -> list[dict[str, Any]]:
    """A row a rollout: `question`, gold `answer`, `text`, `passed` (None before it is verified), `reason`, `tokens`."""
    return [
        {
            "question": group.task_of(rollout).question,
            "answer": group.task_of(rollout).answer,
            "text": rollout.text,
            "passed": group.passed(at) if group.verdicts else None,
            "reason": _reason(group, at),
            "tokens": rollout.completion_tokens,
        }
        for group in groups
        for at, rollout in enumerate(group.rollouts)
    ]


def _reason(group: Group, at: int) -> str:
    """Why the rollout did not pass, by every verifier that says so."""
    said = group.verdicts[at] if group.verdicts else ()
    return "; ".join(verdict.error or verdict.reason for verdict in said if not verdict.passed)
