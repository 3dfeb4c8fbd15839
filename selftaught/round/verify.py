"""verify: the shards are merged, every rollout is verified, and what is kept becomes training examples.

Both data sets depend on the rollouts and the blocks alone: equal rollouts give equal digests.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from selftaught import dataset
from selftaught.blocks import Context
from selftaught.curation.runner import curate
from selftaught.dataset import Manifest
from selftaught.records import Group
from selftaught.round.engines import context
from selftaught.round.job import Job, Stopwatch, Workplace, dump
from selftaught.round.replay import with_replay
from selftaught.search.outcomes import outcomes
from selftaught.verification.runner import funnel, verify


@dataclass(frozen=True, slots=True)
class Verified:
    """The manifests of the verified groups and of the examples."""

    verified: Manifest
    examples: Manifest


def run(job_path: str, shards: Sequence[str], verified: str, examples: str) -> Verified:
    """Verify the groups of all `shards` into `verified` and curate them into `examples`.

    Raises RoundFailed when too few examples are left to train on.
    """
    place, job = Workplace.open(), Job.read(job_path)
    parts = [dataset.manifest(Path(shard)) for shard in shards]
    inputs = {"groups": [part.digest for part in parts], "verify": dump(job.blocks.verify)}
    done = place.once("verify", inputs, Path(verified), lambda out, _: _verify(place, job, shards, parts, out))
    inputs = {
        "verified": done.digest,
        "curate": dump(job.blocks.curate),
        "replay": [job.blocks.replay, [past.examples for past in job.earlier]],
        "seed": job.seed,
    }
    kept = place.once("curate", inputs, Path(examples), lambda out, _: _curate(place, job, Path(verified), out))
    _track(place, job, done, kept)
    return Verified(done, kept)


def _verify(place: Workplace, job: Job, shards: Sequence[str], parts: Sequence[Manifest], out: Path) -> Manifest:
    groups = sorted((group for shard in shards for group in dataset.read(Path(shard), Group)), key=lambda g: g.id)
    watch = Stopwatch()
    done = asyncio.run(_verified(place, job, groups))
    sampled = {
        "new_tokens": sum(part.counts["new_tokens"] for part in parts),
        "unanswered": sum(part.counts.get("unanswered", 0.0) for part in parts),
        "sampling_seconds": max(part.counts["seconds"] for part in parts),
    }
    counts = {**asdict(funnel(done)), **sampled, "seconds": watch.seconds, **outcomes(done)}
    parents = {f"groups.{index}": part.digest for index, part in enumerate(parts)}
    return dataset.write(out, done, "groups", parents=parents, recipe=job.recipe.digest, counts=counts)


async def _verified(place: Workplace, job: Job, groups: Sequence[Group]) -> list[Group]:
    progress = place.progress("verify")
    if set(job.recipe.models) == {"policy"}:
        return await verify(groups, job.blocks.verify, Context(seed=job.seed), progress)
    async with context(place, job, job.sampler, alone=True) as models:
        return await verify(groups, job.blocks.verify, models, progress)


def _curate(place: Workplace, job: Job, verified: Path, out: Path) -> Manifest:
    own = curate(dataset.read(verified, Group), job.blocks.curate, job.seed)
    examples = with_replay(place, job, own)
    parents = {"verified": dataset.manifest(verified).digest}
    parents |= {f"examples.{index}": past.examples for index, past in enumerate(job.earlier)}
    counts = {"own": float(len(own)), "replayed": float(len(examples) - len(own))}
    return dataset.write(out, examples, "examples", parents=parents, recipe=job.recipe.digest, counts=counts)


def _track(place: Workplace, job: Job, verified: Manifest, examples: Manifest) -> None:
    for name, made in (("verified", verified), ("examples", examples)):
        uri = place.store.uri("datasets", made.digest)
        place.tracker.log_dataset(
            job.run, name, made.digest, uri, made.rows, "training" if name == "examples" else name
        )
    counts = verified.counts.items()
    place.tracker.log(job.run, {key if key.startswith("search.") else f"funnel.{key}": n for key, n in counts})
    place.tracker.log(job.run, {"funnel.kept": float(examples.rows), "funnel.replayed": examples.counts["replayed"]})
