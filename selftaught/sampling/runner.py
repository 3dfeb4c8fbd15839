"""Drives a sampler over many tasks (`selftaught.core.runner`), and says how far it is.

A task that gets no answer (`NoAnswer`: too long for the engine, or what it says cannot be used) costs that task alone:
it is reported, counted, and has no group. What a task's sampling consists of is the sampler's business; retries are the
client's (`selftaught.inference.endpoint`).
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from selftaught.blocks import Attempts, Context, ProgressSink
from selftaught.blocks.boundary import awaited
from selftaught.core.errors import NoAnswer, RoundFailed
from selftaught.core.runner import Journal, drive
from selftaught.records import Group, Task

CONCURRENCY = 32
MOST_UNANSWERED = 0.1
"""The share of tasks that may stay without an answer (one may, however few there are) before a round is given up."""

Unanswered = tuple[Task, NoAnswer]


def tell(task: Task, error: NoAnswer) -> None:
    """Name a task without an answer in the step's log."""
    print(f"no answer to task {_named(task)}: {error}", file=sys.stderr, flush=True)


async def sample(
    tasks: Sequence[Task],
    sampler: Attempts,
    context: Context,
    journal: Journal[Group],
    report: ProgressSink,
    concurrency: int = CONCURRENCY,
    *,
    most_unanswered: float | None = MOST_UNANSWERED,
    unanswered: Callable[[Task, NoAnswer], None] = tell,
) -> list[Group]:
    """A group for each of `tasks` that could be answered, in their order; `unanswered` is called with the others.

    Tasks that `journal` has are not sampled again; finished groups are appended to it at once. At most `concurrency`
    tasks are in flight, and the next starts as soon as one is done, so with one request a task (`iid`) this bounds
    the requests and keeps the engine full. Raises RoundFailed when more than `most_unanswered` of the tasks, or all of
    them, got no answer (never for None: `require_answers` is the caller's to ask), and the first other error of a
    sampler as itself; by then the others are cancelled, and what had finished is in the journal.
    """
    wanted = {task.id: task for task in tasks}
    groups, failed = dict[str, Group](), dict[str, NoAnswer]()
    meter = _Meter(report, done=len(wanted.keys() & journal.read().keys()), total=len(wanted))

    async def attempt(task: Task) -> Group | None:
        try:
            return _said(await awaited(sampler, "sample", Group, lambda: sampler.sample(task, context)))
        except NoAnswer as error:
            failed[task.id] = error
            return None

    for _ in range(2):  # once more: what an engine broke off when it died is not a fault of the task's
        failed.clear()
        missing = [(id, task) for id, task in wanted.items() if id not in groups]
        async for task, group in drive(missing, attempt, journal, meter.add, concurrency):
            if group is not None:
                groups[task.id] = group
    lost = [(task, failed[id]) for id, task in wanted.items() if id in failed]
    for task, error in lost:
        unanswered(task, error)
    if most_unanswered is not None:
        require_answers(lost, len(wanted), most_unanswered)
    return [groups[task.id] for task in tasks if task.id in groups]


def _said(group: Group) -> Group:
    if not group.rollouts and group.tree is None:
        raise NoAnswer("the sampler gave no rollout")
    return group


def require_answers(lost: Sequence[Unanswered], tasks: int, most: float = MOST_UNANSWERED) -> None:
    """Raise RoundFailed when more than `most` of so many `tasks`, or all of them, got no answer."""
    if not lost or len(lost) <= min(max(1, most * tasks), tasks - 1):
        return
    task, error = lost[0]
    raise RoundFailed(
        f"{len(lost)} of {tasks} tasks got no answer, more than {most:.0%}. The first, {_named(task)}: {error} "
        "Leave such tasks out, or give engines what they ask for (SELFTAUGHT_ENGINE_CONTEXT is their longest prompt "
        "and answer)."
    )


def _named(task: Task) -> str:
    return f"{task.id} ({task.question[:60]!r}{'…' if len(task.question) > 60 else ''})"


def total_tokens(groups: Iterable[Group]) -> int:
    """New tokens that `groups` took: of their rollouts, or where a tree was searched, of search and control."""
    return sum(group.new_tokens + (group.control.tokens if group.control else 0) for group in groups)


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
