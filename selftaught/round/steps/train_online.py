"""train, of an online stage: the policy answers tasks, is verified, and learns from that, step by step.

What it learnt from is written out as an offline round's verified groups and examples are: their lineage, the look for
held-out tasks among them, gate and report know no difference. The first completed training under the same inputs wins,
with its data.
"""

import shutil
import time
from dataclasses import asdict
from pathlib import Path

from selftaught.blocks import TrainResult
from selftaught.core.errors import BadInput
from selftaught.core.stopwatch import Stopwatch
from selftaught.platform import Platform, input_key
from selftaught.recipe import Online
from selftaught.records import dataset
from selftaught.records.dataset import Manifest
from selftaught.round.checks.leaks import require_no_leak
from selftaught.round.distributed.online import OnlineRequest
from selftaught.round.experience import Gatherings
from selftaught.round.inputs import of_online
from selftaught.round.job import Job, dump
from selftaught.round.patience import patient
from selftaught.round.replay import drawn_tasks
from selftaught.round.steps.train import (
    Training,
    charted,
    held_to,
    register,
    request,
    scratch_of,
    stored,
    trained_once,
)
from selftaught.round.steps.verify import Verified, show, track_examples, track_verified
from selftaught.sampling.runner import total_tokens
from selftaught.verification.runner import funnel


class OnlineTraining(Training):
    """One online training; `verified` is the digest of the groups that it learnt from."""

    verified: str


@patient
def run(job_path: str, tasks: str, verified: str, examples: str, out: str) -> OnlineTraining:
    """Train on `tasks`; write what was learnt from to `verified` and `examples`, the training record to `out`.

    Raises RoundFailed when training diverges, too many tasks get no answer, or examples are held-out tasks, BadInput
    when several nodes are asked for.
    """
    platform, job = Platform.open(), Job.read(job_path)
    online = _online(platform, job)
    inputs = of_online(job).key(
        platform,
        model=job.trainee.digest,
        tasks=job.tasks,
        online=dump(online),
        curate=dump(job.blocks.curate),
        train=dump(job.blocks.train),
        **held_to(job),
    )
    key = input_key("train", inputs)
    training = trained_once(platform, key, OnlineTraining, lambda: _train(platform, job, job_path, Path(tasks), key))
    shutil.rmtree(scratch_of(platform, job, key), ignore_errors=True)
    _track(platform, job, training, Path(verified), Path(examples))
    register(platform, job, training)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(training.model_dump_json(indent=2), encoding="utf-8")
    return training


def _online(platform: Platform, job: Job) -> Online:
    settings = platform.settings
    if settings.train_nodes > 1:
        raise BadInput(
            f"{job.recipe.name}: an online stage trains on one node so far, and the settings ask for "
            f"{settings.train_nodes}. Set SELFTAUGHT_TRAIN_NODES to 1 (SELFTAUGHT_TRAIN_PROCESSES may be more), or "
            "take `online` out of the recipe."
        )
    assert job.blocks.online, job.stage
    return job.blocks.online


def _train(platform: Platform, job: Job, job_path: str, tasks: Path, key: str) -> OnlineTraining:
    watch, scratch = Stopwatch(), scratch_of(platform, job, key)
    given = request(platform, job, job.blocks.train[0], job.trainee)
    work = OnlineRequest(
        **given,
        model=platform.model(job.trainee.digest),
        out=scratch / "model",
        scratch=scratch / "steps",
        job=Path(job_path),
        tasks=tasks,
    )
    with charted(platform, job, work):
        result = work.run(platform.settings.train_processes)
    made = _written(platform, job, work.gathered(platform, job), result, scratch)
    trained = stored(platform, job.trainee, [result], work.out)
    return OnlineTraining(
        **trained.model_dump(),
        examples=made.examples.digest,
        verified=made.verified.digest,
        seconds=watch.seconds,
    )


def _written(platform: Platform, job: Job, gathering: Gatherings, result: TrainResult, scratch: Path) -> Verified:
    """What was learnt from, as data sets in the store."""
    groups, examples, recipe = gathering.groups(), list(gathering.examples()), job.recipe.digest
    require_no_leak(platform, job, drawn_tasks(platform, job), examples)
    counts = {
        **asdict(funnel(groups)),
        "new_tokens": float(total_tokens(groups)),
        "unanswered": 0.0,
        "sampling_seconds": result.metrics["online.gathering_seconds"],
        "seconds": 0.0,  # verified while it was gathered
        "sampling_ended": time.time(),
        "ended": time.time(),
    }
    made_of = {"tasks": job.tasks, "model": job.trainee.digest}
    verified = dataset.write(scratch / "verified", groups, "groups", parents=made_of, recipe=recipe, counts=counts)
    own = {"own": float(len(examples)), "replayed": 0.0}
    made = dataset.write(
        scratch / "examples", examples, "examples", parents={"verified": verified.digest}, recipe=recipe, counts=own
    )
    for manifest, folder in ((verified, "verified"), (made, "examples")):
        platform.store.put("datasets", manifest.digest, scratch / folder)
    return Verified(verified, made)


def _track(platform: Platform, job: Job, training: OnlineTraining, verified: Path, examples: Path) -> None:
    """Bring the data here, and show it in the round's run."""
    track_verified(platform, job, _fetched(platform, training.verified, verified))
    show(platform, job, verified)
    track_examples(platform, job, _fetched(platform, training.examples, examples))


def _fetched(platform: Platform, digest: str, folder: Path) -> Manifest:
    if not (folder / dataset.MANIFEST).exists() or dataset.manifest(folder).digest != digest:
        platform.store.get("datasets", digest, folder)
    return dataset.manifest(dataset.proven(folder, digest))
