"""A round's second engine: a value model is served beside the policy and guides a search, by either runtime."""

from pathlib import Path

import pytest

from selftaught.blocks import Context
from selftaught.recipe import Recipe
from selftaught.records import Message, Task
from selftaught.round.engines import endpoint
from selftaught.round.job import Workplace
from tests.cluster.installation import stored
from tests.cluster.kube import REPOSITORY
from tests.value_models import given, with_head

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("room"), pytest.mark.model, pytest.mark.timeout(1200)]

ASKED = "Tom has 12 apples, buys 7 more and gives 4 to Mia. How many apples does Tom have now? One calculation a line."
TASK = Task(messages=(Message(role="user", content=ASKED),), answer="15", source="test")


@pytest.fixture(scope="module")
def value_model(starter_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_head(starter_model, tmp_path_factory.mktemp("value") / "model")


@pytest.mark.parametrize("runtime", ["selftaught-vllm-cpu", "selftaught-value-server"])
async def test_a_value_model_guides_a_search_beside_the_policy(
    place: Workplace, starter_model: Path, value_model: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SELFTAUGHT_RUNTIME", runtime)
    under = Workplace.open()
    policy, guide = (stored(place, folder) for folder in (starter_model, value_model))
    # Every node of the tree is one that the value model was asked about, in this order.
    plain = ["look_ahead", "hints", "end_gate"]
    changes = [
        "stages.main.sample.value={type: value_model}",
        *(f"stages.main.sample.{name}=null" for name in plain),
    ]
    search = Recipe.load(REPOSITORY / "recipes" / "rest-mcts-star.yaml", changes).stages[-1].sample
    # Both are proven to be the weights that they are named by, with their log-probabilities and values.
    async with (
        await endpoint(under, f"{runtime}-policy", policy, {}) as model,
        await endpoint(under, f"{runtime}-value", guide, {}) as value,
    ):
        group = await search.sample(TASK, Context(models={"policy": model, "value": value}))
    tree = group.tree
    assert tree and not tree.error
    valued = tree.nodes[1 : 1 + tree.spent.value_calls]  # an answer decoded at the end is worth what its parent is
    paths = [[token for step in tree.path(node.index) for token in step.token_ids] for node in valued]
    expected = given(value_model, [[*tree.prompt_ids, *path] for path in paths])
    assert valued
    assert [node.estimate for node in valued] == pytest.approx([min(max(each, 0), 1) for each in expected], abs=0.02)
