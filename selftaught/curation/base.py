"""Selection: how curators count, cap and sample examples.

What curators share: a minimum, a cap on all examples (`PerGroupCurator`), and for those that pick rollouts one by one
a cap per task (`Selection`). Which rollouts or nodes they may pick is what they differ in. A draw ranks by a hash of
seed and content, so it depends neither on the order of the groups nor on one another.

Groups are gone through twice: which examples are kept is found by their ids alone, and these are then made again.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, pairwise, zip_longest
from typing import Annotated, Self, TypeVar

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from selftaught.blocks import Curator
from selftaught.core.errors import RoundFailed
from selftaught.curation.parts import Parts
from selftaught.records import (
    Example,
    Group,
    Message,
    Rollout,
    Segment,
    Turn,
    asked_after,
    content_id,
    conversation,
    in_words,
)


class PerGroupCurator(Curator):
    """At least `minimum` examples, at most `max_examples`, each group separately."""

    minimum: Annotated[NonNegativeInt, Field(description="fewer examples than this fail the round")] = 16
    max_examples: Annotated[
        PositiveInt | None, Field(description="examples at most, spread evenly over the tasks; null is all")
    ] = None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.max_examples is not None and self.minimum > self.max_examples:
            raise ValueError(
                f"minimum: {self.minimum} is above max_examples: {self.max_examples}; every round would fail; "
                "lower minimum or raise max_examples"
            )
        return self

    @abstractmethod
    def examples(self, group: Group, seed: int) -> Iterable[Example]:
        """The examples of one verified group, in order."""

    def curate(self, groups: Sequence[Group], seed: int) -> Iterator[Example]:
        """Yield examples in the order of task ids, whatever the order of `groups`; a task's in the block's order."""
        groups = Parts(groups)
        made = [(group.id, [each.id for each in self.examples(group, seed)]) for group in groups]
        kept = self._spread([ids for _, ids in sorted(made, key=lambda each: each[0])], seed)
        in_order = groups if _ascending([id for id, _ in made]) else sorted(groups, key=lambda group: group.id)
        return _as_often((each for group in in_order for each in self.examples(group, seed)), kept)

    def _spread(self, each_group: Sequence[Sequence[str]], seed: int) -> Iterable[str]:
        """At most `max_examples`: every task's first before any task's second, so that most tasks are learnt from."""
        rank = partial(_rank, seed)
        layers = zip_longest(*(sorted(ids, key=rank) for ids in each_group))
        spread = (id for layer in layers for id in sorted((id for id in layer if id is not None), key=rank))
        return islice(spread, self.max_examples)

    def check(self, given: int) -> None:
        """Raise RoundFailed when there are fewer than `minimum` examples."""
        if given < self.minimum:
            raise RoundFailed(
                f"curate: '{self.name}' gave {given} examples, fewer than minimum: {self.minimum}. Sample "
                "more (tasks.train, sample.k, or a search's limits), take easier tasks, or lower minimum."
            )


def _ascending(ids: Sequence[str]) -> bool:
    """Whether groups come in the order of their `ids`, as those of a data set do: then none of them need be held."""
    return all(one <= other for one, other in pairwise(ids))


class Selection(PerGroupCurator):
    """Pick rollouts of each task, `per_task` at most, and `max_examples` in all.

    Only rollouts whose turns the model itself ended (finish_reason `stop`) are picked: what was cut off or broken off
    (`length`, `abort`, `error`, `content_filter`) teaches to stop anywhere. The prompt is the task's own, so hints and
    system messages of the sampler do not enter it. What an answer was prefilled with is read and not learnt.
    """

    per_task: Annotated[
        PositiveInt | None, Field(description="rollouts of one task at most, drawn by the seed; null is all")
    ] = 4
    dedupe: Annotated[bool, Field(description="drop a task's duplicate texts, ignoring white space")] = True

    @abstractmethod
    def candidates(self, group: Group) -> Iterable[Rollout]:
        """The rollouts of `group` that may be picked, in order."""

    def examples(self, group: Group, seed: int) -> Iterable[Example]:
        """What is picked of `group`, in the order drawn."""
        learnable = [rollout for rollout in self.candidates(group) if self.may_be_learnt(rollout)]
        picked = drawn(distinct(learnable) if self.dedupe else learnable, None, seed)
        made = (self.example(group, rollout) for rollout in picked)
        return list(islice(distinct_examples(made) if self.dedupe else made, self.per_task))

    def may_be_learnt(self, rollout: Rollout) -> bool:
        """Whether nothing of `rollout` was cut off, and nothing in it tells the right answer."""
        return is_complete(rollout) and not any(turn.hinted for turn in thread(rollout) if not is_own(turn))

    def example(self, group: Group, rollout: Rollout) -> Example:
        """What is learnt from a rollout that was picked: all that it says, after the task's own prompt."""
        return sampled(group, rollout)


