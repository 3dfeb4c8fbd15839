"""Measure any one model with a recipe's metrics, outside a round: `selftaught evaluate`.

Uses the recipe's held-out tasks as the line's first round draws them, but for what a round was trained on since, on an
engine of its own, or at the URL of a model whose weights nobody has proven. What was measured is a run in MLflow, and
answer by answer a file where one is asked for. Decides nothing.
"""

import asyncio
import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from selftaught.blocks import Context, Metric, Sampler, Verifier
from selftaught.core.errors import BadInput, did_you_mean
from selftaught.core.files import write_atomically
from selftaught.core.names import named
from selftaught.core.runner import Forgetful
from selftaught.core.unproven import is_unproven
from selftaught.evaluation.checks import verifiers
from selftaught.evaluation.runner import MOST_UNVERIFIED, Summary, evaluate, summarise
from selftaught.inference.endpoint import Endpoint
from selftaught.lines.versions import ALIASES, find
from selftaught.platform import Platform
from selftaught.recipe import Recipe, Stage
from selftaught.recipe.argument import model_argument
from selftaught.recipe.models import ExternalModel, IterateModel, RoleModel, externals
from selftaught.records import Group, Task, TaskScore, named_set
from selftaught.round.adopt import keep
from selftaught.round.checks.context_length import require_room
from selftaught.round.checks.external import require_keys, require_measurable
from selftaught.round.intake import past
from selftaught.round.models import endpoint, external
from selftaught.round.role_models import resolve
from selftaught.sampling.runner import sample
from selftaught.serving.backend import Served
from selftaught.serving.engines.engine import EngineOptions
from selftaught.serving.engines.pool import LocalEngines
from selftaught.state.round_key import RoundKey
from selftaught.state.starter import require_findable
from selftaught.tasks.draw import prepare, seeds
from selftaught.tasks.past import InboxHistory
from selftaught.verification.runner import verify

SPLITS = ("gate", "guard", "report")


@dataclass(frozen=True, slots=True)
class Measured:
    """The scores, and the verified groups that each metric (by name) has them from."""

    scores: Sequence[TaskScore]
    groups: Mapping[str, Sequence[Group]]


