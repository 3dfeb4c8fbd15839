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
    return grown({"wrong": False, "told": True}, hinted={"told"})


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
