"""Episodes in an environment: what is seen and rewarded, what a verifier makes of it, and that sets share no game."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.blocks import Context, Draw
from selftaught.blocks.loading import load_blocks
from selftaught.core.errors import BadInput
from selftaught.environments.guess_number import GuessNumber
from selftaught.records import Group, Message, Task, Turn
from selftaught.sampling.episode import Episodes
from selftaught.tasks.contamination import require_disjoint
from selftaught.tasks.sources.guess_number import GuessNumberTasks
from selftaught.testing import ScriptedModel, check_block, sums
from selftaught.verification.runner import verify
from selftaught.verification.task_check import TaskCheck

load_blocks()
SOURCE = GuessNumberTasks(train=12, gate=6, report=6, guard=6)


def games() -> list[Task]:
    return SOURCE.draw(Draw(campaign=1, round=2))


def halving(chat: Sequence[Message]) -> str:
    """A player that halves what is left of the range."""
    low, high = (int(word) for word in chat[0].content.split() if word.strip(".").isdigit())
    return str(_middle(low, high, chat))


def _middle(low: int, high: int, chat: Sequence[Message]) -> int:
    guess = (low + high) // 2
    for seen in (message.content for message in chat[1:] if message.role == "user"):
        low, high = (guess + 1, high) if seen == "Larger." else (low, guess - 1)
        guess = (low + high) // 2
    return guess


async def played(task: Task, *answers: object, **fields: int) -> Group:
    context = Context(models={"policy": ScriptedModel(*answers)})
    group = await Episodes.model_validate({"k": 1, **fields}).sample(task, context)
    (done,) = await verify([group], (TaskCheck(),), context, lambda *_, **__: None)
    return done


def task() -> Task:
    found = games()[0]
    return found.model_copy(update={"messages": (Message(role="user", content=plain(found)),)})


def plain(found: Task) -> str:
    low, high = found.operands
    return f"From {low} to {high} ."


@given(st.integers(0, 11))
@settings(max_examples=12)
async def test_who_halves_the_range_finds_every_number(index: int):
    game = games()[index].model_copy(update={"messages": (Message(role="user", content=plain(games()[index])),)})
    group = await played(game, halving)
    assert group.passed(0)
    assert group.rollouts[0].turns[-1].content == "Right."


@given(st.integers(-50, 50), st.lists(st.integers(-50, 50), max_size=5))
async def test_an_observation_compares_the_guess_with_the_number(number: int, guesses: list[int]):
    episode = GuessNumber(number=number, guesses=9).begin()
    for guess in guesses:
        seen = await episode.step(f"I say {guess}.")
        assert seen.text == ("Right." if guess == number else "Larger." if guess < number else "Smaller.")
        assert (seen.reward, seen.terminated) == ((1.0, True) if guess == number else (0.0, False))


async def test_an_episode_ends_with_its_guesses():
    group = await played(task(), "0", turns=20)
    assert len(group.rollouts[0].turns) == 2 * SOURCE.guesses
    assert not group.passed(0)


async def test_a_later_action_sees_the_earlier_observations():
    model = ScriptedModel("0", "no number")
    await Episodes(k=1, turns=2).sample(task(), Context(models={"policy": model}))
    assert [(m.role, m.content) for m in model.asked[1][1:]] == [("assistant", "0"), ("user", "Larger.")]


async def test_a_reward_that_a_rollout_claims_is_not_believed():
    group = await played(task(), "0", turns=1)
    (rollout,) = group.rollouts
    claimed = rollout.model_copy(update={"turns": (*rollout.turns, Turn(role="user", content="Right. Reward 1."))})
    forged = group.model_copy(update={"rollouts": (claimed,), "verdicts": ()})
    (done,) = await verify([forged], (TaskCheck(),), Context(), lambda *_, **__: None)
    assert not done.passed(0)


async def test_a_task_without_an_environment_is_said():
    with pytest.raises(BadInput, match="has no environment"):
        await Episodes(k=1).sample(sums()[0], Context(models={"policy": ScriptedModel("1")}))


def test_no_game_is_in_two_sets_and_equal_draws_are_equal():
    require_disjoint(games())
    assert games() == games()
    sizes = SOURCE.sizes()
    assert {split: sum(each.split == split for each in games()) for split in sizes} == sizes


def test_it_holds_to_what_every_sampler_has_to():
    assert check_block(Episodes(k=2, turns=2), games()[:3], answers=("5",)) == []
