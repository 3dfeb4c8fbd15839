"""train: the stage's objectives change the models of their roles, and what comes out is registered.

The policy becomes the challenger; a model of another role (a value model) becomes the newest version of a line of its
own, which the next round takes. Weights go to the store under their digest; the component's output is the training
record that names them. The first completed training under the same inputs wins, because training is not reproducible
to the bit.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from selftaught.blocks import Objective, TrainResult
from selftaught.cluster.client import Cluster
from selftaught.core.errors import RoundFailed
from selftaught.core.stopwatch import Stopwatch
from selftaught.platform import Platform, input_key
from selftaught.records import dataset
from selftaught.round.curves import Curve, followed, places
from selftaught.round.distributed.request import OfflineRequest, TrainRequest
from selftaught.round.distributed.trainjob import TrainJobs
from selftaught.round.job import Job, ModelRef, brought_by, dump, role_line
from selftaught.round.mlflow_model import put_model
from selftaught.round.patience import patient
from selftaught.serving.weight_check import reference_logprobs
from selftaught.state.claims import parse_claim
from selftaught.state.ledger import ReferenceEntry
from selftaught.state.tracking import Tracker
from selftaught.state.weights import check_model, model_digest


class Trained(BaseModel):
    """The model of one role and how its training went. `losses` are (step, loss); seconds are in training alone."""

    model_config = ConfigDict(frozen=True)

    digest: str
    uri: str
    parent: str
    steps: int
    tokens: int
    trained_tokens: int
    training_seconds: float
    losses: tuple[tuple[int, float], ...]
    ended: float | None = None
    """When it was done, in seconds since the epoch; None where a release before this one has trained."""
    measured: Mapping[str, float] = {}
    """What the objectives measured (`value.mae` …)."""

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that MLflow and KFP show."""
        figures = {
            "steps": float(self.steps),
            "tokens": float(self.tokens),
            "seconds": self.training_seconds,
            "tokens_per_second": self.tokens / max(self.training_seconds, 1e-9),
        }
        return {**figures, **({"final_loss": self.losses[-1][1]} if self.losses else {}), **self.measured}


class Training(Trained):
    """One training: the policy that came out (the one that was there, where the stage trains others alone), and the
    models of the other roles; `seconds` are of the entire step.
    """

    examples: str
    seconds: float
    others: Mapping[str, Trained] = {}


T = TypeVar("T", bound=Training)


@patient
def run(job_path: str, examples: str, out: str) -> Training:
    """Train on `examples`, store and register the challenger, write the training record to `out`.

    Raises RoundFailed when training diverges, BadInput when the model cannot be read.
    """
    platform, job = Platform.open(), Job.read(job_path)
    given = dataset.manifest(Path(examples)).digest
    inputs = {
        "model": job.trainee.digest,
        "others": {role: ref.digest for role, ref in job.trainees.items()},
        "examples": given,
        "train": dump(job.blocks.train),
        "seed": job.seed,
        **brought_by(job.blocks.train),
        **({"chat_template": job.recipe.chat_template} if job.recipe.chat_template else {}),
        **held_to(job),
    }
    key = input_key("train", inputs)
    training = trained_once(platform, key, Training, lambda: _train(platform, job, Path(examples), given, key))
    shutil.rmtree(scratch_of(platform, job, key), ignore_errors=True)
    register(platform, job, training)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(training.model_dump_json(indent=2), encoding="utf-8")
    return training


def trained_once(platform: Platform, key: str, kind: type[T], train: Callable[[], T]) -> T:
    """The training that was claimed under `key`, else what `train` makes, which is claimed.

    Where a model of it is gone, the claim is forgotten: who removed a damaged one, as its error says, trains again.
    """
    if (done := platform.store.claimed(key)) is not None:
        training = parse_claim(platform.store, key, done, kind)
        if all(platform.store.has("models", each.digest) for each in (training, *training.others.values())):
            return training
        platform.store.release(key)
    return parse_claim(platform.store, key, platform.store.claim(key, train().model_dump_json().encode()), kind)


def scratch_of(platform: Platform, job: Job, key: str) -> Path:
    """The folder of what is unfinished under `key`."""
    return platform.settings.home / "scratch" / job.scoped(key).replace("/", "-")


def _train(platform: Platform, job: Job, examples: Path, given: str, key: str) -> Training:
    watch = Stopwatch()
    starts = {**({"policy": job.trainee} if job.blocks.trains_policy else {}), **job.trainees}
    trained = {
        role: stored(
            platform, start, *_objectives(platform, job, role, start, examples, scratch_of(platform, job, key))
        )
        for role, start in starts.items()
    }
    policy = trained.pop("policy", None) or _as_it_was(platform, job.trainee)
    return Training(**policy.model_dump(), examples=given, seconds=watch.seconds, others=trained)


def _as_it_was(platform: Platform, policy: ModelRef) -> Trained:
    """The record of a policy that the stage does not train."""
    return Trained(
        digest=policy.digest,
        uri=platform.store.uri("models", policy.digest),
        parent=policy.digest,
        steps=0,
        tokens=0,
        trained_tokens=0,
        training_seconds=0.0,
        losses=(),
        ended=time.time(),
    )


