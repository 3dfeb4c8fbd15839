"""Drives a sampler over many tasks: bounded concurrency, a journal, progress, one error instead of many.

What a task's sampling consists of is the sampler's business; retries are the client's (`selftaught.models`).
"""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from selftaught.blocks import Context, ProgressSink, Sampler
from selftaught.errors import SelftaughtError
from selftaught.records import Group, Task

CONCURRENCY = 32


class Journal(Protocol):
    """Where finished groups are kept as they finish: `selftaught.journal` has the real ones."""

    def read(self) -> Mapping[str, Group]:
        """The groups journaled so far, by task id."""
        ...

    def append(self, group: Group, /) -> None:
        """Keep `group`; when this returns, a kill does not lose it."""
        ...


async def sample(
    tasks: Sequence[Task],
    sampler: Sampler,
    context: Context,
    journal: Journal,
    report: ProgressSink,
    concurrency: int = CONCURRENCY,
) -> list[Group]:
    """A group for each of `tasks`, in their order.

    Tasks that `journal` has are not sampled again; finished groups are appended to it at once. At most `concurrency`
    tasks are in flight, and the next starts as soon as one is done, so with one request a task (`iid`) this bounds
    the requests and keeps the engine full. Raises the first error of a sampler as itself; by then the others are
    cancelled, and what had finished is in the journal.
    """
    known = journal.read()
    groups = {task.id: known[task.id] for task in tasks if task.id in known}
    todo = iter({task.id: task for task in tasks if task.id not in groups}.values())
    meter = _Meter(report, done=len(groups), total=len({task.id for task in tasks}))

    async def work() -> None:
        # All workers pull from one iterator: that is the queue.
        for task in todo:
            groups[task.id] = group = await sampler.sample(task, context)
            journal.append(group)
            meter.add(group)

    await _run([work() for _ in range(concurrency)])
    return [groups[task.id] for task in tasks]


async def _run(works: Iterable[Coroutine[None, None, None]]) -> None:
    """Run `works` together; the first error cancels the others and is raised as itself, not as a group."""
    try:
        async with asyncio.TaskGroup() as together:
            for work in works:
                together.create_task(work)
    except ExceptionGroup as failed:
        # Others may fail while they are cancelled: what the user can mend comes first.
        raise next((e for e in failed.exceptions if isinstance(e, SelftaughtError)), failed.exceptions[0]) from None


def total_tokens(groups: Iterable[Group]) -> int:
    """New tokens that `groups` took: of their rollouts, or where a tree was searched, of the search."""
    return sum(group.new_tokens for group in groups)


def counts(groups: Sequence[Group]) -> dict[str, float]:
    """What was sampled, for manifests and reports: tasks, rollouts, truncated, hinted, tokens in and out."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return {
        "tasks": len(groups),
        "rollouts": len(rollouts),
        "truncated": sum(rollout.finish_reason == "length" for rollout in rollouts),
        "hinted": sum(rollout.hinted for rollout in rollouts),
        "prompt_tokens": sum(rollout.prompt_tokens for rollout in rollouts),
        "completion_tokens": total_tokens(groups),
    }


@dataclass(slots=True)
class _Meter:
    """Counts what this run sampled and reports it; journaled groups count as done, not for the rate."""

    report: ProgressSink
    done: int
    total: int
    tokens: int = 0
    start: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.report(self.done, self.total)

    def add(self, group: Group) -> None:
        self.done += 1
        self.tokens += total_tokens([group])
        seconds = max(time.monotonic() - self.start, 1e-9)
        self.report(self.done, self.total, tokens=self.tokens, tokens_per_second=self.tokens / seconds)
