"""Pairs of turns: which turn is preferred, what both are said to, and that only clean turns are on a side."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.curation.pairs import Pairs
from selftaught.records import Example, Group, Message, Rollout, Task, Turn, Verdict

TASK = Task(messages=(Message(role="user", content="3 + 4?"),), answer="7", source="test")
QUESTION = Turn(role="user", kind="question", content="Sure?")
FRESH = (Message(role="user", content="3 + 4? It was said: 8. Correct it."),)

Said = tuple[str, float | None]
"""A text and its score: from .5 on it passed, None could not be judged."""


def dialogues(*each: tuple[Said, Said], first: Mapping[str, object] = {}, second: Mapping[str, object] = {}) -> Group:
    """Dialogues of an attempt and a second answer. `first` and `second` are changes of these turns."""
    rollouts = [
        Rollout(
            task=TASK.id,
            index=at,
            model="m",
            turns=(
                Turn(name="attempt", content=one, token_ids=(at,)).model_copy(update=first),
                QUESTION,
                Turn(name="second", kind="refinement", content=other, token_ids=(9, at)).model_copy(update=second),
            ),
            temperature=1.0,
        )
        for at, ((one, _), (other, _)) in enumerate(each)
    ]
    verdicts = [(verdict(other), verdict(one, "attempt")) for (_, one), (_, other) in each]
    return Group(task=TASK, rollouts=tuple(rollouts), verdicts=tuple(verdicts))


def verdict(score: float | None, turn: str = "") -> Verdict:
    made = Verdict.errored("v", "?") if score is None else Verdict(verifier="v", score=score, passed=score >= 0.5)
    return made.model_copy(update={"turn": turn})


def curated(group: Group, seed: int = 0, **fields: object) -> list[Example]:
    config = {"minimum": 0, "better": "second", "worse": "attempt", "per_task": None} | fields
    return list(Pairs.model_validate(config).curate([group], seed))


def said(examples: Sequence[Example]) -> list[tuple[str, str]]:
    return [(each.completion[0].content, each.rejected[0].content) for each in examples]


ANSWERS = st.tuples(st.text("abc", min_size=1, max_size=2), st.none() | st.floats(0, 1))
DIALOGUES = st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=6)


@given(DIALOGUES, st.floats(0, 0.9), st.integers(0, 99))
def test_the_better_turn_scores_higher_by_more_than_the_margin(
    made: list[tuple[Said, Said]], margin: float, seed: int
) -> None:
    pairs = said(curated(dialogues(*made), seed, margin=margin))
    ahead = {
        (other, one)
        for (one, low), (other, high) in made
        if one != other and low is not None and high is not None and high - low > margin
    }
    assert set(pairs) == ahead and len(pairs) == len(ahead)


@given(DIALOGUES, st.integers(0, 99))
def test_both_orders_together_prefer_in_each_dialogue_what_scores_higher(
    made: list[tuple[Said, Said]], seed: int
) -> None:
    """SCL's pairs: the refined answer over the initial one, or the other way round where it got worse."""
    group = dialogues(*made)
    mended, spoilt = curated(group, seed), curated(group, seed, better="attempt", worse="second")
    differ = {
        (one, other)
        for (one, low), (other, high) in made
        if one != other and low is not None and high is not None and low != high
    }
    told_apart = {(worse, better) for better, worse in said(mended)} | set(said(spoilt))
    assert told_apart == differ


@given(DIALOGUES, st.integers(0, 99))
def test_without_a_margin_the_turns_the_other_way_round_flip_every_pair(
    made: list[tuple[Said, Said]], seed: int
) -> None:
    group = dialogues(*made)
    one = said(curated(group, seed, margin=None))
    other = said(curated(group, seed, margin=None, better="attempt", worse="second"))
    assert one == [(better, worse) for worse, better in other]
    assert set(one) == {(second, first) for (first, _), (second, _) in made if first != second}


