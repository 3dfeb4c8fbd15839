"""Measures a model: samples the held-out tasks once per inference strategy, verifies, and scores every metric.

Per-task scores first, aggregates second: the paired statistics of the gate need the former. Sampling and verifying are
handed in as functions, with their journal and progress already bound.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from selftaught.blocks import Context, Metric, Sampler, Verifier
from selftaught.blocks.boundary import called
from selftaught.core.errors import RoundFailed
from selftaught.core.statistics import SHARES, Bounds, mean_interval, paired_gain
from selftaught.core.unproven import is_unproven
from selftaught.evaluation.checks import verifiers
from selftaught.evaluation.pairing import pair
from selftaught.records import Group, Split, Task, TaskScore

READABLE = 8
"""How many of a task's answers a score keeps to be read."""
MOST_UNVERIFIED = 0.02
"""The share of rollouts that verifiers may fail to judge before a measurement is void; what they are of is left out."""

Sample = Callable[[Sequence[Task], Sampler], Awaitable[Sequence[Group]]]
Verify = Callable[[Sequence[Group], Sequence[Verifier]], Awaitable[Sequence[Group]]]


@dataclass(frozen=True, slots=True)
class Summary:
    """One metric of one model on one split: mean over `n` tasks with its interval, and the new tokens it took.

    `tokens` is None for a model behind a URL, which is asked for text alone.
    """

    model: str
    metric: str
    split: Split
    mean: float
    low: float
    high: float
    n: int
    tokens: int | None


@dataclass(frozen=True, slots=True)
class PairedSummary:
    """What the challenger gains on one metric and split over the `n` tasks, with its interval."""

    metric: str
    split: Split
    gain: float
    low: float
    high: float
    n: int


# Measuring ------------------------------------------------------------------------------------------------------------


async def evaluate(
    tasks: Sequence[Task], metrics: Sequence[Metric], context: Context, sample: Sample, verify: Verify
) -> list[TaskScore]:
    """The scores of the policy in `context` on `tasks`, one a metric (and part of it) and task, sorted by these.

    Metrics with equal samplers share rollouts, and verdicts where they are measured by equal verifiers; each strategy
    answers the union of the tasks that its metrics need.
    A task that `sample` gave no group for has no score: it is not replaced by another, which the other model would not
    have been asked. Raises BadInput when verifiers could not judge more than `MOST_UNVERIFIED` of the rollouts, and
    what `sample` and `verify` raise.
    """
    model, scores = context.model().digest, list[TaskScore]()
    for sharing in _by_sampler(metrics).values():
        sampled = await sample(_needed(tasks, sharing), sharing[0].sampler())
        for judged in _by_verifiers(sharing).values():
            wanted = {task.id for task in _needed(tasks, judged)}
            groups = await verify([group for group in sampled if group.id in wanted], verifiers(judged[0]))
            _check_verified(groups)
            scores += [score for metric in judged for score in _scores(metric, tasks, groups, model)]
    return sorted(scores, key=lambda score: (score.metric, score.split, score.task))


def subset(tasks: Sequence[Task], n: int | None) -> list[Task]:
    """The first `n` tasks of each split by id (all where `n` is None): the same ones for every model."""
    ordered = sorted(tasks, key=lambda task: (task.split, task.id))
    return [task for _, split in groupby(ordered, key=lambda task: task.split) for task in list(split)[:n]]


def _needed(tasks: Sequence[Task], metrics: Iterable[Metric]) -> list[Task]:
    """The tasks that any of `metrics` is measured on."""
    needed = {(task.split, task.id): task for metric in metrics for task in subset(tasks, metric.tasks)}
    return list(needed.values())


def _by_verifiers(metrics: Iterable[Metric]) -> Mapping[str, list[Metric]]:
    """The metrics that share verdicts, under the dump of their verifiers."""
    shared: dict[str, list[Metric]] = {}
    for metric in metrics:
        shared.setdefault(repr([each.model_dump_json() for each in verifiers(metric)]), []).append(metric)
    return shared


def _by_sampler(metrics: Iterable[Metric]) -> Mapping[str, list[Metric]]:
    """The metrics that share rollouts, under the dump of their sampler."""
    shared: dict[str, list[Metric]] = {}
    for metric in metrics:
        shared.setdefault(metric.sampler().model_dump_json(), []).append(metric)
    return shared


