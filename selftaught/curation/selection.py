"""Selection: single rollouts become prompt/completion examples, with caps that a seed decides.

What curators that pick rollouts one by one share; which rollouts they may pick from is what they differ in. The draw
ranks rollouts by a hash of seed and content, so it depends neither on the order of the groups nor on one another.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from selftaught.blocks import Curator
from selftaught.errors import RoundFailed
from selftaught.records import Example, Group, Message, Rollout, content_id


class Selection(Curator):
    """Pick rollouts of each task, `per_task` at most, and `max_examples` in all.

    Truncated rollouts (finish_reason `length`) are never picked: training on them teaches to stop nowhere. The prompt
    is the task's own, so hints and system messages of the sampler do not enter it.
    """

    per_task: PositiveInt | None = 4
    dedupe: Annotated[bool, Field(description="drop a task's repeated texts, white space apart")] = True
    minimum: Annotated[NonNegativeInt, Field(description="fewer examples than this fail the round")] = 16
    max_examples: PositiveInt | None = None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.max_examples is not None and self.minimum > self.max_examples:
            raise ValueError(
                f"minimum: {self.minimum} is above max_examples: {self.max_examples}; every round would fail; "
                "lower minimum or raise max_examples"
            )
        return self

    @abstractmethod
    def candidates(self, group: Group) -> Iterable[Rollout]:
        """The rollouts of `group` that may be picked, in order."""

    def curate(self, groups: Sequence[Group], seed: int) -> Iterator[Example]:
        """Yield examples in the order of task ids, whatever the order of `groups`; a task's in the order drawn."""
        picked = [(g, r) for g in sorted(groups, key=lambda g: g.id) for r in self._picked(g, seed)]
        kept = {rollout.id for rollout in _draw([rollout for _, rollout in picked], self.max_examples, seed)}
        return (_example(group, rollout) for group, rollout in picked if rollout.id in kept)

    def check(self, examples: Sequence[Example]) -> None:
        """Raise RoundFailed when there are fewer than `minimum` examples."""
        if len(examples) < self.minimum:
            raise RoundFailed(
                f"curate: '{self.name}' gave {len(examples)} examples, fewer than minimum: {self.minimum}. Sample "
                "more (tasks.train, sample.k), take easier tasks, or lower minimum."
            )

    def _picked(self, group: Group, seed: int) -> list[Rollout]:
        whole = [rollout for rollout in self.candidates(group) if rollout.finish_reason != "length"]
        return _draw(_distinct(whole) if self.dedupe else whole, self.per_task, seed)


def _distinct(rollouts: Iterable[Rollout]) -> list[Rollout]:
    """The first rollout of each text, white space apart."""
    by_text: dict[str, Rollout] = {}
    for rollout in rollouts:
        by_text.setdefault(" ".join(rollout.text.split()), rollout)
    return list(by_text.values())


def _draw(rollouts: list[Rollout], count: int | None, seed: int) -> list[Rollout]:
    """`count` of `rollouts` (all of them for None), drawn without replacement by `seed`, in the order drawn."""
    return sorted(rollouts, key=lambda rollout: content_id([seed, rollout.id]))[:count]


def _example(group: Group, rollout: Rollout) -> Example:
    return Example(
        prompt=group.task.messages,
        completion=(Message(role="assistant", content=rollout.text),),
        task=group.id,
        rollout=rollout.id,
    )
