"""sample: one shard of the training tasks is attempted by the policy, by sampling or by search.

Finished groups are journaled under the shard's input digest, so a killed step resumes from them.
"""

import asyncio
import time
from pathlib import Path

from selftaught.core.stopwatch import Stopwatch
from selftaught.platform import Platform
from selftaught.records import Group, Task, dataset
from selftaught.records.dataset import Manifest
from selftaught.round.inputs import of_sampling
from selftaught.round.job import Job, dump
from selftaught.round.models import context, tasks_in_flight
from selftaught.round.patience import patient
from selftaught.round.reuse import earlier_trees, parents
from selftaught.sampling.runner import sample, total_tokens
from selftaught.search.outcomes import outcomes, require_trees
from selftaught.state.journal import open_journal


@patient
def run(job_path: str, shard: int, tasks: str, out: str) -> Manifest:
    """Sample the training tasks `shard`, `shard + shards`, … of `tasks` into `out`."""
    platform, job = Platform.open(), Job.read(job_path)
    mine = [task for task in dataset.read(Path(tasks), Task) if task.split == "train"][shard :: job.shards]
    reused = {"reused": dump(job.reused)} if job.reused else {}
    inputs = of_sampling(job).key(platform, tasks=[task.attempted_id for task in mine], **reused)
    return platform.memoize(
        "sample", inputs, Path(out), lambda folder, key: asyncio.run(_sample(platform, job, mine, folder, key))
    )


async def _sample(platform: Platform, job: Job, tasks: list[Task], out: Path, key: str) -> Manifest:
    async with context(platform, of_sampling(job)) as models:
        watch = Stopwatch()
        with (
            open_journal(platform.store, job.scoped(key), Group) as journal,
            earlier_trees(platform, job, tasks) as earlier,
        ):
            flight = tasks_in_flight(models)
            attempts = job.blocks.sample.in_round(tasks, job.seed, platform.settings.engine_context, earlier)
            groups = await sample(tasks, attempts, models, journal, platform.progress("sample"), flight)
    require_trees(groups)
    counts = {
        "seconds": watch.seconds,
        "ended": time.time(),
        "new_tokens": float(total_tokens(groups)),
        "unanswered": float(len(tasks) - len(groups)),
        **outcomes(groups),
    }
    made_of = {"tasks": job.tasks, "model": job.sampler.digest, **parents(groups)}
    return dataset.write(out, groups, "groups", parents=made_of, recipe=job.recipe.digest, counts=counts)
