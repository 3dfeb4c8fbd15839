"""Runs the arms of an effect, one after the other, each with each seed on a model line of its own.

A seed is the name of a campaign, which all draws of a round go by: the arms of one seed have equal tasks, and what they
do alike (the answers of one model to one sampler) is done once. An arm with a result is not run again, and one that was
killed resumes where it was. What the results come to is `comparison`'s business.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from selftaught.campaign.local import Campaign, Skipped, Watcher
from selftaught.campaign.order import CampaignOrder
from selftaught.core.errors import BadInput
from selftaught.effects.effect import BASE, Arm, Effect
from selftaught.effects.results import Results, Run
from selftaught.lines.evaluation import scores
from selftaught.platform import Platform
from selftaught.records import TaskScore
from selftaught.report.cost import cost
from selftaught.round.adopt import keep
from selftaught.round.checks.context_length import require_room
from selftaught.round.history import detail, ended, records
from selftaught.round.steps.report import software
from selftaught.state.round_key import RoundKey
from selftaught.tasks.draw import prepare, seeds

MINUTE = 60.0


def run_arms(platform: Platform, effect: Effect, repetitions: int, file: Path, watch: Watcher) -> Iterator[Run]:
    """Run what is missing in the results in `file`, for seeds from 1 to `repetitions`, yielding each run as it is kept.

    All arms of a seed come before the next seed, so that there is something to compare early. Raises as `Campaign.run`
    does: the same call resumes.
    """
    results = (Results.read(file) if file.exists() else Results(effect=effect)).current(effect)
    control = [BASE] if effect.control == BASE else []  # its run went with the arm that it was measured beside
    missing = [
        (arms, seed)
        for seed in range(1, repetitions + 1)
        for arms in alike(effect)
        if not all(results.has(name, seed) for name in (*(arm.name for arm in arms), *control))
    ]
    for done, (arms, seed) in enumerate(missing):
        step = f"{effect.system}: {arms[0].name}, seed {seed}"
        watch({"step": step, "done": done, "total": len(missing), "unit": "arms"})
        made = [run for run in _runs(platform, effect, arms, seed, watch) if not results.has(run.arm, seed)]
        results = results.having(made)
        results.write(file)
        yield from made


def alike(effect: Effect) -> Sequence[Sequence[Arm]]:
    """The arms in their order, those of one recipe together: they differ in what is measured, which is done once."""
    digests = dict.fromkeys(recipe.digest for recipe in effect.recipes.values())
    return [[arm for arm in effect.arms if effect.recipes[arm.name].digest == digest] for digest in digests]


def _runs(platform: Platform, effect: Effect, arms: Sequence[Arm], seed: int, watch: Watcher) -> Iterator[Run]:
    recipe, key = effect.recipes[arms[0].name], first_round(effect, arms[0], seed)
    if recipe.stages[-1].train:
        _finish(platform, order(effect, arms[0], seed), watch)
        return _trained(platform, effect, arms, key, seed)
    return _measured(platform, effect, arms, key, seed)


def first_round(effect: Effect, arm: Arm, seed: int) -> RoundKey:
    """The first round of `arm` with `seed`: its line is named after both and the recipe, its campaign by the seed."""
    digest = effect.recipes[arm.name].digest[:8]
    return RoundKey(f"{effect.system}-{arm.name}-{seed}-{digest}", f"{effect.system}-{seed}")


def order(effect: Effect, arm: Arm, seed: int) -> CampaignOrder:
    """The campaign that runs `arm` with `seed`."""
    key = first_round(effect, arm, seed)
    return CampaignOrder(effect.recipes[arm.name], key.line, key.campaign)


def _finish(platform: Platform, campaign: CampaignOrder, watch: Watcher) -> None:
    """Run the rounds of the recipe's stages that have not ended yet, or as many as its controls let it have."""
    rounds = sum(stage.rounds for stage in campaign.recipe.stages)
    if len(ended(platform, campaign.line, campaign.campaign)) == rounds:
        return
    for result in Campaign(platform, campaign, watch).run():
        if isinstance(result, Skipped):
            raise BadInput(f"{campaign.line}: round {result.key.number} did not run: {result.reason}")


def _trained(platform: Platform, effect: Effect, arms: Sequence[Arm], key: RoundKey, seed: int) -> Iterator[Run]:
    """The runs of the last challenger, promoted or not, and of what it began with, where that is the control."""
    found = list(records(platform, key.line, key.campaign))
    (first, began), (last, record) = found[0], found[-1]
    challenger = record.round.challenger
    assert challenger is not None  # the last stage trains the policy: see `Effect.load`
    for arm in arms:
        yield Run(
            arm=arm.name,
            seed=seed,
            recipe=effect.recipes[arm.name].digest,
            metric=effect.metric_of(arm),
            model=challenger.digest,
            round=last.name,
            outcome=record.round.outcome,
            date=record.created.date(),
            minutes=round(sum(cost(each.round).seconds for _, each in found) / MINUTE, 1),
            versions=record.versions,
            scores=_scores(platform, last, effect.metric_of(arm), challenger.digest),
        )
    if effect.control == BASE:
        digest = began.round.champion.digest
        yield Run(
            arm=BASE,
            seed=seed,
            recipe=effect.recipes[arms[0].name].digest,
            metric=effect.metric,
            model=digest,
            round=first.name,
            outcome="measured",
            date=began.created.date(),
            minutes=0.0,
            versions=began.versions,
            scores=_scores(platform, first, effect.metric, digest),
        )


def _scores(platform: Platform, key: RoundKey, metric: str, model: str) -> dict[str, float]:
    """The metric's value of `model` on each report task of a round, but for answers that nobody could judge."""
    return _values((each for each in detail(platform, key).scores if each.model == model), metric)


def _values(scores: Iterable[TaskScore], metric: str) -> dict[str, float]:
    return {
        each.task: each.value for each in scores if (each.split, each.metric) == ("report", metric) and not each.errors
    }


def _measured(platform: Platform, effect: Effect, arms: Sequence[Arm], key: RoundKey, seed: int) -> Iterator[Run]:
    """The runs of arms that train nothing: their strategies, on the report tasks of the seed's campaign."""
    recipe, started = effect.recipes[arms[0].name], time.monotonic()
    require_room(recipe, platform.settings)
    digest = keep(platform, recipe.policy)[0]
    tasks = [task for task in prepare(recipe.tasks, seeds(key)) if task.split == "report"]
    found = scores(platform, recipe, recipe.stages[-1], key.line, digest, tasks)
    minutes = round((time.monotonic() - started) / MINUTE, 1)
    for arm in arms:
        yield Run(
            arm=arm.name,
            seed=seed,
            recipe=recipe.digest,
            metric=effect.metric_of(arm),
            model=digest,
            outcome="measured",
            date=datetime.now(UTC).date(),
            minutes=minutes,
            versions=dict(software()),
            scores=_values(found, effect.metric_of(arm)),
        )
