"""Transcripts: which dialogues are kept, and that the tokens that are learnt are those of the turns named."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.blocks import Context, Curator
from selftaught.curation.accepted import Accepted
from selftaught.curation.advantages import reinforced
from selftaught.curation.base import sampled
from selftaught.curation.pairs import Pairs
from selftaught.curation.tagged import Tagged
from selftaught.curation.transcripts import Transcripts
from selftaught.recipe import Stage
from selftaught.records import Example, Group, Task
from selftaught.sampling.dialogue import Dialogue
from selftaught.testing import ScriptedModel, check_block, sums
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.runner import verify

RIGHT, WRONG = "The answer is 5.", "The answer is 6."
TASK = sums()[0]
TWO = ({"name": "attempt"}, {"name": "second", "kind": "refinement", "ask": "Sure?"})


TAGGED = {"type": "tagged", "minimum": 0, "tags": {"passed": "<good>", "failed": "<bad>"}, "forms": ("p",)}


async def verified(*answers: str, turns: tuple[dict[str, Any], ...] = TWO, task: Task = TASK, **roles: Any) -> Group:
    context = Context(models={"policy": ScriptedModel(*answers), **roles}, verifiers=(AnswerMatch(),))
    group = await Dialogue.model_validate({"turns": turns}).sample(task, context)
    (done,) = await verify([group], (AnswerMatch(),), context, lambda *_, **__: None)
    return done


def curated(group: Group, **fields: Any) -> list[Example]:
    return list(Transcripts(minimum=0, **fields).curate([group], 0))


def learnt(example: Example) -> list[str]:
    """The texts with a weight; a scripted token is a byte, so that tokens can be read as well."""
    weighed = [segment for segment in example.sequences[0] if segment.weights]
    assert [bytes(each.token_ids).decode() for each in weighed] == [each.messages[0].content for each in weighed]
    return [segment.messages[0].content for segment in weighed]


def read(example: Example) -> list[str]:
    return [message.content for message in example.messages()]


async def test_a_wrong_first_answer_is_read_and_not_learnt():
    (example,) = curated(await verified(WRONG, RIGHT), keep="recovered", train="all")
    assert read(example) == [TASK.question, WRONG, "Sure?", RIGHT]
    assert learnt(example) == [RIGHT]


async def test_without_masking_both_are_learnt():
    (example,) = curated(await verified(WRONG, RIGHT), keep="recovered", train="all", wrong="train")
    assert learnt(example) == [WRONG, RIGHT]


@pytest.mark.parametrize(
    ("answers", "fates"),
    [
        ((WRONG, RIGHT), {"passed", "recovered"}),
        ((RIGHT, RIGHT), {"passed", "held"}),
        ((RIGHT, WRONG), {"failed"}),
        ((WRONG, WRONG), {"failed"}),
    ],
)
async def test_what_is_kept_goes_by_both_answers(answers: tuple[str, str], fates: set[str]):
    group = await verified(*answers)
    kept = {fate for fate in ("passed", "failed", "recovered", "held") if curated(group, keep=fate, wrong="train")}
    assert kept == fates


@given(
    st.sets(st.sampled_from(["attempt", "second"]), min_size=1), st.lists(st.sampled_from([RIGHT, WRONG]), min_size=2)
)
@settings(max_examples=20)
async def test_exactly_the_turns_named_are_learnt(train: set[str], answers: tuple[str, str]):
    group = await verified(*answers)
    by_name = {turn.name: turn.content for turn in group.rollouts[0].turns}
    (example,) = curated(group, keep="all", train=tuple(sorted(train)), wrong="train")
    assert learnt(example) == [by_name[name] for name in ("attempt", "second") if name in train]


@given(st.lists(st.sampled_from([RIGHT, WRONG]), min_size=6, max_size=6))
@settings(max_examples=20, deadline=None)
async def test_the_best_is_what_is_left_when_the_best_answer_is_picked_at_each_turn(answers: list[str]):
    """RISE keeps the sample of highest reward at each turn; here two of each, and the second only after a wrong one."""
    turns = (TWO[0] | {"n": 2}, TWO[1] | {"n": 2, "when": "failed"})
    group = await verified(*answers, turns=turns)
    (example,) = curated(group, keep="best", wrong="train")
    first = [rollout.turns[0].content for rollout in group.rollouts]
    if RIGHT in first:
        assert read(example) == [TASK.question, RIGHT]
        return
    begun = [rollout for rollout in group.rollouts if rollout.path[0] == 0]
    seconds = [rollout.turns[-1].content for rollout in begun]
    assert read(example)[-1] == max(seconds, key=[WRONG, RIGHT].index)


async def test_of_independent_answers_the_first_of_the_best_is_kept():
    group = await verified(WRONG, "The answer is 5!", RIGHT, turns=({"name": "attempt", "n": 3},))
    (example,) = curated(group, keep="best")
    assert read(example)[-1] == "The answer is 5!"


@pytest.mark.parametrize(
    ("answers", "improves"), [((WRONG, RIGHT), True), ((RIGHT, RIGHT), False), ((WRONG, WRONG), False)]
)
async def test_improved_is_better_than_all_before(answers: tuple[str, str], improves: bool):
    assert bool(curated(await verified(*answers), keep="improved")) == improves


@given(st.floats(0.1, 3), st.sampled_from([RIGHT, WRONG]))
@settings(max_examples=20, deadline=None)
async def test_weights_stand_where_they_are_named(weight: float, answer: str):
    group = await verified(WRONG, answer)
    kept: dict[str, Any] = {"keep": "all", "train": "all", "wrong": "train"}
    (by_name,) = curated(group, turn_weights={"second": weight}, **kept)
    (by_kind,) = curated(group, turn_weights={"refinement": weight}, **kept)
    weights = [segment.weights for segment in by_name.sequences[0] if segment.weights]
    assert weights == [(1.0,), (weight,)] and by_kind.sequences == by_name.sequences
    (by_score,) = curated(group, weight={"tau": weight}, **kept)
    assert by_score.weight == pytest.approx(math.exp((answer == RIGHT) / weight))


async def test_a_turn_alone_stands_behind_the_tasks_own_prompt():
    (example,) = curated(await verified(WRONG, RIGHT), turns=("second",))
    assert read(example) == [TASK.question, RIGHT]


async def test_dialogues_that_part_behind_the_turns_shown_are_one_example_of_them():
    turns = ({"name": "plan", "kind": "action", "n": 2}, {"name": "second", "ask": "Solve it.", "n": 4})
    answers = [f"{each}\n{RIGHT}" for each in "abcdefgh"]
    group = await verified("Add.", "Add them.", *answers, turns=turns)
    fields = {"turns": ("plan",), "train": "all", "per_task": 4}
    assert sorted(learnt(each) for each in curated(group, **fields)) == [["Add them."], ["Add."]]
    assert len(curated(group, **fields | {"max_examples": 1})) == 1


@pytest.mark.parametrize("curator", [Accepted(minimum=0), Tagged.model_validate(TAGGED), Pairs(minimum=0)])
async def test_a_turn_that_was_cut_is_not_learnt_with_an_end_where_the_dialogue_went_on(curator: Curator):
    cut, long = "2 + 3 is about", ({"name": "attempt", "max_tokens": 10}, TWO[1])
    one, other = await verified(cut, RIGHT, turns=long), await verified("Well.", WRONG, turns=long)
    both = [*one.rollouts, *(each.model_copy(update={"index": 1}) for each in other.rollouts)]
    group = one.model_copy(update={"rollouts": tuple(both), "verdicts": (*one.verdicts, *other.verdicts)})
    found = list(curator.curate([group], 0))
    assert cut[:10] not in {m.content for each in found for s in each.sequences for part in s for m in part.messages}


async def test_a_hint_is_never_trained_on():
    hinted = (TWO[0], {"name": "second", "kind": "refinement", "ask": "It is {answer}.", "when": "failed"})
    group = await verified(WRONG, RIGHT, turns=hinted)
    assert curated(group, train="all") == []
    (alone,) = curated(group, turns=("second",))
    assert read(alone) == [TASK.question, RIGHT]
    (leaking,) = curated(group, turns=("second",), prompt="as_sampled")
    assert read(leaking) == [TASK.question, WRONG, "It is 5.", RIGHT]


@pytest.mark.parametrize("say", ["Wrong, it is {answer}.", "Wrong: {feedback}"])
async def test_what_the_recipe_says_is_a_hint_too_where_it_tells_the_answer(say: str):
    oracle = {"name": "oracle", "by": "user", "kind": "critique", "say": say}
    turns = (TWO[0], oracle, {"name": "second", "kind": "refinement", "ask": "Solve it again."})
    group = await verified(WRONG, RIGHT, turns=turns)
    assert group.rollouts[0].hinted
    assert curated(group, train="all") == list(Accepted(minimum=0).curate([group], 0)) == []
    (alone,) = curated(group, turns=("second",))
    assert read(alone) == [TASK.question, RIGHT]
    turns = (TWO[0], oracle | {"say": "Wrong."}, turns[2])
    assert len(curated(await verified(WRONG, RIGHT, turns=turns), train="all")) == 1


async def test_a_reference_that_is_said_is_learnt_behind_a_question_that_is_no_hint():
    task = TASK.model_copy(update={"texts": {"reference": RIGHT}})
    fix = {"name": "fix", "kind": "refinement", "ask": "Once more.", "say": "{text.reference}", "when": "failed"}
    group = await verified(WRONG, turns=(TWO[0], fix), task=task)
    (example,) = curated(group, keep="recovered")
    assert read(example) == [TASK.question, WRONG, "Once more.", RIGHT]
    assert [s.messages[0].content for s in example.sequences[0] if s.weights] == [RIGHT]


async def test_whoever_learns_complete_rollouts_reads_what_a_critic_said():
    critic = {"name": "critique", "by": "critic", "kind": "critique"}
    group = await verified(WRONG, RIGHT, turns=(TWO[0], critic, TWO[1]), critic=ScriptedModel("It is 5."))
    (rollout,) = group.rollouts
    said = [TASK.question, WRONG, "It is 5.\n\nSure?", RIGHT]
    for example in (sampled(group, rollout), reinforced(group, rollout, 0.5, 0.5)):
        assert (read(example), learnt(example)) == (said, [WRONG, RIGHT])
    scored = [each.advantages for each in reinforced(group, rollout, 0.5, 0.5).sequences[0] if each.weights]
    assert scored == [(0.5,), (0.5,)]


async def test_the_policy_learns_what_another_role_said_as_text():
    teacher = {"name": "taught", "by": "teacher", "kind": "refinement", "ask": "Correct it."}
    group = await verified(WRONG, turns=(TWO[0], teacher), teacher=ScriptedModel(RIGHT))
    (example,) = curated(group, keep="recovered", turns=("taught",), said_by="teacher")
    assert (example.role, read(example)) == ("policy", [TASK.question, RIGHT])
    assert [segment.token_ids for segment in example.sequences[0]] == [(), ()]
    (example,) = curated(group, keep="recovered", turns=("taught",), said_by="teacher", prompt="as_sampled")
    assert read(example) == [f"{TASK.question}\n\n{WRONG}\n\nCorrect it.", RIGHT]
    assert curated(group, keep="recovered", turns=("taught",)) == []


async def test_a_critic_learns_its_own_turn_on_the_prompt_it_was_given():
    critic = {"name": "critique", "by": "critic", "kind": "critique", "view": "fresh", "ask": "Check: {attempt}"}
    group = await verified(WRONG, RIGHT, turns=(TWO[0], critic, TWO[1]), critic=ScriptedModel("It is 5."))
    (example,) = curated(group, turns=("critique",), prompt="as_sampled", role="critic", keep="all")
    assert (example.role, read(example), learnt(example)) == ("critic", [f"Check: {WRONG}", "It is 5."], ["It is 5."])
    (own,) = curated(group, train="all")
    assert read(own) == [TASK.question, WRONG, "Sure?", RIGHT]


@pytest.mark.parametrize("fields", [{"ask": "Shortly: {task}"}, {"system": "Be short."}])
async def test_as_sampled_is_what_the_turn_was_asked_with_where_it_was_not_the_task(fields: dict[str, str]):
    group = await verified(RIGHT, RIGHT, turns=(TWO[0] | fields, TWO[1]))
    (first,) = curated(group, turns=("attempt",), prompt="as_sampled")
    shown = [fields["system"], TASK.question] if "system" in fields else [f"Shortly: {TASK.question}"]
    assert read(first) == [*shown, RIGHT]
    (own,) = curated(group, turns=("attempt",))
    assert read(own) == [TASK.question, RIGHT]
    assert not group.rollouts[0].turns[-1].asked, "what follows from the turns before is not kept twice"


async def test_what_was_cut_is_not_learnt():
    cut = (TWO[0] | {"max_tokens": 10}, TWO[1])
    group = await verified(RIGHT, RIGHT, turns=cut)
    assert group.rollouts[0].turns[0].finish_reason == "length"
    assert curated(group, train="all", wrong="train") == []
    assert len(curated(group, train="last")) == 1


PREFILLED = {"name": "begun", "prefill": "It is 6. Wait, "}
OWN = "it is 5."


@pytest.mark.parametrize(
    ("learn_from", "own"),
    [(None, OWN), ("no such words", OWN), ("Wait", f"Wait, {OWN}"), ("", f"It is 6. Wait, {OWN}")],
)
async def test_what_was_prefilled_is_read_and_learnt_where_that_is_asked_for(learn_from: str | None, own: str):
    (example,) = curated(await verified(OWN, turns=(PREFILLED,)), keep="all", learn_from=learn_from)
    assert "".join(read(example)) == f"{TASK.question}It is 6. Wait, {OWN}"
    (said,) = [segment for segment in example.sequences[0] if segment.weights]
    assert said.messages[0].content == own
    assert bytes(said.token_ids).decode() == (OWN if own == OWN else "")


@given(keep=st.lists(st.booleans(), min_size=1, max_size=3))
@settings(max_examples=10)
async def test_no_curator_learns_what_was_prefilled(keep: list[bool]):
    turns = [
        {"name": f"t{at}", "ask": "Sure?" if at else None} | ({"prefill": "So: "} if begun else {})
        for at, begun in enumerate(keep)
    ]
    example = sampled(group := await verified(OWN, turns=tuple(turns)), group.rollouts[0])
    assert learnt(example) == [OWN] * len(keep)
    assert "".join(read(example)).count("So: ") == sum(keep)
    scored = reinforced(group, group.rollouts[0], 0.5, 0.5).sequences[0]
    assert [segment.advantages for segment in scored if segment.weights] == [(0.5,)] * len(keep)
    assert all(len(segment.logprobs) == len(segment.token_ids) for segment in scored if segment.weights)


async def test_what_was_said_aside_is_no_part_of_an_answer():
    edited = {"name": "edited", "view": "fresh", "kind": "question", "say": "{attempt}", "inject_error": "number"}
    group = await verified("2 + 3 = 5", turns=(TWO[0], edited))
    assert [turn.name for turn in group.rollouts[0].turns] == ["attempt", "edited"]
    assert learnt(sampled(group, group.rollouts[0])) == ["2 + 3 = 5"]
    scored = reinforced(group, group.rollouts[0], 0.5, 0.5).sequences[0]
    assert [len(segment.logprobs) for segment in scored if segment.weights] == [9]


def test_it_holds_to_what_every_curator_has_to():
    assert check_block(Transcripts(minimum=0), sums()) == []


def test_a_turn_that_the_sampler_does_not_have_is_named_before_a_round():
    stage = {
        "sample": {"type": "dialogue", "turns": TWO},
        "verify": {"type": "answer_match"},
        "curate": {"type": "transcripts", "train": ["secnd"]},
        "train": {"type": "sft"},
    }
    with pytest.raises(ValidationError, match="names the turn 'secnd', but sample has attempt, second"):
        Stage.model_validate(stage)
