"""Reasoning Gym: its tasks, its seeds, and what it refuses."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from selftaught.blocks import Draw
from selftaught.core.errors import BadInput
from selftaught.tasks.draw import prepare
from selftaught.tasks.sources.reasoning_gym import ReasoningGym


def source(**fields: Any) -> ReasoningGym:
    return ReasoningGym.model_validate({"train": 6, "gate": 4, "report": 4, "dataset": "chain_sum", **fields})


def test_gold_answers_satisfy_the_library_s_own_scoring():
    import reasoning_gym

    scorer = reasoning_gym.create_dataset("chain_sum", seed=0, size=1)
    for task in source(config={"min_terms": 2, "max_terms": 2}).draw(Draw(1, 2)):
        assert task.answer == str(eval(task.question.split(":")[1].rstrip("= ")))
        assert scorer.score_answer(task.answer, {"answer": task.answer}) == 1


def test_sets_are_disjoint_the_report_stays_and_the_gate_changes():
    one, two = (prepare(source(), Draw(campaign=3, round=round)) for round in (1, 2))
    texts = {split: [{t.id for t in tasks if t.split == split} for tasks in (one, two)] for split in source().sizes()}
    assert texts["report"][0] == texts["report"][1]
    assert texts["gate"][0].isdisjoint(texts["gate"][1])
    assert (texts["train"][0] | texts["train"][1]).isdisjoint(texts["gate"][0] | texts["gate"][1] | texts["report"][0])


def test_a_shared_preamble_is_no_contamination():
    tasks = prepare(source(dataset="leg_counting"), Draw(1, 2))
    assert len({task.question[:60] for task in tasks}) == 1


def test_guard_tasks_come_from_a_generator_of_their_own():
    tasks = source(guard=3, guard_dataset="gcd").draw(Draw(1, 2))
    assert [task.template for task in tasks if task.split == "guard"] == ["gcd"] * 3


def test_a_draw_gives_equal_tasks_and_survives_json():
    first = source().draw(Draw(1, 2))
    assert first == ReasoningGym.model_validate(json.loads(source().model_dump_json())).draw(Draw(1, 2))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "chain_summ"}, r"unknown Reasoning Gym generator 'chain_summ'\. Did you mean 'chain_sum'\?"),
        (
            {"config": {"min_term": 2}},
            r"'chain_sum' has no field 'min_term'\. Did you mean 'min_terms'\? Its fields: .*",
        ),
        ({"config": {"seed": 2}}, r"'chain_sum' has no field 'seed'"),
        ({"config": {"min_terms": 0}}, r"'chain_sum' refuses \{'min_terms': 0\}"),
        ({"dataset": "rubiks_cube"}, r"'rubiks_cube' gives no gold answer"),
        ({"dataset": "coin_flip", "train": 9999, "config": {"min_trials": 1, "max_trials": 1}}, r"has only about \d+"),
    ],
)
def test_what_cannot_be_drawn_from_is_refused_with_the_fix(fields: dict[str, Any], message: str):
    with pytest.raises(BadInput, match=message):
        source(**fields).draw(Draw(1, 2))


def test_guard_tasks_without_a_generator_are_refused():
    with pytest.raises(
        ValidationError, match="asks for guard tasks of their own: name their generator in guard_dataset"
    ):
        source(guard=5)
