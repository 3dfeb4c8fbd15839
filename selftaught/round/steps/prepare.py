"""prepare: fix a round before it starts.

Resolves the aliases, draws the tasks, checks that the sets do not overlap, opens the round's MLflow run. What is fixed
is claimed once: a `prepare` that runs again (after a kill, perhaps after the promotion) gets the same job.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import yaml

from selftaught.blocks.packages import packages
from selftaught.core.errors import BadInput, NothingNew, RoundFailed, StoreError
from selftaught.platform import Platform
from selftaught.recipe import Iterate, Recipe, Stage
from selftaught.recipe.models import externals
from selftaught.records import dataset
from selftaught.records.dataset import Manifest
from selftaught.round.abandon import require_kept
from selftaught.round.checks.context_length import require_room, too_long
from selftaught.round.checks.external import require_asked_in_words, require_keys
from selftaught.round.checks.gold_answers import require_passed
from selftaught.round.checks.roles import require_asked_rightly, require_named
from selftaught.round.checks.texts import require_texts
from selftaught.round.checks.tokenizers import require_same_tokens
from selftaught.round.controls import chosen, controlled, state_before
from selftaught.round.error_budget import pool_of
from selftaught.round.history import due, give_up
from selftaught.round.intake import drawn, end, stage_of
from selftaught.round.job import Job, ModelRef, role_line
from selftaught.round.notify import notify_failed
from selftaught.round.parameters import of_stage
from selftaught.round.patience import patient
from selftaught.round.replay import earlier
from selftaught.round.reuse import reusable
from selftaught.round.role_models import iterate_of, reference, role_models
from selftaught.state.claims import parse_claim
from selftaught.state.ledger import PlanEntry
from selftaught.state.round_key import RoundKey
from selftaught.state.tracking import NOTHING_NEW, STOPPED
from selftaught.tasks.past import TaskDraw


@patient
def run(
    recipe: str, line: str, campaign: str, number: int, attempt: int, shards: int, out: str, tasks: str
) -> Manifest:
    """Write the job of round `number` (0: the one that is due, whatever `attempt` says) to `out`, and its tasks.

    Raises RoundFailed when training and held-out tasks overlap, NothingNew when too few tasks were uploaded, BadInput
    when the line has no champion yet, there are no shards or others than the round was begun with, the recipe's
    requests do not fit the engines, a model is asked for what it does not give, or by token ids with another tokenizer
    than the policy, or a verifier fails the tasks' own gold answers.
    """
    if shards < 1:
        raise BadInput("shards: []: nothing would be sampled. Give [0], or [0, 1, …] for several.")
    platform = Platform.open()
    parsed = Recipe.parse(recipe)
    key = RoundKey(line, campaign, number, attempt) if number else due(platform, line, campaign)
    claimed = platform.ledger.value(PlanEntry(key))
    if claimed is None:
        require_room(parsed, platform.settings)
        require_named(parsed)
        require_asked_in_words(parsed)
        require_keys(externals(parsed.models))
        job = _fix(platform, parsed, key, shards, Path(tasks))
        claimed = platform.ledger.write(PlanEntry(key), job)
    job = parse_claim(platform.store, PlanEntry(key).key, claimed, Job)
    if job.shards != shards:
        raise BadInput(f"{job.name}: was started with {job.shards} shards, not {shards}. Use {job.shards}.")
    if not Path(tasks).exists() or dataset.manifest(Path(tasks)).digest != job.tasks:
        platform.store.get("datasets", job.tasks, Path(tasks))
        dataset.proven(Path(tasks), job.tasks)
    manifest = dataset.manifest(Path(tasks))
    require_kept(platform, job)
    run = platform.tracker.round_run(key, job.stage)  # another than was fixed, where MLflow's database was lost since
    job = job.model_copy(update={"run": run})
    _open_run(platform, job, manifest)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(job.model_dump_json(), encoding="utf-8")
    return manifest


def _fix(platform: Platform, recipe: Recipe, key: RoundKey, shards: int, out: Path) -> Job:
    line, state = key.line, state_before(platform, key)
    stage = controlled(stage_of(recipe, key.number), state)
    run = platform.tracker.round_run(key, stage.name)  # first, so that a failed draw is reported
    taken = chosen(stage, _drawn(platform, recipe, key, run), state, key.seed)
    # before anything is sampled: on a cluster no plan has been made that would have said it
    require_texts(taken.tasks, [stage])
    require_passed(taken.tasks, recipe, [stage])
    counts = {name: float(count) for name, count in taken.counts.items()}
    if taken.alike:
        platform.tracker.tag(run, {"selftaught.tasks_alike": taken.alike[:4000]})
    manifest = dataset.write(out, taken.tasks, "tasks", recipe=recipe.digest, counts=counts)
    platform.store.put("datasets", manifest.digest, out)
    champion, trainee, sampler, base = _versions(platform, line, stage)
    own = _trained(platform, line, stage)
    others = {**role_models(platform, recipe, line), **own}
    measuring = recipe.with_sets(stage)
    require_asked_rightly(platform, measuring, others)
    require_same_tokens(platform, measuring, sampler, others)
    job = Job(
        recipe=recipe,
        line=line,
        campaign=key.campaign,
        stage=stage.name,
        round=key.number,
        attempt=key.attempt,
        seed=key.seed,
        campaign_seed=key.campaign_seed,
        shards=shards,
        tasks=manifest.digest,
        drops=taken.drops,
        broken=taken.broken,
        champion=champion,
        anchor=base,
        pool=pool_of(recipe.tasks),
        sampler=sampler,
        trainee=trainee,
        roles=others,
        trainees={role: own.get(role, trainee) for role in stage.trained_roles},
        packages=packages(stage),
        earlier=earlier(platform, line, key.campaign) if stage.replay else (),
        controlled=stage if stage.control else None,
        run=run,
        started=time.time(),
    )
    return job.model_copy(update={"reused": reusable(platform, job)})


def _drawn(platform: Platform, recipe: Recipe, key: RoundKey, run: str) -> TaskDraw:
    """The round's tasks; where there are none, or none that will do, its run ends before the pipeline does."""
    try:
        return _fitting(platform, recipe, key, drawn(platform, recipe, key))
    except NothingNew as nothing:
        end(platform, recipe, key, str(nothing))
        raise
    except RoundFailed as failure:
        give_up(platform, key, run, str(failure))
        notify_failed(key, recipe.name, run, str(failure))
        raise