def stored(platform: Platform, start: ModelRef, results: Sequence[TrainResult], folder: Path) -> Trained:
    """The record of the model in `folder`, which is put into the store.

    Raises RoundFailed when it computes no numbers; nothing of it is kept then.
    """
    check_model(folder)
    reference = reference_logprobs(folder)
    if not reference.finite:
        raise RoundFailed("the trained weights do not compute numbers any more. Lower learning_rate, or raise warmup.")
    digest = model_digest(folder)
    uri = put_model(platform.store, digest, folder)
    platform.ledger.write(ReferenceEntry(digest), reference)
    return Trained(
        digest=digest,
        uri=uri,
        parent=start.digest,
        steps=sum(result.steps for result in results),
        tokens=sum(result.tokens for result in results),
        trained_tokens=sum(result.trained_tokens for result in results),
        training_seconds=sum(result.seconds for result in results),
        losses=tuple(_joined(results)),
        ended=time.time(),
        measured={name: value for result in results for name, value in result.metrics.items() if "." in name},
    )


def _objectives(
    platform: Platform, job: Job, role: str, start: ModelRef, examples: Path, scratch: Path
) -> tuple[list[TrainResult], Path]:
    """Run the objectives of `role` one after another, each on what the one before made. Returns the last folder."""
    folder = platform.model(start.digest)
    results: list[TrainResult] = []
    for index, objective in enumerate(job.blocks.train):
        if objective.role != role:
            continue
        work = OfflineRequest(
            **request(platform, job, objective, start),
            model=folder,
            examples=examples,
            out=scratch / f"model-{index}",
            scratch=scratch / f"steps-{index}",
        )
        with charted(platform, job, work, done=sum(result.steps for result in results)):
            results.append(_done(platform, work))
        folder = work.out
    return results, folder


def request(platform: Platform, job: Job, objective: Objective, start: ModelRef) -> dict[str, Any]:
    """What `objective` is asked to do in the round, from `start` on: fields of a `TrainRequest`."""
    settings, role = platform.settings, objective.role
    return {
        "objective": objective,
        "seed": job.seed % 2**32,
        "step": "train" if role == "policy" else f"train {role}",
        "events": Path(settings.events) if settings.events else None,
        "template": job.recipe.chat_template,
        "reference": reference(platform, job, objective, start),
    }


def charted(platform: Platform, job: Job, work: TrainRequest, done: int = 0) -> AbstractContextManager[None]:
    """While it is open, the figures of `work` go where the settings say, its steps counted on from `done`."""
    settings, name = platform.settings, f"{job.line}/{job.campaign}/round-{job.round}-{job.attempt}"
    curve = Curve(job.run, name, work.objective.role, done)
    return followed(work.curve, places(settings.report_to, platform.tracker, settings.home, curve))


def reference(platform: Platform, job: Job, objective: Objective, start: ModelRef) -> Path | None:
    """The folder of the model that `objective` holds the trained one to; None: the one that it starts from."""
    if objective.held_to == "start" or job.anchor is None or job.anchor.digest == start.digest:
        return None
    return platform.model(job.anchor.digest)


def held_to(job: Job) -> dict[str, str]:
    """For input digests: the model that the line began with, where training depends on it beside its start."""
    held = any(objective.held_to == "base" for objective in job.blocks.train)
    return {"reference": job.anchor.digest} if held and job.anchor else {}


def _done(platform: Platform, work: OfflineRequest) -> TrainResult:
    """Have `work` done where the settings say: in this process, in several of this machine, or on several nodes."""
    settings = platform.settings
    if settings.train_nodes == 1 or not work.objective.parallel:
        return work.run(settings.train_processes)
    cluster = Cluster(settings.namespace, settings.reach)
    return TrainJobs(
        cluster, platform.store, settings.train_nodes, settings.train_node_processes, settings.ready_within
    ).run(work)


def _joined(results: Sequence[TrainResult]) -> list[tuple[int, float]]:
    """The loss curves of all results as one, steps counted on."""
    points: list[tuple[int, float]] = []
    done = 0
    for result in results:
        points += [(done + step, loss) for step, loss in result.losses]
        done += result.steps
    return points


def register(platform: Platform, job: Job, training: Training) -> None:
    """Register the challenger and the models beside it with their lineage; said again, it finds what is there."""
    tracker = platform.tracker
    for role, other in training.others.items():
        version = tracker.register(
            role_line(job.line, role), other.digest, other.uri, job.run, _tags(job, other, training)
        )
        tracker.describe(version, _description(tracker, job, other, training))
        tracker.point("head", version)
        tracker.log_curve(job.run, f"train.{role}.loss", other.losses)
        tracker.log(job.run, {f"train.{role}.{key}": value for key, value in other.metrics.items()})
    if not job.blocks.trains_policy:
        return
    version = tracker.register(job.line, training.digest, training.uri, job.run, _tags(job, training, training))
    tracker.describe(version, _description(tracker, job, training, training))
    tracker.point("challenger", version)
    tracker.log_curve(job.run, "train.loss", training.losses)
    tracker.log(job.run, {f"train.{key}": value for key, value in training.metrics.items()})


def _description(tracker: Tracker, job: Job, model: Trained, training: Training) -> str:
    """Where a model came from, in links that MLflow's UI follows: the round, whose inputs are the data; the parent."""
    parent = f"model `{model.parent[:8]}`"
    if model.parent == job.trainee.digest:
        parent = f"[version {job.trainee.version}](#/models/{job.line}/versions/{job.trainee.version}) of {job.line}"
    round = f"[{job.campaign} round {job.round}]({tracker.page_of(job.run)})"
    return (
        f"Trained in {round} from {parent}, on the examples `{training.examples[:8]}`. Examples, verified rollouts and "
        "tasks are data sets of that run."
    )


def _tags(job: Job, model: Trained, training: Training) -> dict[str, str]:
    lineage = job.lineage(job.recipe.name, model.parent, training.examples)
    return {**lineage, "selftaught.recipe_digest": job.recipe.digest}