def _check_verified(groups: Sequence[Group]) -> None:
    verdicts = [on_one for group in groups for on_one in group.verdicts]
    errors = [next(v for v in on_one if v.is_missing) for on_one in verdicts if any(v.is_missing for v in on_one)]
    if len(errors) > MOST_UNVERIFIED * len(verdicts):
        raise RoundFailed(
            f"evaluate: {len(errors)} of {len(verdicts)} answers could not be verified, more than "
            f"{MOST_UNVERIFIED:.0%}, so nothing was measured. The first error, of '{errors[0].verifier}': "
            f"{errors[0].error}. Fix the verifier and run again."
        )


def _scores(metric: Metric, tasks: Sequence[Task], groups: Sequence[Group], model: str) -> Iterator[TaskScore]:
    wanted = {task.id for task in subset(tasks, metric.tasks)}
    measured = sorted((group for group in groups if group.id in wanted), key=lambda group: group.task.split)
    for _, of_split in groupby(measured, key=lambda group: group.task.split):
        yield from _of_one_split(metric, list(of_split), model)


def _of_one_split(metric: Metric, groups: Sequence[Group], model: str) -> Iterator[TaskScore]:
    scores = [_score(metric, group, model) for group in groups]
    yield from scores
    for score, group in zip(scores, groups, strict=True):
        yield from (_part(metric, part, score, value) for part, value in metric.parts(group).items())
    judged = [group for group, score in zip(groups, scores, strict=True) if not score.errors]
    if not judged:
        return
    for part, values in metric.pooled(judged).items():
        of_task = dict(zip((group.id for group in judged), values, strict=True))
        yield from (_part(metric, part, score, of_task.get(score.task, 0.0)) for score in scores)


def _part(metric: Metric, part: str, score: TaskScore, value: float) -> TaskScore:
    update = {"metric": f"{metric.name}.{part}", "value": value, "texts": (), "passed": ()}
    return score.model_copy(update=update)


def _score(metric: Metric, group: Group, model: str) -> TaskScore:
    task, rollouts = group.task, group.rollouts
    return TaskScore(
        model=model,
        metric=metric.name,
        split=task.split,
        task=task.id,
        value=called(metric, "value", float, lambda: metric.value(group)),
        question=task.question,
        answer=task.answer,
        source=task.source,
        template=task.template,
        texts=tuple(rollout.text for rollout in rollouts[:READABLE]),
        passed=tuple(group.passed(index) for index in range(len(rollouts))),
        completion_tokens=group.new_tokens,
        errors=sum(any(verdict.is_missing for verdict in on_one) for on_one in group.verdicts),
    )


# Summing up -----------------------------------------------------------------------------------------------------------


def summarise(scores: Iterable[TaskScore], metrics: Iterable[Metric] = (), confidence: float = 0.95) -> list[Summary]:
    """The mean of every model, metric and split that `scores` hold, in that order, over the tasks that were judged.

    Intervals go by the bounds of `metrics`; a metric that is not among them has values in [0, 1].
    """
    bounds = {metric.name: metric.bounds for metric in metrics}
    ordered = sorted((score for score in scores if not score.errors), key=_whose)
    return [_summary(list(rows), bounds, confidence) for _, rows in groupby(ordered, key=_whose)]


def paired(
    scores: Sequence[TaskScore], champion: str, challenger: str, *, seed: int = 0, confidence: float = 0.95
) -> list[PairedSummary]:
    """The paired gain of `challenger` over `champion` (digests) on every metric and split that both were measured on.

    Raises BadInput where the two did not answer the same tasks.
    """
    gains: list[PairedSummary] = []
    models = (champion, challenger)
    measured: dict[str, set[tuple[str, Split]]] = {each: set() for each in models}
    for score in (score for score in scores if score.model in models):
        measured[score.model].add((score.metric, score.split))
    for metric, split in sorted(measured[champion] & measured[challenger]):
        pairs = pair(scores, metric, split, champion, challenger)
        gain = paired_gain(pairs.champion, pairs.challenger, confidence, seed)
        gains.append(PairedSummary(metric, split, gain.gain, gain.low, gain.high, gain.tasks))
    return gains


def _whose(score: TaskScore) -> tuple[str, str, str]:
    return score.model, score.metric, score.split


def _summary(rows: Sequence[TaskScore], bounds: Mapping[str, Bounds | None], confidence: float) -> Summary:
    first = rows[0]
    tokens = None if is_unproven(first.model) else sum(row.completion_tokens for row in rows)
    mean = mean_interval([row.value for row in rows], confidence, bounds=bounds.get(first.metric, SHARES))
    return Summary(first.model, first.metric, first.split, mean.estimate, mean.low, mean.high, len(rows), tokens)
