"""A round's second engine: a value model is served beside the policy and guides a search, by either runtime."""

from pathlib import Path

import pytest

from selftaught.blocks import Context
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round.models import endpoint
from tests.cluster.installation import stored
from tests.cluster.kube import REPOSITORY
from tests.value_models import TASK, assert_guided, with_head

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("room"), pytest.mark.model, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def value_model(starter_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_head(starter_model, tmp_path_factory.mktemp("value") / "model")


@pytest.mark.parametrize("runtime", ["selftaught-vllm-cpu", "selftaught-value-server"])
async def test_a_value_model_guides_a_search_beside_the_policy(
    platform: Platform, starter_model: Path, value_model: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SELFTAUGHT_RUNTIME", runtime)
    under = Platform.open()
    policy, guide = (stored(platform, folder) for folder in (starter_model, value_model))
    # Every node of the tree is one that the value model was asked about, in this order.
    items = ["value={type: value_model}", "look_ahead=null", "hints=null", "end_gate=null"]
    changes = [f"stages.main.sample.{change}" for change in items]
    search = Recipe.load(REPOSITORY / "recipes" / "rest-mcts-star.yaml", changes).stages[-1].sample
    # Both are proven to be the weights that they are named by, with their log-probabilities and values.
    async with (
        await endpoint(under, f"{runtime}-policy", policy, {}) as model,
        await endpoint(under, f"{runtime}-value", guide, {}) as value,
    ):
        group = await search.sample(TASK, Context(models={"policy": model, "value": value}))
    tree = group.tree
    assert tree and not tree.error
    assert_guided(tree, value_model)
