"""verify: the shards are merged, every rollout is verified, and what is kept becomes training examples.

Both data sets depend on the rollouts and the blocks alone: equal rollouts give equal digests. Groups pass through one
after the other: what is in memory at once is a few dozen of them, the ids of the examples, and those replayed.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from heapq import merge
from itertools import islice
from pathlib import Path

from selftaught.core.errors import BadInput, RoundFailed
from selftaught.core.runner import Journal
from selftaught.core.stopwatch import Stopwatch
from selftaught.curation.runner import curate
from selftaught.platform import Platform
from selftaught.records import Example, Group, Judged, Task, dataset
from selftaught.records.dataset import Manifest, Writer
from selftaught.round import findings
from selftaught.round.checks.leaks import require_no_leak
from selftaught.round.checks.minted import leaking
from selftaught.round.inputs import of_verifying
from selftaught.round.job import Job, brought_by, dump
from selftaught.round.models import context
from selftaught.round.patience import patient
from selftaught.round.replay import drawn_tasks, replayed
from selftaught.round.reuse import inherited, reused_by
from selftaught.round.verdicts import kept
from selftaught.search.comparison import Compared, compared, figures
from selftaught.search.outcomes import outcomes
from selftaught.verification.runner import funnel, verified

READABLE = 24
"""How many verified groups the round's run shows."""
ENDS = ("ended", "sampling_ended")
"""The counts that say when a step was done, and not how much: see `selftaught.round.steps.report`."""
COLUMNS = ("question", "gold answer", "answer", "passed", "verdicts", "finish reason")


@dataclass(frozen=True, slots=True)
class Verified:
    """The manifests of the verified groups and of the examples."""

    verified: Manifest
    examples: Manifest


@patient
def run(job_path: str, shards: Sequence[str], verified: str, examples: str) -> Verified:
    """Verify the groups of all `shards` into `verified` and curate them into `examples`.

    Raises RoundFailed when too few examples are left to train on, with what there is, or when some of them are held-out
    tasks, and BadInput when the pipeline was started for another number of shards than it has.
    """
    platform, job = Platform.open(), Job.read(job_path)
    if len(shards) != job.shards:
        raise BadInput(
            f"{job.name}: {len(shards)} of {job.shards} shards. A pipeline of one shard takes `shards: [0]`."
        )
    parts = [dataset.manifest(Path(shard)) for shard in shards]
    inputs = of_verifying(job).key(platform, groups=[part.digest for part in parts])
    done = platform.memoize(
        "verify", inputs, Path(verified), lambda out, key: _verify(platform, job, shards, parts, out, key)
    )
    track_verified(platform, job, done)
    show(platform, job, Path(verified))
    inputs = {
        "verified": done.digest,
        "tasks": job.tasks,
        "curate": dump(job.blocks.curate),
        "replay": [job.blocks.replay, [past.examples for past in job.earlier]],
        "seed": job.seed,
        **brought_by(job.blocks.curate),
    }
    curated = platform.memoize(
        "curate", inputs, Path(examples), lambda out, _: _curate(platform, job, Path(verified), out)
    )
    track_examples(platform, job, curated)
    return Verified(done, curated)


def _verify(
    platform: Platform, job: Job, shards: Sequence[str], parts: Sequence[Manifest], out: Path, key: str
) -> Manifest:
    groups = merge(*(_by_id(Path(shard)) for shard in shards), key=lambda group: group.id)
    total = sum(part.rows for part in parts)
    watch, counts, controls = Stopwatch(), Counter[str](), list[Compared]()
    with dataset.writing(out, "groups") as into:
        with kept(platform, job, key, job.blocks.verify) as journal:
            asyncio.run(_each(platform, job, groups, total, journal, into, counts, controls))
        sampled = {
            "new_tokens": sum(part.counts["new_tokens"] for part in parts),
            "unanswered": sum(part.counts.get("unanswered", 0.0) for part in parts),
            "sampling_seconds": max(part.counts["seconds"] for part in parts),
            "sampling_ended": max(part.counts.get("ended", time.time()) for part in parts),
        }
        parents = {f"groups.{index}": part.digest for index, part in enumerate(parts)} | inherited(parts)
        timed = {**sampled, "seconds": watch.seconds, "ended": time.time()}
        return into.end(parents, job.recipe.digest, {**counts, **figures(controls), **timed})


