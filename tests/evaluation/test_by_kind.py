"""The gain on each kind of task: every task in one kind, means and intervals those of its tasks alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.statistics import paired_gain
from selftaught.evaluation.by_kind import MOST, by_kind
from selftaught.records import TaskScore


def scored(values: list[tuple[float, float]], templates: list[str | None], source: str = "test") -> list[TaskScore]:
    return [
        TaskScore(model=m, metric="accuracy", split="report", task=f"{i:04}", value=v, template=t, source=source)
        for i, (pair, t) in enumerate(zip(values, templates, strict=True))
        for m, v in zip(("old", "new"), pair, strict=True)
    ]


def kinds(scores: list[TaskScore], levels: dict[str, int] | None = None):
    return by_kind(scores, "accuracy", "report", ("old", "new"), levels or {})


def test_each_template_has_its_own_tasks_alone():
    values = [(0.0, 1.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0), (1.0, 0.0)]
    add, take = kinds(scored(values, ["add", "add", "add", "take", "take"]))
    assert (add.by, add.name, add.n, add.champion, add.challenger) == ("template", "add", 3, 1 / 3, 1.0)
    assert (take.name, take.n, take.gain) == ("take", 2, -1.0)
    expected = paired_gain([0, 0, 1], [1, 1, 1])
    assert add.interval == (expected.low, expected.high)


@given(
    st.lists(st.tuples(st.sampled_from([0, 0.5, 1]), st.sampled_from([0, 0.5, 1]), st.sampled_from("abc")), min_size=2)
)
def test_the_kinds_together_are_all_tasks(tasks: list[tuple[float, float, str]]):
    found = kinds(scored([task[:2] for task in tasks], [task[2] for task in tasks]))
    if found:
        assert sum(kind.n for kind in found) == len(tasks)
        total = sum(after - before for before, after, _ in tasks)
        assert sum(kind.n * kind.gain for kind in found) == pytest.approx(total)
    else:
        assert len({task[2] for task in tasks}) == 1


def test_levels_come_in_their_order_and_tasks_without_a_template_are_a_kind():
    scores = scored([(0.0, 1.0)] * 4, ["add", None, None, "add"])
    found = kinds(scores, {"0000": 10, "0001": 9, "0002": 10})
    assert [(kind.by, kind.name, kind.n) for kind in found] == [
        ("level", "9", 1), ("level", "10", 2), ("template", "add", 2), ("template", "none", 2),
    ]  # fmt: skip
    assert [kind.interval is None for kind in found] == [True, False, False, False]


def test_what_nobody_judged_is_left_out():
    scores = scored([(0.0, 1.0)] * 3, ["a", "b", "b"])
    scores[2] = scores[2].model_copy(update={"errors": 1})
    assert [(kind.name, kind.n) for kind in kinds(scores)] == [("a", 1), ("b", 1)]


def test_of_very_many_templates_the_rarest_are_told_as_one():
    templates = [f"t{n}" for n in range(MOST + 3) for _ in range(2 if n > 2 else 1)]
    found = kinds(scored([(0.0, 1.0)] * len(templates), templates))
    assert len(found) == MOST + 1
    assert (found[-1].name, found[-1].n) == ("others", 3)
