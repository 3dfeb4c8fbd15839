"""A process reward model on the real engine: what a search gets is what transformers and numpy make of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from selftaught.blocks import Context
from selftaught.inference.endpoint import Endpoint
from selftaught.search.searcher import Search
from selftaught.serving.engines.engine import TRANSFORMERS, VLLM
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.weight_check import fresh, reference_logprobs
from selftaught.state.weights import check_model, model_digest
from tests.plain_reward_models import classes_after, shepherd, shepherd_scores, token_classifier
from tests.reward_models import probabilities, reward_model
from tests.search.scripted import TASK, Scripted

pytestmark = pytest.mark.model

OPENING = "<|im_start|>system\nReason.<|im_end|>\n<|im_start|>user\nWhat is 1 + 1?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("server", [VLLM, TRANSFORMERS])
async def test_a_search_is_guided_by_a_model_of_another_tokenizer(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("selftaught.serving.engines.engine.server_module", lambda: server)
    folder = reward_model(tmp_path / "prm")
    given, paths = await guided(tmp_path, folder, {"type": "process_reward", "role": "prm", "system": "Reason."})
    said = ["".join(f"{step}<extra_0>" for step in path) for path in paths]
    expected = [probabilities(folder, f"{OPENING}{each}<|im_end|>\n")[-1, 1] for each in said]
    assert len(set(said)) > 8 and max(expected) - min(expected) > 0.1  # it tells steps apart
    assert given == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3"])
async def test_a_search_is_guided_by_a_token_classifier(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selftaught.serving.engines.engine.server_module", lambda: VLLM)
    folder = token_classifier(tmp_path / "prm", family)
    value = {"type": "process_reward", "role": "prm", "tag": "\n", "chat": False}
    given, paths = await guided(tmp_path, folder, value)
    expected = [classes_after(folder, "What is 1 + 1?", path, "\n")[1] for path in paths]
    assert max(expected) - min(expected) > 0.1
    assert given == pytest.approx(expected, abs=0.02)


async def test_a_search_is_guided_by_what_follows_a_tag_in_plain_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selftaught.serving.engines.engine.server_module", lambda: VLLM)
    folder = shepherd(tmp_path / "prm")
    given, paths = await guided(tmp_path, folder, {"type": "reply_reward", "role": "prm", "tag": "ки"})
    outputs = ["\n".join(f"{step} ки" for step in path) for path in paths]
    expected = [shepherd_scores(folder, "What is 1 + 1?", output)[-1] for output in outputs]
    assert max(expected) - min(expected) > 0.1
    assert given == pytest.approx(expected, abs=0.02)


async def guided(ctx: Path, folder: Path, value: Mapping[str, object]) -> tuple[list[float], list[list[str]]]:
    """The values of the nodes of a search that the model in `folder` guides, and the steps up to each."""
    check_model(folder)
    search = Search.model_validate({"type": "search", "value": value, "limits": {"iterations": 6}})
    with LocalEngines(ctx) as engines:
        served = engines.deploy("prm", model_digest(folder), folder)
        assert await fresh(served, reference_logprobs(folder)) < 0.02
        async with Endpoint(served.url, served.line, served.digest, key=served.key) as judge:
            group = await search.sample(TASK, Context(models={"policy": Scripted(), "prm": judge}))
    tree = group.tree
    assert tree is not None
    nodes = tree.nodes[1:]
    paths = [[step.text.strip() for step in tree.path(node.index)] for node in nodes]
    return [node.estimate for node in nodes], paths