def _by_id(shard: Path) -> Iterator[Group]:
    """The groups of a shard by id: as they stand where `sample` has written them so, else sorted in memory."""
    ids = [Task.from_row(task).id for task in dataset.column(shard, "task")]
    groups = dataset.rows(shard, Group)
    return groups if ids == sorted(ids) else iter(sorted(groups, key=lambda group: group.id))


async def _each(
    platform: Platform,
    job: Job,
    groups: Iterable[Group],
    total: int,
    journal: Journal[Judged],
    into: Writer,
    counts: Counter[str],
    controls: list[Compared],
) -> None:
    """Verify the groups one after the other into a data set, count what became of them, compare with controls."""
    counts.update(asdict(funnel([])))
    async with context(platform, of_verifying(job)) as models:
        async for group in verified(groups, total, job.blocks.verify, models, platform.progress("verify"), journal):
            into.add(group)
            counts.update({**asdict(funnel([group])), **outcomes([group])})
            controls.extend(compared([group]))


def _curate(platform: Platform, job: Job, groups: Path, out: Path) -> Manifest:
    parents = {"verified": dataset.manifest(groups).digest}
    parents |= {f"examples.{index}": past.examples for index, past in enumerate(job.earlier)}
    with dataset.writing(out, "examples") as into:
        own = [_added(into, example) for example in _own(platform, job, groups)]
        others = [_added(into, example) for example in replayed(platform, job, own)]
        made = into.end(parents, job.recipe.digest, {"own": float(len(own)), "replayed": float(len(others))})
        require_no_leak(platform, job, drawn_tasks(platform, job), into.rows)
        return made


def _added(into: Writer, example: Example) -> str:
    """The id of the text of `example`, which is written."""
    into.add(example)
    return example.text_id


def _own(platform: Platform, job: Job, groups: Path) -> Iterator[Example]:
    """What is curated of the round's own groups; where that is too little, the error says what there is."""
    rows, made = dataset.Rows(groups, Group), dataset.manifest(groups)
    minted = [Task.from_row(task) for tasks in dataset.column(groups, "minted") for task in tasks or ()]
    try:
        yield from curate(rows, job.blocks.curate, job.seed, leaking(platform, job, minted))
    except RoundFailed as failure:
        summary = findings.rollouts(rows, made.counts, platform.store.uri("datasets", made.digest))
        raise RoundFailed(f"{failure}{summary}") from None


def track_verified(platform: Platform, job: Job, verified: Manifest) -> None:
    """Log the verified groups, and what became of the rollouts."""
    uri, counts = platform.store.uri("datasets", verified.digest), verified.counts.items()
    platform.tracker.log_dataset(job.run, "verified", verified.digest, uri, verified.rows, "verified")
    for past in reused_by(job, verified):
        at = platform.store.uri("datasets", past.trees)
        platform.tracker.log_dataset(job.run, f"trees of {past.round}", past.trees, at, past.rows, "reused trees")
    amounts = {key if key.startswith("search.") else f"funnel.{key}": n for key, n in counts if key not in ENDS}
    platform.tracker.log(job.run, amounts)


def track_examples(platform: Platform, job: Job, examples: Manifest) -> None:
    """Log the examples, and how many there are."""
    uri = platform.store.uri("datasets", examples.digest)
    platform.tracker.log_dataset(job.run, "examples", examples.digest, uri, examples.rows, "training")
    kept, replayed = examples.counts["own"], examples.counts["replayed"]
    platform.tracker.log(job.run, {"funnel.kept": kept, "funnel.replayed": replayed})


def show(platform: Platform, job: Job, verified: Path) -> None:
    """Some verified rollouts as a table of the round's run, where people look for them, also where few are kept."""
    groups = islice(dataset.rows(verified, Group), READABLE)
    platform.tracker.log_table(job.run, "rollouts.json", COLUMNS, [row for group in groups for row in _rows(group)])


def _rows(group: Group) -> Iterator[tuple[str, str, str, str, str, str]]:
    """A row a rollout, in the order of `COLUMNS`."""
    for at, (rollout, verdicts) in enumerate(zip(group.rollouts, group.verdicts, strict=True)):
        said = "; ".join(f"{v.verifier}: {v.error or v.reason}" for v in verdicts)
        passed = "passed" if group.passed(at) else "failed"
        task = group.task_of(rollout)
        yield task.question, task.answer or "", rollout.text, passed, said, rollout.finish_reason
