"""reuse: the trees that earlier rounds of the line grew with the policy that samples now, for a search to resume from.

Which rounds those are is fixed when the round is (`reusable`), so that a repeated step begins with the same trees. How
a tree is resumed is the search's business (`selftaught.search.reuse`).
"""

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, Any

from pydantic import ValidationError

from selftaught.blocks import Earlier
from selftaught.core.canonical import canonical
from selftaught.platform import Platform
from selftaught.records import Group, Task
from selftaught.records.dataset import Manifest
from selftaught.round.history import recorded_campaigns, records
from selftaught.round.job import Job, Reused, dump
from selftaught.search.searcher import Search
from selftaught.state.ledger import PlanEntry
from selftaught.state.round_key import RoundKey

PARENT = "trees."
"""What the names of these data sets begin with among the parents of what was made from them."""


def reusable(platform: Platform, job: Job) -> tuple[Reused, ...]:
    """The rounds of the line whose trees the search of `job` may resume from, newest first; none unless it says so.

    Rounds that have come to an end, promoted or not, in which the same policy was asked with the same variables of its
    chat template by a search that this one continues, and whose trees are still kept.
    """
    if not (isinstance(job.blocks.sample, Search) and job.blocks.sample.reuse):
        return ()
    found = sorted(_same_policy(platform, job), key=lambda each: each[0].started, reverse=True)
    kept = set(platform.store.list("datasets")) if found else set[str]()
    return tuple(reused for past, reused in found if reused.trees in kept and _continues(job, past))


def _same_policy(platform: Platform, job: Job) -> Iterator[tuple[Job, Reused]]:
    for campaign in sorted(recorded_campaigns(platform, job.line)):
        for key, record in records(platform, job.line, campaign):
            if record.round.sampled_from == job.sampler.digest and (past := _planned(platform, key)):
                kept = next(each for each in record.round.datasets if each.kind == "verified")
                yield past, Reused(round=past.name, trees=kept.digest, rows=kept.rows, valued=_valued_alike(job, past))


def _planned(platform: Platform, key: RoundKey) -> Job | None:
    """The job of an earlier round; None where another version wrote it, so that nobody knows how it searched."""
    claim = platform.ledger.value(PlanEntry(key))
    with suppress(ValidationError):
        return None if claim is None else Job.model_validate_json(claim)
    return None


def _continues(job: Job, past: Job) -> bool:
    search = job.blocks.sample
    same = job.recipe.chat_template == past.recipe.chat_template
    return same and isinstance(search, Search) and search.continues(past.blocks.sample)


def _valued_alike(job: Job, past: Job) -> bool:
    """Whether nodes would be worth the same: by the same blocks, the same verifiers, and the same models in all roles.

    Which of the roles a value asks is its own business, so one that it does not ask counts too, as do the versions of
    all packages that brought blocks.
    """
    return _values(job) == _values(past)


def _values(job: Job) -> Any:
    search = job.blocks.sample
    value = dump(search.value) if isinstance(search, Search) else None
    players = {role: model.digest for role, model in job.roles.items()}
    return value, dump(job.blocks.verify), players, job.packages


@contextmanager
def earlier_trees(platform: Platform, job: Job, tasks: Sequence[Task]) -> Generator[Mapping[str, Earlier]]:
    """The newest tree of each of `tasks` that the job's earlier rounds have, by the task's id.

    The rounds' trees pass by one after the other, and those that are wanted go into a file that nobody sees: one tree
    is in memory at a time, and where each begins.
    """
    platform.settings.home.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=platform.settings.home) as file:
        at = dict[str, tuple[int, Reused]]()
        for past in job.reused:
            at |= _written(platform, past, {task.id for task in tasks} - at.keys(), file)
        yield _Trees(file, at)


def _written(
    platform: Platform, past: Reused, wanted: Collection[str], file: IO[bytes]
) -> dict[str, tuple[int, Reused]]:
    """Where in `file` the trees of `past` begin that are `wanted` and can be resumed from."""
    at = dict[str, tuple[int, Reused]]()
    for group in platform.rows(past.trees, Group) if wanted else ():
        if group.id in wanted and group.tree and group.tree.growth:
            at[group.id] = file.tell(), past
            bare = group.model_copy(update={"verdicts": (), "control": None})
            file.write(canonical(bare.to_row()) + b"\n")
    return at


@dataclass(frozen=True, slots=True)
class _Trees(Mapping[str, Earlier]):
    """Trees in a file, by the id of their task; each is read when it is asked for."""

    file: IO[bytes]
    at: Mapping[str, tuple[int, Reused]]

    def __getitem__(self, task: str) -> Earlier:
        offset, past = self.at[task]
        self.file.seek(offset)
        group = Group.model_validate_json(self.file.readline())
        return Earlier(trees=past.trees, group=group, valued=past.valued)

    def __contains__(self, task: object) -> bool:
        return task in self.at

    def __iter__(self) -> Iterator[str]:
        return iter(self.at)

    def __len__(self) -> int:
        return len(self.at)


def parents(groups: Sequence[Group]) -> dict[str, str]:
    """The data sets whose trees were resumed from in `groups`, as parents of these."""
    trees = {group.tree.begun.trees for group in groups if group.tree and group.tree.begun}
    return {f"{PARENT}{digest[:8]}": digest for digest in sorted(trees)}


def inherited(parts: Sequence[Manifest]) -> dict[str, str]:
    """The same of what is made of all `parts`."""
    return {name: digest for part in parts for name, digest in part.parents.items() if name.startswith(PARENT)}


def reused_by(job: Job, made: Manifest) -> list[Reused]:
    """The earlier rounds of `job` whose trees were resumed from in the data set `made`."""
    trees = set(inherited([made]).values())
    return [past for past in job.reused if past.trees in trees]
