"""A recipe's named sets: what they default to, what the gate has to exclude on them, and what is refused."""

import jsonschema
import pytest
import yaml

from selftaught.blocks import Margin
from selftaught.core.errors import BadRecipe
from selftaught.recipe import Recipe, schema

TASKS = "tasks: {type: word_problems, levels: [3], report: 8}"


def recipe(fields: str, *overrides: str, tasks: str = TASKS) -> Recipe:
    return Recipe.parse(f"extends: rft\nname: mine\nsets:\n  ood: {{{tasks}, {fields}}}\n", "mine.yaml", overrides)


def mistake(fields: str, *overrides: str, tasks: str = TASKS) -> str:
    with pytest.raises(BadRecipe) as raised:
        recipe(fields, *overrides, tasks=tasks)
    return str(raised.value)


def test_a_set_measures_what_the_stage_does_and_its_margin_is_of_what_the_gate_goes_by() -> None:
    made = recipe("margin: 0.1")
    (stage,), each = made.stages, made.sets["ood"]
    assert each.measured(stage) == stage.evaluate
    assert each.allowed(stage) == Margin(("mean@8",), 0.1)
    assert made.with_sets(stage) == stage


def test_metrics_of_its_own_all_count_of_which_more_is_better() -> None:
    made = recipe("metrics: [{type: accuracy}, {type: pass_at_k, k: 4}, {type: tokens}], margin: 0.1")
    (stage,) = made.stages
    assert made.sets["ood"].allowed(stage).metrics == ("accuracy", "pass@4")
    assert [metric.name for metric in made.with_sets(stage).evaluate][2:] == ["accuracy", "pass@4", "tokens"]


def test_no_decision_looks_at_a_set_without_a_margin() -> None:
    made = recipe("metrics: {type: accuracy}")
    assert not made.sets["ood"].guards(made.stages[0])
    assert made.sets["ood"].deciding(made.stages[0]) == ()


def test_a_recipe_without_sets_has_the_digest_that_it_had_and_one_with_sets_another() -> None:
    without = Recipe.parse("extends: rft\nname: mine\n")
    assert "sets" not in without.model_dump(mode="json")
    assert len({without.digest, recipe("margin: 0.1").digest, recipe("margin: 0.2").digest}) == 3
    assert Recipe.parse(recipe("margin: 0.1").as_argument()).digest == recipe("margin: 0.1").digest


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("margin: 0", "mine.yaml:4: sets.ood.margin: 0: should be greater than 0."),
        (
            "metrics: {type: acuracy}",
            "mine.yaml:4: sets.ood.metrics.type: unknown metric 'acuracy'. Did you mean 'accur",
        ),
        ("metrics: [{type: tokens}], margin: 0.1", "sets.ood.margin: of none of its metrics more is better"),
        ("metrics: [{type: accuracy}, {type: accuracy}]", "sets.ood.metrics: lists accuracy twice."),
        (
            "metrics: {type: strategy, label: led, sample: {type: search, limits: {nodes: 4}, value: {type: outcome}}}",
            "sets.ood.metrics: 'led' measures a search that the gold answer leads (value), which nobody has who asks.",
        ),
        ("marign: 0.1", "mine.yaml:4: sets.ood.marign: no such field. Did you mean 'margin'?"),
    ],
)
def test_a_mistake_is_reported_where_it_stands(fields: str, says: str) -> None:
    assert says in mistake(fields)


def test_a_margin_needs_a_gate_and_a_set_can_be_drawn_again() -> None:
    assert "sets.ood.margin: no stage has a gate" in mistake("margin: 0.1", "stages.main.gate=null")
    inbox = "tasks: {type: inbox, path: inbox, train: 1, report: 1}"
    assert "sets.ood.tasks: an inbox gives its tasks to one round each." in mistake("margin: 0.1", tasks=inbox)


def test_the_schema_knows_sets() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    text = f"extends: rft\nname: mine\nsets: {{ood: {{{TASKS}, margin: 0.1}}}}\n"
    assert list(validator.iter_errors(yaml.safe_load(text))) == []
    assert list(validator.iter_errors(yaml.safe_load(text.replace("margin", "marign"))))