def _fitting(platform: Platform, recipe: Recipe, key: RoundKey, taken: TaskDraw) -> TaskDraw:
    """`taken` without the tasks that no engine can be asked: they are named in the log, and counted.

    Raises RoundFailed when nothing is left of one of the sets.
    """
    tokenizer = _tokenizer(platform, key.line, stage_of(recipe, key.number))
    left = too_long(taken.tasks, platform.settings.engine_context, tokenizer)
    if not left:
        return taken
    for task in left:
        print(
            f"left out, too long for an engine: task {task.id} ({task.question[:60]!r}…)", file=sys.stderr, flush=True
        )
    gone = {task.id for task in left}
    kept = [task for task in taken.tasks if task.id not in gone]
    if empty := sorted({task.split for task in left} - {task.split for task in kept}):
        raise RoundFailed(
            f"every task of the {empty[0]} set is longer than an engine's context of "
            f"{platform.settings.engine_context} tokens, {left[0].id} for one. Shorten them, or raise "
            "SELFTAUGHT_ENGINE_CONTEXT."
        )
    return replace(taken, tasks=kept, counts={**taken.counts, "too long": len(left)})


def _tokenizer(platform: Platform, line: str, stage: Stage) -> bytes | None:
    """The `tokenizer.json` of the model that samples, if it has one; nothing else of the model is fetched."""
    version = platform.tracker.resolve(line, stage.sample_from)
    with suppress(StoreError):  # it has none
        return platform.store.read("models", version.digest, "tokenizer.json") if version else None


def _versions(platform: Platform, line: str, stage: Stage) -> Iterator[ModelRef]:
    """The champion, what is trained, what samples, and what the line began with, as they are at one moment."""
    aliases = platform.tracker.aliases(line)
    wanted: tuple[Iterate, ...] = ("champion", stage.train_from, stage.sample_from, "base")
    return (reference(iterate_of(aliases, line, alias)) for alias in wanted)


def _trained(platform: Platform, line: str, stage: Stage) -> dict[str, ModelRef]:
    """The newest version of each role that the stage trains, of those that have one: they continue being trained."""
    heads = {role: platform.tracker.resolve(role_line(line, role), "head") for role in stage.trained_roles}
    return {role: ModelRef(digest=head.digest, version=head.version) for role, head in heads.items() if head}


def _open_run(platform: Platform, job: Job, tasks: Manifest) -> None:
    """Parameters, tags and the tasks of the round's run; said again, it changes nothing."""
    tracker = platform.tracker
    if tracker.outcome(job.run) in (NOTHING_NEW, STOPPED):
        tracker.reopen(job.run)
    tracker.tag(job.run, {"selftaught.recipe": job.recipe.digest, "selftaught.champion": job.champion.digest})
    named = {"recipe": job.recipe.name, "stage": job.stage, "seed": str(job.seed)}
    tracker.log(job.run, {}, params=named | of_stage(job))
    tracker.log_text(job.run, yaml.safe_dump(job.recipe.model_dump(mode="json"), sort_keys=False), "recipe.yaml")
    tracker.log_dataset(job.run, "tasks", job.tasks, platform.store.uri("datasets", job.tasks), tasks.rows, "tasks")
    if job.drops:
        tags = {
            "selftaught.drops": ", ".join(job.drops)[:4000],
            "selftaught.drops_broken": "\n".join(job.broken)[:4000],
        }
        tracker.tag(job.run, tags)
        tracker.log(job.run, {f"tasks.{name.replace(' ', '_')}": count for name, count in tasks.counts.items()})
