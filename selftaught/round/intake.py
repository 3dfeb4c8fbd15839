"""Fresh tasks of a round: what is drawn for it, and what the rounds before it have used of what was uploaded.

There is no watermark of its own that could fall behind. A round's plan, claimed once, names the batches that it uses;
its record, claimed once when it has ended in a promotion or a refusal, makes them used. A round that failed or was
killed has no record and has used nothing; one that is prepared twice gets its plan's batches again. What is used is a
set of names and no date, so a batch that arrives late with an older date is as new as any other. Another campaign
begins with nothing used.

That there is nothing new is found out here, by whoever starts a round and before anything is started
(`selftaught run`; `selftaught tasks list --json` for a schedule of one's own). It costs a round that runs nothing: no
branch in the pipeline, which would be a pod more, and no loop over an empty list, which fails there. `prepare` asks the
same, and ends the pipeline's run with the same words where it was started all the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from selftaught.core.errors import BadInput, NothingNew
from selftaught.platform import Platform
from selftaught.recipe import Recipe, Stage
from selftaught.records import Task, set_name
from selftaught.round.history import planned
from selftaught.round.job import Plan
from selftaught.state.ledger import RecordEntry
from selftaught.state.round_key import RoundKey
from selftaught.state.tracking import NOTHING_NEW
from selftaught.tasks.draw import seeds, taken
from selftaught.tasks.inbox.batches import names
from selftaught.tasks.inbox.source import Inbox
from selftaught.tasks.lean import LeanTask
from selftaught.tasks.past import InboxHistory, TaskDraw


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """A batch, whether it was used, how many tasks it gives (None: it is not read any more), and what is wrong."""

    drop: str
    state: Literal["used", "waiting", "broken"]
    tasks: int | None
    problem: str = ""


def drawn(platform: Platform, recipe: Recipe, key: RoundKey) -> TaskDraw:
    """The tasks of one attempt at a round, ordered, with the batches that they come from.

    None is held out that any round of the line was trained on. Raises NothingNew when too few were uploaded,
    RoundFailed when the sets overlap, and what the source raises.
    """
    return taken(recipe.tasks, seeds(key), past(platform, key.line, key.campaign), recipe.sources)


def listed(platform: Platform, recipe: Recipe, line: str, campaign: str) -> tuple[list[BatchStatus], str | None]:
    """Every batch that is there, by date, and what a round lacks in fresh tasks; None where there are enough.

    Raises BadInput when the recipe's tasks do not come from an inbox.
    """
    source, before = inbox(recipe), past(platform, line, campaign)
    waiting, broken = source.waiting(before)
    tasks = {drop.name: drop.tasks for drop in waiting}
    found = [
        BatchStatus(
            name,
            "used" if name in before.drops else "broken" if name in broken else "waiting",
            tasks.get(name),
            broken.get(name, ""),
        )
        for name in names(source.path)
    ]
    return found, _lacking(lambda: source.taken(seeds(RoundKey(line, campaign)), before, waiting, broken))


def inbox(recipe: Recipe) -> Inbox:
    """The recipe's tasks, where they come from an inbox. Raises BadInput where they are not."""
    if not isinstance(recipe.tasks, Inbox):
        raise BadInput(
            f"{recipe.name}: tasks.type is '{recipe.tasks.name}', so it has no inbox. Name a recipe with "
            "{type: inbox, path: …}."
        )
    return recipe.tasks


def past(platform: Platform, line: str, campaign: str, until: float = float("inf")) -> InboxHistory:
    """What the rounds of `line` have fixed, and those of `campaign` that were fixed by `until` have used.

    `until` is in seconds since the epoch.
    """
    plans, ended = planned(platform, line), set(platform.ledger.rounds(RecordEntry, line, campaign))
    done = [plan for key, plan in plans.items() if key in ended and plan.started <= until]
    used = _tasks(platform, {plan.tasks: plan.instruction for plan in plans.values()})
    return InboxHistory(
        assigned=_used(used, plans.values()),
        seen=_used(used, done),
        drops=frozenset(drop for plan in done for drop in plan.drops),
    )


def nothing_new(platform: Platform, recipe: Recipe, key: RoundKey) -> str | None:
    """Why there is nothing to do for this attempt at a round, whose MLflow run then ends so; None where there is."""
    reason = missing(platform, recipe, key.line, key.campaign)
    if reason:
        end(platform, recipe, key, reason)
    return reason


def missing(platform: Platform, recipe: Recipe, line: str, campaign: str) -> str | None:
    """What a round lacks in fresh tasks; None where there are enough, or the tasks do not come from an inbox."""
    if not isinstance(recipe.tasks, Inbox):
        return None
    source = recipe.tasks
    return _lacking(lambda: source.take(seeds(RoundKey(line, campaign)), past(platform, line, campaign)))


def _lacking(take: Callable[[], TaskDraw]) -> str | None:
    try:
        take()
    except NothingNew as nothing:
        return str(nothing)
    return None


def end(platform: Platform, recipe: Recipe, key: RoundKey, reason: str) -> None:
    """End the MLflow run of a round that has nothing to do; the round continues in it once there is something."""
    run = platform.tracker.round_run(key, stage_of(recipe, key.number).name)
    platform.tracker.tag(run, {"selftaught.recipe": recipe.digest, "selftaught.nothing_new": reason[:4000]})
    platform.tracker.finish(run, NOTHING_NEW)


def stage_of(recipe: Recipe, number: int) -> Stage:
    """The stage that round `number` (from 1) belongs to."""
    return next(islice(recipe.rounds(), number - 1, None))


def _tasks(platform: Platform, digests: Mapping[str, str | None]) -> dict[str, list[LeanTask]]:
    """The tasks of each data set, by its instruction; what several of them have, such as a report set, is one.

    Those of named sets are in no pool of the recipe's own source, and are left out.
    """
    one: dict[LeanTask, LeanTask] = {}

    def lean(digest: str, instruction: str | None) -> Iterator[LeanTask]:
        return (LeanTask.of(task, instruction) for task in _own(platform.rows(digest, Task)))

    return {each: [one.setdefault(small, small) for small in lean(each, said)] for each, said in digests.items()}


def _own(tasks: Iterable[Task]) -> Iterator[Task]:
    return (task for task in tasks if not set_name(task.split))


def _used(tasks: Mapping[str, list[LeanTask]], plans: Iterable[Plan]) -> list[LeanTask]:
    """The tasks of `plans`; an attempt that repeats another's draw has the same, once."""
    return [task for digest in dict.fromkeys(plan.tasks for plan in plans) for task in tasks[digest]]