def evaluate_model(
    platform: Platform, recipe: Recipe, line: str, model: str, split: str, out: Path | None = None
) -> list[Summary]:
    """The summaries of `model` on one held-out split; with `out` its answers there.

    `model` is one of the line, a folder, a name, or what a recipe writes for a model behind a URL or an iterate
    (`selftaught.recipe.argument`). Raises BadInput for a model or split that does not exist, an `out` that cannot be
    written, and a metric that needs more of a model behind a URL than text, before anything is asked.
    """
    named(line, "--line")
    policy, stage = model_argument(model), _measuring(recipe, split)
    _require_askable(platform, recipe, stage, policy)
    if out is not None and (out.is_dir() or not os.access(out.parent, os.W_OK)):
        wrong = "a folder" if out.is_dir() else "nothing can be written there"
        raise BadInput(f"--out {out}: {wrong}. Name a file, in a folder that is there and can be written.")
    used = InboxHistory(assigned=past(platform, line, line).assigned)
    drawn = prepare(recipe.tasks, seeds(RoundKey(line, line)), used, recipe.sources)
    tasks = [task for task in drawn if task.split == split]
    asked = policy if isinstance(policy, ExternalModel) else _policy(platform, line, policy)
    measured = measure(platform, recipe, stage, line, asked, tasks)
    if out is not None:
        rows = answers(stage.evaluate, measured)
        write_atomically(out, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    summaries = summarise(measured.scores, stage.evaluate)
    _track(platform, recipe, line, asked.digest if isinstance(asked, ExternalModel) else asked, summaries)
    return summaries


def _require_askable(platform: Platform, recipe: Recipe, stage: Stage, policy: RoleModel) -> None:
    """Raise BadInput where `policy` cannot give what `stage` measures: too long an answer, or more than its text."""
    if isinstance(policy, ExternalModel):
        require_measurable(recipe, stage, policy)
        require_keys({"policy": policy})
    else:
        require_room(recipe, platform.settings)


def _measuring(recipe: Recipe, split: str) -> Stage:
    """The last stage, with what it measures on `split`. Raises BadInput where that is nothing, or no such split."""
    stage = recipe.stages[-1]
    sets = {str(named_set(name)): each for name, each in recipe.sets.items()}
    if split not in (accepted := [*SPLITS, *sets]):
        raise BadInput(
            f"unknown held-out split '{split}'.{did_you_mean(split, accepted)}\n  accepted: {', '.join(accepted)}"
        )
    if split in sets:
        stage = stage.model_copy(update={"evaluate": tuple(sets[split].measured(stage))})
    if not stage.evaluate:
        raise BadInput(f"{recipe.name}: stages.{stage.name} measures nothing. Name metrics in its evaluate.")
    return stage


def measure(
    platform: Platform,
    recipe: Recipe,
    stage: Stage,
    line: str,
    policy: str | ExternalModel,
    tasks: Sequence[Task],
) -> Measured:
    """What the metrics of `stage` of `recipe` make of `policy` on `line`, task by task: a digest, or behind a URL.

    On what serves models here, or engines of its own where nothing does. A role that the recipe gives a model is played
    by that one, every other by the policy. Raises as `keep` does for a model that a metric asks.
    """
    remote = _remote(recipe, stage, policy)
    others = sorted((_roles(stage) & recipe.models.keys()) - {"policy", *remote})
    own = {} if isinstance(policy, ExternalModel) else {"policy": policy}
    digests = {**own, **{role: _kept(platform, recipe, line, role) for role in others}}
    if serves(platform):
        return asyncio.run(_asked(platform, recipe, stage, line, digests, remote, tasks))
    options = EngineOptions.from_settings(platform.settings)
    with LocalEngines(platform.settings.home, keep=len(digests), options=options) as engines:
        served = {role: engines.deploy(line, each, platform.model(each)) for role, each in digests.items()}
        models = {
            role: Endpoint(each.url, each.line, each.digest, key=each.key, template=recipe.chat_template)
            for role, each in served.items()
        }
        return asyncio.run(_measure(platform, stage, models | remote, tasks))


def _remote(recipe: Recipe, stage: Stage, policy: str | ExternalModel) -> dict[str, Endpoint]:
    """Clients of the models behind URLs that measuring asks, by role. Raises BadInput where a key is missing."""
    models = {**recipe.models, "policy": policy}
    asked = {role: model for role, model in externals(models).items() if role in _roles(stage)}
    require_keys(asked)
    return {role: external(model) for role, model in asked.items()}


def _kept(platform: Platform, recipe: Recipe, line: str, role: str) -> str:
    """The digest of the model that plays `role`; it is in the store then."""
    model = recipe.models[role]
    if isinstance(model, IterateModel):
        return resolve(platform, role, model, line).digest
    return keep(platform, cast(str, model))[0]


def _roles(stage: Stage) -> frozenset[str]:
    """The roles that measuring asks."""
    guiding = stage.verify if any(metric.sampler().asks_verifiers for metric in stage.evaluate) else ()
    return frozenset[str]().union(*(block.roles() for block in (*stage.evaluate, *guiding)))


def scores(
    platform: Platform, recipe: Recipe, stage: Stage, line: str, digest: str, tasks: Sequence[Task]
) -> Sequence[TaskScore]:
    """The scores alone."""
    return measure(platform, recipe, stage, line, digest, tasks).scores


@contextmanager
def engine(platform: Platform, line: str, digest: str, options: EngineOptions) -> Generator[Served]:
    """What serves the model: whatever serves models here, or an engine of its own with `options`."""
    if serves(platform):
        yield platform.serving().deploy(line, digest)
        return
    with LocalEngines(platform.settings.home, options=options) as engines:
        yield engines.deploy(line, digest, platform.model(digest))


def _policy(platform: Platform, line: str, model: str | IterateModel) -> str:
    """The digest of a model whose weights are here; it is in the store then."""
    if isinstance(model, IterateModel):
        return resolve(platform, "policy", model, line).digest
    return digest_of(platform, line, model)


def digest_of(platform: Platform, line: str, model: str) -> str:
    """The digest of `model`, which is one of `line`, a folder or a name; it is in the store then."""
    if model in ALIASES or (line in platform.tracker.lines() and "/" not in model):
        return find(platform.tracker, line, model).digest
    require_findable(model, ALIASES)
    return keep(platform, model)[0]


def serves(platform: Platform) -> bool:
    """Whether something serves models here, so that nobody starts an engine of his own."""
    return bool(platform.settings.engines) or platform.settings.serving != "local"


async def _asked(
    platform: Platform,
    recipe: Recipe,
    stage: Stage,
    line: str,
    digests: Mapping[str, str],
    remote: Mapping[str, Endpoint],
    tasks: Sequence[Task],
) -> Measured:
    models = {role: await endpoint(platform, line, digest, recipe.chat_template) for role, digest in digests.items()}
    return await _measure(platform, stage, {**models, **remote}, tasks)


async def _measure(platform: Platform, stage: Stage, served: Mapping[str, Endpoint], tasks: Sequence[Task]) -> Measured:
    verified_by, asked = dict[str, Sequence[Group]](), list[Metric]()
    async with AsyncExitStack() as stack:
        models = {role: await stack.enter_async_context(each) for role, each in served.items()}
        context = Context(models=models, verifiers=stage.verify, asked=_roles(stage))

        async def sampled(wanted: Sequence[Task], sampler: Sampler) -> list[Group]:
            asked[:] = [metric for metric in stage.evaluate if metric.sampler() == sampler]
            progress = platform.progress(f"evaluate {', '.join(metric.name for metric in asked)}")
            return await sample(wanted, sampler, context, Forgetful[Group](), progress, most_unanswered=MOST_UNVERIFIED)

        async def verified(groups: Sequence[Group], by: Sequence[Verifier]) -> list[Group]:
            names = [metric.name for metric in asked if verifiers(metric) == by]
            judged = await verify(groups, by, context, platform.progress(f"verify {', '.join(names)}"))
            verified_by.update(dict.fromkeys(names, judged))
            return judged

        return Measured(await evaluate(tasks, stage.evaluate, context, sampled, verified), verified_by)


# Telling --------------------------------------------------------------------------------------------------------------


def answers(metrics: Sequence[Metric], measured: Measured) -> Iterator[dict[str, Any]]:
    """A row a metric and task: what was asked, the gold answer, every answer with its verdicts, the metric's value."""
    samplers = {metric.name: metric.sampler() for metric in metrics}
    groups = {(name, group.id): group for name, of in measured.groups.items() for group in of}
    for score in (score for score in measured.scores if score.metric in samplers):  # parts say nothing of one answer
        group = groups[score.metric, score.task]
        asked = samplers[score.metric].asked(group.task)
        yield {
            "model": score.model,
            "split": score.split,
            "metric": score.metric,
            "task": score.task,
            "source": score.source,
            "template": score.template,
            "prompt": [message.to_row() for message in asked],
            "gold": score.answer,
            "value": score.value,
            "answers": [_answer(group, index) for index in range(len(group.rollouts))],
        }


def _answer(group: Group, index: int) -> dict[str, Any]:
    rollout = group.rollouts[index]
    return {
        "text": rollout.text,
        "turns": [turn.message.to_row() | {"kind": turn.kind} for turn in rollout.turns],
        "passed": group.passed(index),
        "verdicts": [verdict.to_row() for verdict in group.verdicts[index]],
        "finish_reason": rollout.finish_reason,
        "new_tokens": None if is_unproven(rollout.model) else rollout.completion_tokens,
    }


def _track(platform: Platform, recipe: Recipe, line: str, digest: str, summaries: Sequence[Summary]) -> None:
    """A run of its own in the line's experiment, with each mean and its interval."""
    figures = {
        f"{s.split}.{s.metric}{end}": value
        for s in summaries
        for end, value in (("", s.mean), (".low", s.low), (".high", s.high), (".tasks", float(s.n)))
    }
    about = {"selftaught.recipe": recipe.digest, "selftaught.model_digest": digest}
    shown = digest if is_unproven(digest) else digest[:8]
    run = platform.tracker.measurement_run(line, f"evaluate {shown} with {recipe.name}", about)
    platform.tracker.log(run, figures)
    platform.tracker.finish(run, "done")
