"""Gains and losses per task: nothing is counted twice, dropped in silence, or paired with another task."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.records import TaskScore
from selftaught.report.changes import CHANGES, SHOWN, changes, one_text, read_on_page, without_texts
from selftaught.report.page import render
from tests.report.sample_report import MODELS, played, sample

ROUND = played(1, champion=0, challenger=1, outcome="promoted")


def scored(values: list[tuple[float, float]], split: str = "gate", metric: str = "accuracy") -> list[TaskScore]:
    return [
        TaskScore(model=MODELS[model].digest, metric=metric, split=split, task=f"{i:04}", value=pair[model])
        for i, pair in enumerate(values)
        for model in (0, 1)
    ]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0]))), st.randoms())
def test_every_task_is_counted_once_and_gained_minus_lost_is_who_rose_minus_who_fell(
    values: list[tuple[float, float]], order: random.Random
):
    scores = scored(values)
    order.shuffle(scores)
    found = changes(scores, ROUND)
    assert sum(found.total(change) for change in CHANGES) == len(values)
    assert found.total("gained") == sum(after > before for before, after in values)
    assert found.total("lost") == sum(after < before for before, after in values)
    assert found.total("wrong") == sum(before == after == 0 for before, after in values)


@pytest.mark.parametrize(
    ("pair", "change"), [((0, 1), "gained"), ((1, 0), "lost"), ((1, 1), "right"), ((0, 0), "wrong")]
)
def test_what_is_left_out_is_said_and_the_rest_is_shown(pair: tuple[float, float], change: str):
    found = changes(scored([pair] * (SHOWN[change] + 5)), ROUND)
    assert len(found.shown) == SHOWN[change]
    assert found.left_out() == {change: 5}


def test_other_metrics_other_models_and_tasks_answered_by_one_model_alone_are_no_pairs():
    other = scored([(0.0, 1.0)], metric="pass@8")
    alone = scored([(0.0, 1.0)])[:1]
    stranger = [score.model_copy(update={"model": "else"}) for score in scored([(0.0, 1.0)])]
    assert changes(other + alone + stranger, ROUND).shown == ()


def test_a_task_of_which_an_answer_was_not_judged_is_no_loss():
    scores = scored([(1.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
    unjudged = [score.model_copy(update={"errors": int(i in {1, 4})}) for i, score in enumerate(scores)]
    found = changes(unjudged, ROUND)
    assert {change: found.total(change) for change in ("gained", "lost")} == {"gained": 0, "lost": 1}


def test_one_task_in_two_splits_is_paired_within_each():
    found = changes(scored([(0.0, 1.0)], "gate") + scored([(1.0, 0.0)], "report"), ROUND)
    assert found.totals == {("gate", "gained"): 1, ("report", "lost"): 1}
    assert found.splits() == ["report", "gate"]


def test_the_list_goes_from_gained_to_both_wrong():
    data = sample()
    listed = [pair.change for pair in changes(data.scores, data.last).shown]
    assert listed == sorted(listed, key=list(CHANGES).index)
    assert set(Counter(listed)) == set(CHANGES)


def test_without_the_texts_that_nobody_reads_the_page_is_the_same():
    """A record is kept for good: of the tasks that the page does not list it has numbers alone."""
    many = [(1.0, 1.0)] * (SHOWN["right"] + 50) + [(0.0, 1.0)] * 3
    texts = {"question": "what?", "answer": "1", "texts": ("said", "said too"), "passed": (True, False)}
    scores = [score.model_copy(update=texts) for score in scored(many)]
    read = read_on_page(scores, ROUND)
    record = [one_text(score) if score.id in read else without_texts(score) for score in scores]
    assert [len(score.texts) for score in record].count(1) == 2 * (SHOWN["right"] + 3) == len(read)
    assert sum(score.question == "what?" for score in record) == len(read)
    page = sample(1).model_copy(update={"rounds": (ROUND,)})
    assert render(page.model_copy(update={"scores": tuple(record)})) == render(
        page.model_copy(update={"scores": tuple(scores)})
    )
