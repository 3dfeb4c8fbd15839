"""The page's search section: trees to look into, what was learnt of them, and how good the value model was."""

import re

import pytest

from selftaught.records import Group, Node, content_id
from selftaught.report.data import OtherModel, ReportData, SearchReport
from selftaught.report.page import render
from selftaught.report.trees import to_show
from tests.curation.trees import grown
from tests.report.sample_report import HOSTILE, sample

SHAPE = {"one step\n": {"right end": True, "wrong end": False}, f"{HOSTILE}\n": {"bad": False}}
FIGURES = {
    "search.trees": 2.0, "search.nodes": 10.0, "search.solved": 1.0, "search.hinted": 1.0, "search.spent.tokens": 500.0,
    "search.spent.value_calls": 10.0, "search.spent.duplicates": 2.0, "search.spent.empty": 1.0,
    "search.ended.failed": 0.0, "search.ended.iterations": 2.0,
}  # fmt: skip
MEASURED = {
    "value.mae": 0.123, "value.mae.low": 0.101, "value.mae.high": 0.144, "value.mae.constant": 0.222,
    "value.auroc.low": 0.71, "value.auroc.high": 0.87, "value.auroc.right": 13.0, "value.auroc.wrong": 24.0,
    "value.n.tasks": 9.0, "value.within_0.1": 0.6, "value.auroc": 0.8, "value.n": 40.0, "value.calibration_error": 0.05,
    "value.calibration.3.predicted": 0.35, "value.calibration.3.label": 0.4, "value.calibration.3.n": 40.0,
}  # fmt: skip


def solved() -> Group:
    return grown(SHAPE, {"one step\n": 0.75, "right end": 0.9}, visits={"one step\n": 3})


def helped() -> Group:
    return grown({"wrong": False, "hint": True}, hinted={"hint"})


def data(*groups: Group, trained: tuple[str, ...] = ()) -> ReportData:
    plain = sample(1)
    other = OtherModel(role="value", used="a" * 64, trained="b" * 64, parent="a" * 64, steps=12, figures=MEASURED)
    last = plain.last.model_copy(update={"search": SearchReport(figures=FIGURES), "others": (other,)})
    return plain.model_copy(update={"rounds": (last,), "groups": groups, "trained": trained})


def test_trees_are_shown_by_what_became_of_them():
    never = grown({"no": False})
    assert [view.kind for view in to_show([never, helped(), solved()], ())] == [
        "solved", "hinted", "not solved",
    ]  # fmt: skip


def test_a_node_says_what_was_learnt_of_it():
    group = solved()
    answer = next(rollout for rollout in group.rollouts if group.tree.text(rollout.index).endswith("right end"))
    first, other = group.tree.children[0]
    trained = {answer.id, content_id([group.id, first]), content_id([group.id, first, other])}
    (view,) = to_show([group], trained)
    step, hostile = view.roots
    assert step.marks == ("its value learnt", "chosen")
    assert step.kept and not hostile.kept
    assert hostile.marks == ("rejected",)
    assert step.children[0].marks == ("trained on",)
    assert (step.children[0].right, step.children[1].right) == (True, False)


@pytest.mark.parametrize(("depth", "shown"), [(99, 99), (100, 100), (101, 100), (400, 100)])
def test_a_deep_tree_is_shown_to_a_depth(depth: int, shown: int):
    nodes = [Node(index=n, parent=max(0, n - 1), text=f"step {n}.", terminal=n == depth) for n in range(depth + 1)]
    group = solved()
    deep = group.model_copy(update={"tree": group.tree.model_copy(update={"nodes": tuple(nodes), "answer": None})})
    deep = deep.model_copy(update={"rollouts": (group.rollouts[0].model_copy(update={"index": depth}),)})
    deep = deep.model_copy(update={"verdicts": group.verdicts[:1]})
    page = render(data(deep))
    assert [f"step {n}." in page for n in (1, shown, shown + 1)] == [True, True, False]
    assert ("deeper steps are not shown" in page) == (depth > shown)


