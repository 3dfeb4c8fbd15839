"""Self-play: what is written and solved, which tasks are worth learning, and that no held-out task is among them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.blocks import Context
from selftaught.blocks.loading import load_blocks
from selftaught.curation.accepted import Accepted
from selftaught.curation.runner import curate
from selftaught.records import Example, Group, Message, Task
from selftaught.sampling.self_play import SelfPlay
from selftaught.tasks.contamination import check_examples, giving_away
from selftaught.testing import ScriptedModel, check_block, sums
from selftaught.verification.runner import verify
from selftaught.verification.task_check import TaskCheck

load_blocks()
TASK = sums()[0]
ONE, OTHER = "What is 3 + 4?", "What is 1 + 1?"


async def played(*answers: str, n: int = 2, k: int = 3, **roles: ScriptedModel) -> tuple[Group, ScriptedModel]:
    model = ScriptedModel(*answers)
    context = Context(models={"policy": model, **roles})
    block = SelfPlay(n=n, k=k, role="proposer" if roles else "policy")
    group = await block.sample(TASK, context)
    (done,) = await verify([group], (TaskCheck(),), context, lambda *_, **__: None)
    return done, model


def answer(number: int) -> str:
    return f"The answer is {number}."


async def test_a_written_task_has_the_answer_that_most_give_and_passes_where_not_all_do():
    answers = [answer(7), answer(6), answer(7), answer(2), answer(2), answer(2)]
    group, _ = await played(ONE, OTHER, *answers)
    assert [(task.question, task.answer) for task in group.minted[1:]] == [(ONE, "7"), (OTHER, "2")]
    passed = {group.rollouts[at].text: group.passed(at) for at in range(2)}
    assert passed == {ONE: True, OTHER: False}
    assert [group.passed(at) for at in range(2, 8)] == [True, False, True, True, True, True]
    assert {task.parent for task in group.minted} == {TASK.id}


@given(st.lists(st.integers(0, 2), min_size=4, max_size=4))
@settings(max_examples=20)
async def test_a_proposal_passes_within_its_band(votes: list[int]):
    group, _ = await played(ONE, *map(answer, votes), n=1, k=4)
    share = max(votes.count(vote) for vote in votes) / 4
    assert group.passed(0) == (0.3 <= share <= 0.8)


async def test_a_proposal_passes_however_rollouts_are_numbered():
    """An online stage numbers a task's rollouts through all its steps before it verifies them."""
    group, model = await played(ONE, *map(answer, (7, 6, 7)), n=1)
    later = tuple(each.model_copy(update={"index": each.index + 8}) for each in group.rollouts)
    moved = group.model_copy(update={"rollouts": later, "verdicts": ()})
    (again,) = await verify([moved], (TaskCheck(),), Context(models={"policy": model}), lambda *_, **__: None)
    assert again.verdicts == group.verdicts
    assert group.passed(0)


async def test_equal_proposals_are_solved_once_and_a_blank_one_is_no_task():
    group, model = await played(ONE, ONE, " ", answer(7), n=3, k=1 + 1)
    assert len(model.asked) == 2
    assert [task.question for task in group.minted[1:]] == [ONE]
    assert [group.passed(at) for at in range(3)] == [False, False, False]  # all of its solvers agree
    assert len({rollout.index for rollout in group.rollouts}) == len(group.rollouts) == 5


async def test_a_proposer_of_its_own_writes():
    group, model = await played(answer(7), answer(6), n=1, k=2, proposer=ScriptedModel(ONE, digest="p"))
    assert [rollout.model for rollout in group.rollouts] == ["p", "scripted", "scripted"]
    assert [each[-1].content for each in model.asked] == [ONE]


def test_it_holds_to_what_every_sampler_has_to():
    assert check_block(SelfPlay(n=2, k=2), sums()) == []


# What is learnt -------------------------------------------------------------------------------------------------------


async def learnt(group: Group, left_out: frozenset[str] = frozenset()) -> list[Example]:
    return list(curate([group], [Accepted(minimum=0, per_task=None)], 0, left_out))


async def test_examples_stand_behind_the_task_that_they_attempt_and_name_the_one_drawn():
    group, _ = await played(ONE, answer(7), answer(6), answer(7), n=1)
    found = {(example.prompt[-1].content, example.completion[0].content) for example in await learnt(group)}
    asked = group.minted[0].question
    assert found == {(asked, ONE), (ONE, answer(7))}
    assert {example.drawn for example in await learnt(group)} == {TASK.id}


async def test_a_written_task_that_is_held_out_leaves_with_all_that_came_of_it():
    group, _ = await played(ONE, OTHER, *[answer(n) for n in (7, 6, 7, 2, 3, 2)])
    held_out = [Task(messages=(Message(role="user", content="what is 3 + 4"),), answer="7", source="s", split="gate")]
    left_out = giving_away(group.minted, [TASK], held_out)
    assert [task.question for task in group.minted if task.id in left_out] == [ONE]
    examples = await learnt(group, left_out)
    assert ONE not in {message.content for example in examples for message in example.messages()}
    assert check_examples(examples, {TASK.id: TASK}, held_out) == []
    assert check_examples(await learnt(group), {TASK.id: TASK}, held_out) != []


async def test_an_example_of_a_task_that_nobody_drew_is_a_stranger():
    group, _ = await played(ONE, answer(7), answer(6), answer(7), n=1)
    assert "made from no training task" in check_examples(await learnt(group), {}, [])[0]
