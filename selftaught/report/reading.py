"""Which training rollouts the page shows in full: some accepted, some rejected, and what a verifier could not judge.

`Sample` picks the groups that a record keeps for it, `to_read` the rollouts of those.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from selftaught.records import Group, Rollout, Task, Turn, Verdict
from selftaught.report.data import Judgement
from selftaught.report.tally import JUDGED, judgements
from selftaught.report.trees import kind_of

EACH = 8
"""How many rollouts of each judgement are shown."""
SEVERAL = EACH // 2
"""How many of them are of several turns, where there are so many."""
FIRST = 24
"""Groups that are kept whatever is in them."""
ROLLOUTS = 16
"""Rollouts of a group that are kept; of a tree, all."""


@dataclass(frozen=True, slots=True)
class JudgedRollout:
    """One training rollout and what the verifiers said of it."""

    task: Task
    rollout: Rollout
    verdicts: tuple[Verdict, ...]
    judgement: Judgement

    @property
    def turns(self) -> int:
        """How many messages it has."""
        return len(self.rollout.turns)


class Sample:
    """Some of the groups that pass, as far as the page draws them: the first, and the first few of every kind.

    A kind is what rollouts came to, in one turn or in several, and what became of a tree.
    """

    def __init__(self) -> None:
        self._kept: list[Group] = []
        self._seen = Counter[object]()

    def add(self, group: Group) -> None:
        """Keep what is drawn of the group, if it is one to keep."""
        found = {(each.judgement, each.turns > 1) for each in judged(group)} | {kind_of(group)}
        if len(self._kept) < FIRST or any(self._seen[kind] < EACH for kind in found):
            self._kept.append(drawn(group))
            self._seen.update(found)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups that were kept, in their order."""
        return tuple(self._kept)


def drawn(group: Group) -> Group:
    """What the page draws of a group: no tokens, no control, and of rollouts `ROLLOUTS`, or all of a tree's."""
    places = range(len(group.rollouts)) if group.tree else sorted(_to_keep(group)[:ROLLOUTS])
    return group.model_copy(
        update={
            "rollouts": tuple(_without_tokens(group.rollouts[index]) for index in places),
            "verdicts": tuple(group.verdicts[index] for index in places if group.verdicts),
            "control": None,
            "tree": group.tree and group.tree.model_copy(update={"prompt_ids": (), "nodes": tuple(_plain(group))}),
        }
    )


def _to_keep(group: Group) -> list[int]:
    """The places of all rollouts: the one of each judgement that is shown, then the others in order."""
    judged_rollouts = list(judged(group))
    best = [found for kind in JUDGED if (found := _longest(judged_rollouts, kind))]
    first = [index for index, each in enumerate(judged_rollouts) if any(each is one for one in best)]
    return list(dict.fromkeys([*first, *range(len(group.rollouts))]))


def _without_tokens(rollout: Rollout) -> Rollout:
    kept = ("role", "kind", "content", "tool_calls", "tool_call_id")
    turns = (Turn.model_validate({name: getattr(turn, name) for name in kept}) for turn in rollout.turns)
    return rollout.model_copy(update={"turns": tuple(turns)})


def _plain(group: Group) -> Iterator[object]:
    for node in group.tree.nodes if group.tree else ():
        yield node.model_copy(update={"token_ids": ()})


def to_read(groups: Iterable[Group]) -> list[JudgedRollout]:
    """Up to `EACH` rollouts of each judgement, no two of one judgement from one task, in the order of `groups`.

    Of a task the one with most turns; where there are any of several, `SEVERAL` places are theirs.
    """
    judged_groups = [list(judged(group)) for group in groups]
    found = {kind: [best for one in judged_groups if (best := _longest(one, kind))] for kind in JUDGED}
    return [each for kind in JUDGED for each in _some(found[kind])]


def _some(found: list[JudgedRollout]) -> list[JudgedRollout]:
    long = [index for index, each in enumerate(found) if each.turns > 1][:SEVERAL]
    others = [index for index in range(len(found)) if index not in long]
    return [found[index] for index in sorted((long + others)[:EACH])]


def _longest(rollouts: Iterable[JudgedRollout], kind: Judgement) -> JudgedRollout | None:
    """The one of `kind` with most turns, the first of them."""
    return max((each for each in rollouts if each.judgement == kind), key=lambda each: each.turns, default=None)


def judged(group: Group) -> Iterator[JudgedRollout]:
    """The rollouts of a verified group with what was said of them; none of one that was not verified."""
    rows = zip(group.rollouts, group.verdicts, judgements(group), strict=False)  # not yet verified: none
    return (JudgedRollout(group.task_of(each), each, verdicts, judgement) for each, verdicts, judgement in rows)
