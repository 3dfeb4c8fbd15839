"""Which models a block asks: what its fields called `role` name, at any depth, and what it says of itself."""

import pytest
from pydantic import TypeAdapter

from selftaught.blocks import Block, Context, within
from selftaught.core.errors import BadInput
from selftaught.recipe import Recipe, blocks
from selftaught.sampling.iid import IID
from selftaught.search.values import PTrue

RULE = {"type": "rule", "check": {"type": "equations"}, "then": {"type": "value_model", "before": {"type": "p_true"}}}
STRATEGY = {"type": "strategy", "label": "it", "sample": {"type": "search", "value": RULE}}
CRITICS = {
    "type": "weighted",
    "parts": [{"value": {"type": "outcome", "role": "fast"}}, {"value": {"type": "reply_reward"}}, {"value": RULE}],
}


@pytest.mark.parametrize(
    ("axis", "fields", "roles"),
    [
        ("sample", {"type": "iid"}, {"policy"}),
        ("sample", {"type": "search", "value": CRITICS}, {"policy", "fast", "reward", "value"}),
        (
            "evaluate",
            {"type": "strategy", "label": "it", "sample": {"type": "search", "value": RULE}},
            {"policy", "value"},
        ),
        ("evaluate", {"type": "accuracy"}, {"policy"}),
        ("verify", {"type": "answer_match"}, set()),
        ("train", {"type": "value_mse"}, {"value"}),
        ("merge", {"type": "judged", "role": "judge"}, {"judge"}),
    ],
)
def test_roles_are_those_of_the_block_and_of_all_in_it(axis: str, fields: dict[str, object], roles: set[str]):
    block: Block = TypeAdapter(blocks(axis)[str(fields["type"])]).validate_python(fields)
    assert block.roles() == roles


def test_blocks_are_found_at_any_depth():
    search: Block = TypeAdapter(blocks("sample")["search"]).validate_python({"type": "search", "value": CRITICS})
    found = [block.name for block in within(search)]
    assert found[0] == "search" and found.count("p_true") == 1 and found.count("equations") == 1
    assert [type(block) for block in within({"a": [(PTrue(),)]}, "text")] == [PTrue]


def test_a_model_that_no_block_says_it_asks_is_not_there():
    """Else a role that the recipe names would be played by the policy, without a word."""
    context = Context(models={"policy": object()}, asked=IID().roles())  # type: ignore[dict-item]
    assert context.model() is context.models["policy"]
    with pytest.raises(BadInput, match="asks the judge model, and none says so"):
        context.model("judge")


def test_every_shipped_recipe_asks_roles_that_it_names_or_trains_or_the_policy():
    from selftaught.core import shipped

    for path in shipped.recipes().glob("*.yaml"):
        recipe = Recipe.load(path)
        trained = {role for stage in recipe.stages for role in stage.trained_roles}
        for stage in recipe.stages:
            asked = {role for block in (stage.sample, *stage.verify, *stage.evaluate) for role in block.roles()}
            assert asked <= {*recipe.models, *trained}