def test_the_page_shows_trees_with_values_and_visits_and_hostile_steps_as_text():
    page = render(data(solved(), helped()))
    assert "Trees to look into" in page
    assert page.count('<ul class="tree">') == 2
    assert '<span class="worth">.750</span>' in page
    assert '<span class="visits">3×</span>' in page
    assert HOSTILE not in page


CONTROL = {
    "search.control.tasks": 16.0, "search.control.budget": 5952.0, "search.control.cost": 6544.0,
    "search.control.short": 0.0, "search.control.solved.search": 0.333, "search.control.solved.sampling": 0.366,
    "search.control.solved.gain": -0.033, "search.control.solved.low": -0.081, "search.control.solved.high": 0.012,
    "search.control.distinct.search": 1.03, "search.control.distinct.sampling": 1.4,
    "search.control.distinct.gain": -0.37, "search.control.distinct.low": -0.59, "search.control.distinct.high": -0.17,
}  # fmt: skip


def _searched(*rounds: dict[str, float]) -> str:
    """The text of the page of rounds with those figures beside the others."""
    plain = data(solved())
    items = [
        plain.last.model_copy(update={"round": n, "search": SearchReport(figures=FIGURES | more)})
        for n, more in enumerate(rounds, 1)
    ]
    page = render(plain.model_copy(update={"rounds": tuple(items)}))
    return " ".join(re.sub("<[^>]+>", " ", page).split())


def test_the_page_holds_every_search_against_independent_samples():
    text = _searched({}, CONTROL | {"search.control.short": 2.0}, CONTROL | {"search.spent.prefill_tokens": 98000.0})
    row = (
        "16 share of tasks solved .333 .366 −.033 −.081 to +.012 5,952 6,544 "
        "right answers a task 1.03 1.40 −0.37 −0.59 to −0.17"
    )
    head, rest = text.split("Against independent samples")
    table = rest.split("On some of the round's tasks")[0]
    assert table.count(row) == 2
    assert ("round 1" in table, "round 2" in table, "round 3" in table) == (False, True, True)
    assert "98,000" in head
    assert "understated" not in text


def test_the_page_says_where_the_samples_are_understated():
    assert "On 2 of this round's tasks there were fewer tokens of samples" in _searched(
        CONTROL | {"search.control.short": 2.0}
    )


def test_a_comparison_on_one_task_has_no_interval():
    one = {name: value for name, value in CONTROL.items() if not name.endswith((".low", ".high"))}
    text = _searched(one)
    assert "16 share of tasks solved .333 .366 −.033 5,952 6,544 right answers a task 1.03 1.40 −0.37 On some" in text


def test_the_page_of_a_search_without_a_control_says_nothing_of_one():
    assert "Against independent samples" not in _searched({})


def test_the_page_tells_the_value_model_and_draws_its_calibration():
    page = render(data(solved()))
    assert "The value model" in page
    assert "b" * 64 in page
    text = " ".join(re.sub("<[^>]+>", " ", page).split())
    assert ".123 .101–.144 .222 .600 .800 .710–.870 13, 24 .050 40 of 9 tasks" in text


def test_a_value_model_of_before_there_were_intervals_is_told_without():
    old = {name: MEASURED[name] for name in ("value.mae", "value.within_0.1", "value.calibration_error", "value.n")}
    plain = data(solved())
    other = plain.last.others[0].model_copy(update={"figures": old})
    page = render(plain.model_copy(update={"rounds": (plain.last.model_copy(update={"others": (other,)}),)}))
    assert ".123 – .600 – – .050 40" in " ".join(re.sub("<[^>]+>", " ", page).split())


def test_the_calibration_is_drawn():
    page = render(data(solved()))
    assert '"what the value model said"' in page


def test_a_round_without_search_has_no_such_section():
    page = render(sample(2))
    assert 'id="search"' not in page
    assert 'href="#search"' not in page
