"""Measure any one model with a recipe's metrics, outside a round: `selftaught evaluate`.

Uses the recipe's held-out tasks as the line's first round draws them, but for what a round was trained on since, on an
engine of its own. Decides nothing.
"""

import asyncio
from collections.abc import Sequence

from selftaught.blocks import Context, Sampler
from selftaught.errors import BadInput, did_you_mean
from selftaught.evaluation.runner import MOST_UNVERIFIED, Summary, evaluate, summarise
from selftaught.lines import ALIASES, find, named
from selftaught.models import Endpoint
from selftaught.recipe import Recipe, Stage
from selftaught.records import Group, Task, TaskScore
from selftaught.round.adopt import keep
from selftaught.round.engines import endpoint
from selftaught.round.fresh import past
from selftaught.round.job import Workplace
from selftaught.round.room import require_room
from selftaught.sampling.runner import sample
from selftaught.serving.engine import EngineOptions
from selftaught.serving.local import LocalEngines
from selftaught.tasks.past import Past
from selftaught.tasks.prepare import prepare, seeds
from selftaught.verification.runner import verify

SPLITS = ("gate", "guard", "report")


def evaluate_model(place: Workplace, recipe: Recipe, line: str, model: str, split: str) -> list[Summary]:
    """The summaries of `model` (of the line, a folder or a name) on one held-out split.

    Raises BadInput for a model or split that does not exist.
    """
    named(line, "--line")
    require_room(recipe, place.settings)
    if split not in SPLITS:
        raise BadInput(f"'{split}' is no held-out split.{did_you_mean(split, SPLITS)}\n  accepted: {', '.join(SPLITS)}")
    used = Past(assigned=past(place, line, line).assigned)
    tasks = [task for task in prepare(recipe.tasks, seeds(line, 1, 0), used) if task.split == split]
    return summarise(scores(place, recipe, recipe.stages[-1], line, _digest(place, line, model), tasks))


def scores(
    place: Workplace, recipe: Recipe, stage: Stage, line: str, digest: str, tasks: Sequence[Task]
) -> list[TaskScore]:
    """What the metrics of `stage` of `recipe` make of the model `digest` of `line`, task by task.

    On what serves models here, or an engine of its own where nothing does.
    """
    if place.settings.engines or place.settings.serving != "local":
        return asyncio.run(_asked(place, recipe, stage, line, digest, tasks))
    with LocalEngines(place.settings.home, options=EngineOptions.told(place.settings)) as engines:
        served = engines.deploy(line, digest, place.model(digest))
        policy = Endpoint(served.url, served.line, served.digest, key=served.key, template=recipe.chat_template)
        return asyncio.run(_measure(place, stage, policy, tasks))


def _digest(place: Workplace, line: str, model: str) -> str:
    if model in ALIASES or (line in place.tracker.lines() and "/" not in model):
        return find(place.tracker, line, model).digest
    return keep(place, model)[0]


async def _asked(
    place: Workplace, recipe: Recipe, stage: Stage, line: str, digest: str, tasks: Sequence[Task]
) -> list[TaskScore]:
    return await _measure(place, stage, await endpoint(place, line, digest, recipe.chat_template), tasks)


async def _measure(place: Workplace, stage: Stage, served: Endpoint, tasks: Sequence[Task]) -> list[TaskScore]:
    progress = place.progress("evaluate")
    async with served as policy:
        context = Context(models={"policy": policy}, verifiers=stage.verify)

        async def sampled(wanted: Sequence[Task], sampler: Sampler) -> list[Group]:
            return await sample(wanted, sampler, context, _Forgetful(), progress, most_unanswered=MOST_UNVERIFIED)

        async def verified(groups: Sequence[Group]) -> list[Group]:
            return await verify(groups, stage.verify, context, progress)

        return await evaluate(tasks, stage.evaluate, context, sampled, verified)


class _Forgetful:
    """A journal that keeps nothing: a measurement by hand is short, and is made anew."""

    def read(self) -> dict[str, Group]:
        return {}

    def append(self, group: Group, /) -> None:
        return
