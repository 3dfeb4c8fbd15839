"""What a round that cannot continue has found so far, in words: rollouts, verdicts, scores.

It tells and decides nothing. A round that has come to an end has its report (`selftaught.round.steps.report`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from selftaught.records import Group, Rollout, Verdict

SHOWN = 3
"""Verdicts that are shown, each with another reason."""
MEASURED = ("gate.", "guard.", "report.")


def rollouts(groups: Iterable[Group], counts: Mapping[str, float], uri: str) -> str:
    """How many rollouts there are and what became of them, some verdicts, and where they all lie.

    `counts` are those of the verified data set at `uri`, `groups` its rows, which are read once.
    """
    passed, failed = Counter[str](), dict[str, str]()
    for rollout, verdict in _verdicts(groups):
        passed[verdict.verifier] += verdict.passed
        why = verdict.error or verdict.reason or "no reason"
        if not verdict.passed and len(failed) < SHOWN:
            failed.setdefault(why, f"{verdict.verifier}: {why} ({_end(rollout)})")
    numbers = {name: int(counts[name]) for name in ("rollouts", "tasks", "truncated", "errors", "passed", "solved")}
    cut = " (most: raise sample.max_tokens)" if 2 * numbers["truncated"] > numbers["rollouts"] else ""
    lines = [
        f"{numbers['rollouts']} rollouts of {numbers['tasks']} tasks; cut off {numbers['truncated']}{cut}; "
        f"not judged {numbers['errors']}",
        f"passed: {', '.join(f'{name} {count}' for name, count in passed.items()) or 'none'}; "
        f"by all verifiers {numbers['passed']}, of {numbers['solved']} tasks",
        *failed.values(),
        f"all of them: {uri}",
    ]
    return "".join(f"\n  {line}" for line in lines)


def scores(metrics: Mapping[str, float]) -> str:
    """The means that were measured, of a run's metrics."""
    return "".join(f"\n  {name}: {metrics[name]:.3f}" for name in sorted(metrics) if name.startswith(MEASURED))


def _verdicts(groups: Iterable[Group]) -> Iterator[tuple[Rollout, Verdict]]:
    for group in groups:
        for rollout, verdicts in zip(group.rollouts, group.verdicts, strict=True):
            yield from ((rollout, verdict) for verdict in verdicts)


def _end(rollout: Rollout) -> str:
    return f"'… {' '.join(rollout.text.split())[-60:]}', {rollout.finish_reason}"