def test_both_turns_follow_the_tasks_own_prompt_in_the_tokens_that_were_sampled():
    [made] = curated(dialogues((("8", 0.0), ("7", 1.0))))
    assert [sequence[0].messages for sequence in made.sequences] == [TASK.messages] * 2
    assert [sequence[1].token_ids for sequence in made.sequences] == [(9, 0), (0,)]
    assert all(len(sequence) == 2 for sequence in made.sequences)


@pytest.mark.parametrize(("better", "worse"), [("second", "attempt"), ("attempt", "second")])
def test_as_sampled_both_follow_what_the_earlier_turn_was_asked_with(better: str, worse: str):
    group = dialogues((("8", 0.0), ("7", 1.0)), first={"asked": FRESH, "aside": True})
    [made] = curated(group, better=better, worse=worse, margin=None, prompt="as_sampled")
    assert [sequence[0].messages for sequence in made.sequences] == [FRESH] * 2


def test_as_sampled_a_turn_in_the_thread_was_asked_with_what_was_said_before_it():
    attempt = Turn(name="attempt", content="8")
    own, taught = Turn(name="own", content="9", kind="refinement"), Turn(name="taught", content="7", kind="refinement")
    rollout = Rollout(
        task=TASK.id, index=0, model="m", turns=(attempt, QUESTION, own, QUESTION, taught), temperature=1.0
    )
    verdicts = (verdict(1.0), verdict(0.0, "attempt"), verdict(0.0, "own"))
    group = Group(task=TASK, rollouts=(rollout,), verdicts=(verdicts,))
    [made] = curated(group, better="taught", worse="own", prompt="as_sampled")
    assert [message.content for message in made.prompt] == ["3 + 4?", "8", "Sure?"]
    assert said([made]) == [("7", "9")]


@pytest.mark.parametrize("change", [{"finish_reason": "length"}, {"hinted": True}, {"name": "other"}])
def test_a_turn_that_was_cut_off_or_hinted_or_not_said_is_on_no_side(change: dict[str, object]):
    made = (("8", 0.0), ("7", 1.0))
    assert said(curated(dialogues(made))) == [("7", "8")]
    assert curated(dialogues(made, second=change), margin=None) == []
    assert curated(dialogues(made, first=change), margin=None) == []


def test_what_was_said_after_a_turn_does_not_count_against_it():
    """Without the attempt's own verdict a spoilt rollout would be a wrong attempt."""
    made = dialogues((("7", 1.0), ("8", 0.0)))
    cut = made.rollouts[0].model_copy(update={"finish_reason": "length"})
    third = Turn(name="third", kind="critique", content="…", finish_reason="length")
    cut = cut.model_copy(update={"turns": (*cut.turns, QUESTION, third)})
    group = made.model_copy(update={"rollouts": (cut,)})
    assert said(curated(group, better="attempt", worse="second")) == [("7", "8")]


def test_dialogues_that_share_their_first_turn_give_each_pair_once_and_the_cap_holds():
    shared = [(("8", 0.0), (text, 1.0)) for text in ("7", "7", "It is 7.", "seven")]
    assert len(curated(dialogues(*shared))) == 3
    assert [len(curated(dialogues(*shared), per_task=cap)) for cap in (1, 2)] == [1, 2]


def test_unverified_turns_are_paired_where_scores_do_not_matter():
    group = dialogues((("8", 0.0), ("7", 1.0))).model_copy(update={"verdicts": ()})
    assert curated(group) == []
    assert said(curated(group, margin=None)) == [("7", "8")]


def test_a_turn_is_paired_with_a_turn():
    with pytest.raises(ValidationError, match=r"'pased' is no side.* Did you mean passed"):
        Pairs.model_validate({"better": "pased"})
    with pytest.raises(ValidationError, match=r"'second' is no side.* Name two turns, or two sides"):
        Pairs(better="second", worse="failed")
    with pytest.raises(ValidationError, match="as_sampled is for turns"):
        Pairs(prompt="as_sampled")
    assert Pairs(better="second", worse="attempt").turn_names == ("second", "attempt")
    assert Pairs().turn_names == ()