def distinct(rollouts: Iterable[Rollout]) -> list[Rollout]:
    """The first rollout of each text, all of its turns taken together, white space apart."""
    by_text: dict[tuple[str, ...], Rollout] = {}
    for rollout in rollouts:
        said = (in_words(turn.message) for turn in rollout.turns)
        by_text.setdefault(tuple(" ".join(each.split()) for each in said), rollout)
    return list(by_text.values())


def distinct_examples(made: Iterable[Example]) -> Iterator[Example]:
    """The first of each text: dialogues that branch late share their first turns, and trees their first steps."""
    seen = set[str]()
    for example in made:
        if example.text_id not in seen:
            seen.add(example.text_id)
            yield example


def is_complete(rollout: Rollout) -> bool:
    """Whether the model itself ended all that it said in the thread: a dialogue may go on after a turn that was cut."""
    own = filter(is_own, thread(rollout))
    return rollout.finish_reason == "stop" and all(turn.finish_reason == "stop" for turn in own)


D = TypeVar("D", Rollout, Example)


def drawn(rows: Sequence[D], count: int | None, seed: int) -> list[D]:
    """`count` of `rows` (all of them for None), drawn without replacement by `seed`, in the order drawn."""
    return sorted(rows, key=lambda row: _rank(seed, row.id))[:count]


def _rank(seed: int, id: str) -> str:
    """What rows are drawn by: the lowest first."""
    return content_id([seed, id])


def capped(made: Sequence[Example], count: int | None, seed: int) -> list[Example]:
    """`count` of `made` (all of them for None), drawn by `seed`, in the order that they had."""
    return list(_as_often(made, (each.id for each in drawn(made, count, seed))))


def _as_often(made: Iterable[Example], kept: Iterable[str]) -> Iterator[Example]:
    """Those of `made` whose ids are in `kept`, each as often as it is there: equal examples have one id."""
    left = Counter(kept)
    for each in made:
        if left[each.id]:
            left[each.id] -= 1
            yield each


def sampled(group: Group, rollout: Rollout, *, as_asked: bool = False) -> Example:
    """`rollout` as what is to be said to the group's task: its turns up to the policy's last, in the engine's tokens.

    What other roles said, or a tool, is the user's, and is read. `as_asked` begins with what the policy's first turn
    was asked with, where that was not the task.
    """
    turns = thread(rollout)
    first = next((at for at, turn in enumerate(turns) if is_own(turn)), 0)
    shown = [turn.model_copy(update={"aside": False}) for turn in turns[first:]]
    said = chain.from_iterable(
        [Segment.context([message])] if turn is None else segments(turn) for message, turn in conversation((), shown)
    )
    return Example(sequences=((_begin(group, turns, first, as_asked), *said),), task=group.id, rollout=rollout.id)


def _begin(group: Group, turns: Sequence[Turn], first: int, as_asked: bool) -> Segment:
    """What stands before the turn at `first` of a thread."""
    if as_asked and turns[first].asked:
        return Segment.context(turns[first].asked)
    if not first:
        return asked(group)
    return Segment.context(asked_after(group.task.messages, turns[:first]))


def is_own(turn: Turn) -> bool:
    """Whether the policy said it."""
    return turn.role == "assistant" and turn.speaker == "policy"


def thread(rollout: Rollout) -> Sequence[Turn]:
    """The turns up to the policy's last, without those said aside, unless it is the last answer or nothing else is."""
    answer = rollout.answers[-1:]
    seen = [turn for at, turn in enumerate(rollout.turns) if not turn.aside or at in answer]
    turns = seen if any(map(is_own, seen)) else rollout.turns
    last = max((at for at, turn in enumerate(turns) if is_own(turn)), default=len(turns) - 1)
    return turns[: last + 1]


def segments(turn: Turn) -> Iterator[Segment]:
    """What `turn` says: learnt, but for what it was prefilled with; another model's token ids mean nothing here."""
    if turn.prefill:
        yield Segment.context([Message(role="assistant", content=turn.prefill)])
    yield Segment.answer(turn.own, turn.token_ids if is_own(turn) else (), tool_calls=turn.tool_calls)


def completion_example(group: Group, text: str, source: str, given: int = 0) -> Example:
    """`text`, which nobody sampled in one piece, as what is to be said to the group's task; `source` is its id.

    Its first `given` characters are read and not learnt.
    """
    begun = [Segment.context([Message(role="assistant", content=text[:given])])] if given else []
    return Example(sequences=((asked(group), *begun, Segment.answer(text[given:])),), task=group.id, rollout=source)


def asked(group: Group) -> Segment:
    """The task's own prompt, with the engine's tokens of it where a search has kept them."""
    return Segment.context(group.task.messages, group.tree.prompt_ids if group.tree else ())


def asked_with(group: Group, rollout: Rollout, at: int, speaker: str = "policy") -> tuple[Message, ...]:
    """What the turn at `at` of `rollout` was asked with, as `speaker` sees it."""
    if rollout.turns[at].asked:
        return rollout.turns[at].asked
    return asked_after(group.task.messages, rollout.turns[:at], speaker)
