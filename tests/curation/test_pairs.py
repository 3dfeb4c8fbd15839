"""Pairs: which side is which, the margin, the caps, and that both sides answer the task's own prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.curation.accepted import Accepted
from selftaught.curation.pairs import Pairs, Side
from selftaught.records import Function, Group, Message, Rollout, Task, ToolCall, Turn, Verdict
from selftaught.testing import check_block, sums

SOLUTION = "3 + 4 = 7\nThe answer is 7."
TASK = Task(
    messages=(Message(role="user", content="3 + 4?"),), answer="7", source="test", texts={"reference": SOLUTION}
)
SIDES: list[tuple[Side, Side]] = [
    ("passed", "failed"),
    ("best", "worst"),
    ("best", "failed"),
    ("passed", "worst"),
    ("reference", "sampled"),
    ("reference", "worst"),
    ("sampled", "failed"),
]


def group(*answers: tuple[str, float | None], **changes: object) -> Group:
    """Answers by text and score: from .5 on they passed, None could not be judged. `changes` are of the last one."""
    made = [
        Rollout(task=TASK.id, index=at, model="m", turns=(Turn(content=text, token_ids=(at,)),), temperature=1.0)
        for at, (text, _) in enumerate(answers)
    ]
    verdicts = tuple(
        (Verdict.errored("v", "?") if score is None else Verdict(verifier="v", score=score, passed=score >= 0.5),)
        for _, score in answers
    )
    made[-1] = made[-1].model_copy(update=changes)
    return Group(task=TASK, rollouts=tuple(made), verdicts=verdicts)


def said(group: Group, seed: int = 0, **config: object) -> list[tuple[str, str]]:
    """The texts of the pairs."""
    made = Pairs.model_validate({"minimum": 0} | config).curate([group], seed)
    return [(each.completion[0].content, each.rejected[0].content) for each in made]


judged = st.lists(st.tuples(st.text("abc ", max_size=3), st.none() | st.floats(0, 1)), min_size=1, max_size=8)


@given(judged, st.sampled_from(SIDES), st.floats(0, 0.9), st.integers(0, 99))
def test_sides_differ_and_the_better_one_scores_higher_by_more_than_the_margin(
    answers: list[tuple[str, float | None]], sides: tuple[Side, Side], margin: float, seed: int
):
    better, worse = sides
    made = group(*answers)
    scores: dict[str, set[float | None]] = {}
    for text, score in answers:
        scores.setdefault(" ".join(text.split()), set()).add(score)
    for pair in said(made, seed, better=better, worse=worse, margin=margin, per_task=None):
        one, other = (" ".join(side.split()) for side in pair)
        assert one != other
        if "reference" not in sides and "sampled" not in sides:
            assert any(a - b > margin for a in scores[one] for b in scores[other] if a is not None and b is not None)


@given(judged, st.sampled_from(SIDES), st.integers(0, 99))
def test_the_sides_the_other_way_round_give_every_pair_the_other_way_round(
    answers: list[tuple[str, float | None]], sides: tuple[Side, Side], seed: int
):
    one = said(group(*answers), seed, better=sides[0], worse=sides[1])
    other = said(group(*answers), seed, better=sides[1], worse=sides[0])
    assert sorted(one) == sorted((rejected, chosen) for chosen, rejected in other)


def test_right_answers_are_paired_with_wrong_ones_each_once():
    made = group(("a", 1.0), ("b", 1.0), ("c", 1.0), ("x", 0.0), ("y", 0.0))
    pairs = said(made)
    assert len(pairs) == 2
    assert {one for one, _ in pairs} < {"a", "b", "c"} and {other for _, other in pairs} == {"x", "y"}


def test_the_best_and_the_worst_are_one_pair():
    made = group(("low", 0.1), ("middle", 0.5), ("high", 0.9))
    assert said(made, better="best", worse="worst") == [("high", "low")]
    assert said(made, better="best", worse="worst", margin=0.85) == []
    assert said(group(("a", 0.5), ("b", 0.5)), better="best", worse="worst") == []


def test_a_verifier_that_need_not_be_passed_may_be_what_the_sides_are_ranked_by():
    made = group(("a", 1.0), ("b", 0.9), ("c", 0.8))
    judge = [Verdict(verifier="judge", score=score, required=False) for score in (0.1, 0.5, 0.9)]
    both = made.model_copy(update={"verdicts": tuple((*v, j) for v, j in zip(made.verdicts, judge, strict=True))})
    assert said(made, better="best", worse="worst") == [("a", "c")]
    assert said(both, better="best", worse="worst", by="judge") == [("c", "a")]
    assert said(both, better="best", worse="worst", by="v") == [("a", "c")]
    assert said(both, better="best", worse="worst", by="other") == []


def test_the_solution_is_preferred_to_every_other_answer_right_or_wrong():
    made = group(("a", 1.0), ("b", 0.0), (SOLUTION.replace("\n", "  "), 1.0), ("d", None))
    pairs = said(made, better="reference", worse="sampled")
    assert sorted(pairs) == [(SOLUTION, "a"), (SOLUTION, "b"), (SOLUTION, "d")]
    bare = made.model_copy(update={"task": TASK.model_copy(update={"texts": {}})})
    assert said(bare, better="reference", worse="sampled") == []


def test_unverified_answers_are_neither_right_nor_wrong():
    made = group(("a", 1.0), ("b", 0.0)).model_copy(update={"verdicts": ()})
    assert said(made) == said(made, better="best", worse="worst") == []
    assert len(said(made, better="reference", worse="sampled")) == 2


@pytest.mark.parametrize("change", [{"finish_reason": "length"}, {"hinted": True}])
def test_what_was_cut_off_or_hinted_is_on_no_side(change: dict[str, object]):
    made = group(("right", 1.0), ("wrong", 0.0), ("other", 0.0), **change)
    assert said(made) == [("right", "wrong")]
    assert ("reference", "other") not in said(made, better="reference", worse="sampled")


def test_both_sides_follow_the_tasks_own_prompt_in_the_tokens_that_were_sampled():
    [made] = Pairs(minimum=0).curate([group(("right", 1.0), ("wrong", 0.0))], 0)
    assert [sequence[0].messages for sequence in made.sequences] == [TASK.messages] * 2
    assert [sequence[1].token_ids for sequence in made.sequences] == [(0,), (1,)]
    assert made.target.type == "prefer"


def test_the_caps_hold():
    made = group(*((f"a{i}", 1.0) for i in range(6)), *((f"b{i}", 0.0) for i in range(6)))
    assert [len(said(made, per_task=cap)) for cap in (1, 4, None)] == [1, 4, 6]
    assert len(said(made, max_examples=2)) == 2


def test_equal_sides_are_refused_and_solutions_are_noted():
    with pytest.raises(ValidationError, match="better and worse are both 'passed'"):
        Pairs(better="passed", worse="passed")
    assert Pairs(better="reference", worse="sampled").uses_references
    assert not Pairs().uses_references and not Accepted().uses_references


def test_it_holds_to_what_every_curator_does():
    assert check_block(Pairs(minimum=0), sums()) == []


def test_answers_that_differ_in_their_calls_are_a_pair():
    task = sums(1)[0]
    rollouts = tuple(
        Rollout(
            task=task.id,
            index=at,
            model="m",
            temperature=1.0,
            turns=(
                Turn(kind="action", content="", tool_calls=(ToolCall(id="c", function=call),), name="act"),
                Turn(role="tool", kind="tool", content="ok", tool_call_id="c"),
                Turn(content="Done.", name="answer"),
            ),
        )
        for at, call in enumerate(Function(name="f", arguments=f'{{"a": {number}}}') for number in (1, 2))
    )
    verdicts = tuple((Verdict.of("v", right),) for right in (True, False))
    group = Group(task=task, rollouts=rollouts, verdicts=verdicts)
    (pair,) = Pairs(better="passed", worse="failed", minimum=0).curate([group], 0)
    assert [segments[1].messages[0].tool_calls for segments in pair.sequences] == [
        rollout.turns[0].tool_calls for rollout in rollouts
    ]
