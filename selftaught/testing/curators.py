"""What every curator has to hold to: equal examples for equal groups, in any order, whatever a round may give it.

Groups are those of rounds: with answers that are right, wrong, cut off or not judged, with dialogues, with trees. A
curator may leave any of them out, and makes an example of one at least.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from selftaught.blocks import Curator
from selftaught.blocks.boundary import examples_of
from selftaught.core.errors import SelftaughtError
from selftaught.records import Example, Group, Node, Rollout, Task, Tree, Turn, Verdict
from selftaught.testing.rows import group_of, turn_of, wrong
from selftaught.verification.gold import stating


def check_curator(curator: Curator, tasks: Sequence[Task]) -> Iterator[str]:
    """What `curator` does that none may, a sentence each."""
    made = 0
    for kind, given in GIVEN.items():
        groups = [given(curator, task, tasks) for task in tasks]
        try:
            examples = _examples(curator, groups)
            yield from _faults(curator, groups, examples)
        except SelftaughtError as error:
            yield f"{error}\n  It was given {kind}."
            return
        made += len(examples)
    if not made:
        yield (
            f"it made no example of {len(tasks)} tasks, given {', '.join(GIVEN)}. If it looks for something else in a "
            "task, give tasks that have it; if in a rollout, test it on a group of your own."
        )


def _faults(curator: Curator, groups: Sequence[Group], made: Sequence[Example]) -> Iterator[str]:
    """What is wrong with the examples `made` of `groups`."""
    if made != _examples(curator, groups):
        yield "equal groups and seed gave different examples"
    if sorted(each.id for each in made) != sorted(each.id for each in _examples(curator, groups[::-1])):
        yield "the examples depend on the order of the groups"
    for stranger in {each.task for each in made} - {group.id for group in groups}:
        yield f"an example names task {stranger!r}, which is none of the groups'"
    if doubles := len(made) - len({each.id for each in made}):
        yield f"{doubles} examples are there twice"


def _examples(curator: Curator, groups: Sequence[Group]) -> list[Example]:
    return list(examples_of(curator, groups, 0))


# Groups ---------------------------------------------------------------------------------------------------------------


def _both(curator: Curator, task: Task, tasks: Sequence[Task]) -> Group:
    return _judged(curator, group_of(task, [stating(task), wrong(task, tasks)]), [True, False])


def _right(curator: Curator, task: Task, tasks: Sequence[Task]) -> Group:
    return _judged(curator, group_of(task, [stating(task)]), [True])


def _wrong(curator: Curator, task: Task, tasks: Sequence[Task]) -> Group:
    return _judged(curator, group_of(task, [wrong(task, tasks)]), [False])


def _cut_off(curator: Curator, task: Task, tasks: Sequence[Task]) -> Group:
    group = _both(curator, task, tasks)
    cut = (
        each.model_copy(update={"finish_reason": "length", "turns": (turn_of(each.text, finish_reason="length"),)})
        for each in group.rollouts
    )
    return group.model_copy(update={"rollouts": tuple(cut)})


def _unjudged(curator: Curator, task: Task, tasks: Sequence[Task]) -> Group:
    group = _both(curator, task, tasks)
    lost = tuple(tuple(Verdict.errored(each.verifier, "no answer") for each in on) for on in group.verdicts)
    return group.model_copy(update={"verdicts": lost})


def _dialogues(curator: Curator, task: Task, tasks: Sequence[Task]) -> Group:
    """Dialogues in the turns that `curator` names: put right, spoilt, and right from the first."""
    named = tuple(dict.fromkeys(curator.turn_names))
    names = named if len(named) > 1 else ("before", *(named or ("after",)))
    later = len(names) - 1
    courses = ([False] + [True] * later, [True] + [False] * later, [True] * len(names))
    speaker = next(iter(curator.roles() - {"policy"}), "")
    rollouts, verdicts = list[Rollout](), list[tuple[Verdict, ...]]()
    for index, course in enumerate(courses):
        said = [stating(task) if right else wrong(task, tasks) for right in course]
        turns = [turn_of(text, name=name, agent=speaker) for text, name in zip(said, names, strict=True)]
        rollouts.append(_dialogue(task, index, turns))
        earlier = (_verdicts(curator, right, name) for right, name in zip(course[:-1], names, strict=False))
        verdicts.append(sum(earlier, _verdicts(curator, course[-1])))
    return Group(task=task, rollouts=tuple(rollouts), verdicts=tuple(verdicts))


def _dialogue(task: Task, index: int, turns: Sequence[Turn]) -> Rollout:
    """`turns` with a question of the user's between two of them."""
    asking = Turn(role="user", kind="question", content="Check it.")
    between = [turns[0], *(each for turn in turns[1:] for each in (asking, turn))]
    path = (index, *(0 for _ in turns[1:]))
    return Rollout(task=task.id, index=index, model="scripted", turns=tuple(between), temperature=1.0, path=path)


def _searched(curator: Curator, task: Task, tasks: Sequence[Task]) -> Group:
    """A tree with a right answer that took two steps, and a wrong one beside each of these."""
    right, other = stating(task), wrong(task, tasks)
    grown = [(-1, "", False), (0, "Step by step.\n", False), (1, right, True), (1, other, True), (0, other, True)]
    nodes = tuple(
        Node(
            index=at,
            parent=parent,
            text=text,
            token_ids=tuple(text.encode()),
            terminal=ends,
            visits=len(grown) - at,
            value=0.9 - at / 10,
        )
        for at, (parent, text, ends) in enumerate(grown)
    )
    tree = Tree(prompt_ids=tuple(task.question.encode()), nodes=nodes, ended="iterations", answer=2)
    ended = [node.index for node in nodes if node.terminal]
    group = group_of(task, [tree.text(at) for at in ended])
    leaves = (each.model_copy(update={"index": at}) for each, at in zip(group.rollouts, ended, strict=True))
    return _judged(curator, group.model_copy(update={"rollouts": tuple(leaves), "tree": tree}), [True, False, False])


def _judged(curator: Curator, group: Group, right: Sequence[bool]) -> Group:
    return group.model_copy(update={"verdicts": tuple(_verdicts(curator, each) for each in right)})


def _verdicts(curator: Curator, right: bool, turn: str = "") -> tuple[Verdict, ...]:
    """One of each verifier that `curator` names, or of one."""
    names = dict.fromkeys(curator.verifiers or ("gold",))
    return tuple(Verdict(verifier=name, score=float(right), passed=right, turn=turn) for name in names)


GIVEN: Mapping[str, Callable[[Curator, Task, Sequence[Task]], Group]] = {
    "a right and a wrong answer": _both,
    "right answers alone": _right,
    "wrong answers alone": _wrong,
    "answers that were cut off": _cut_off,
    "answers that could not be judged": _unjudged,
    "dialogues": _dialogues,
    "search trees": _searched,
}
"""The groups that are tried, as findings call them."""
