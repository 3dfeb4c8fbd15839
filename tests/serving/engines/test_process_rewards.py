"""The transformers server returns to a search what transformers' own forward pass gives for the same text."""

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from selftaught.blocks import Context
from selftaught.blocks.loading import load_blocks
from selftaught.inference.endpoint import Endpoint
from selftaught.search.parts import NodeValue
from selftaught.search.rewards import ProcessReward, ReplyReward
from selftaught.search.searcher import Search
from selftaught.serving.engines.transformers_server import Generator as Model
from selftaught.serving.engines.transformers_server import RefusedError, Rewards, Server, Texts
from tests.plain_reward_models import classes_after, shepherd, shepherd_scores, token_classifier
from tests.search.scripted import TASK, Scripted

load_blocks()

DIGEST = "ab12cd34" + "0" * 56
NAME = "prm-ab12cd34"
CONTEXT = 512


@contextmanager
def serving(answers: Mapping[str, Callable[[Any], Any]]) -> Generator[str]:
    with Server(("127.0.0.1", 0), [NAME], answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


async def guided(answers: Mapping[str, Callable[[Any], Any]], value: NodeValue) -> list[tuple[float, list[str]]]:
    """The value of each node of a search, and the steps up to it."""
    search = Search.model_validate({"type": "search", "value": value, "limits": {"iterations": 6}})
    with serving(answers) as url:
        async with Endpoint(url, "prm", DIGEST) as judge:
            group = await search.sample(TASK, Context(models={"policy": Scripted(), "prm": judge}))
    tree = group.tree
    assert tree is not None and len(tree.nodes) > 8
    return [(node.estimate, [step.text.strip() for step in tree.path(node.index)]) for node in tree.nodes[1:]]


@pytest.mark.parametrize("family", ["Llama", "Mistral", "Qwen2", "Qwen3"])
@pytest.mark.parametrize(("separator", "positive"), [("\n", 1), (" ки", 0)])
async def test_a_token_classifier_is_read_as_prm_trainer_trained_it(
    family: str, separator: str, positive: int, tmp_path: Path
):
    folder = token_classifier(tmp_path, family)
    value = ProcessReward(role="prm", tag=separator, chat=False, positive=positive)
    given = await guided(Rewards(NAME, folder, CONTEXT, "float32").answers, value)
    expected = [classes_after(folder, "What is 1 + 1?", steps, separator)[positive] for _, steps in given]
    assert max(expected) - min(expected) > 0.05  # it tells steps apart
    assert [worth for worth, _ in given] == pytest.approx(expected, abs=1e-4)


async def test_math_shepherds_model_is_read_as_its_card_reads_it(tmp_path: Path):
    folder = shepherd(tmp_path)
    texts = Texts(NAME, Model(folder, CONTEXT, 4, seed=0, dtype="float32"))
    given = await guided(texts.answers, ReplyReward(role="prm", tag="ки"))
    outputs = ["\n".join(f"{step} ки" for step in steps) for _, steps in given]
    scores = [shepherd_scores(folder, "What is 1 + 1?", output) for output in outputs]
    assert [len(each) for each in scores] == [len(steps) for _, steps in given]  # a score at each tag
    assert max(each[-1] for each in scores) - min(each[-1] for each in scores) > 0.05
    assert [worth for worth, _ in given] == pytest.approx([each[-1] for each in scores], abs=1e-4)


def test_named_next_tokens_are_as_likely_as_the_models_logits_say(tmp_path: Path):
    import torch

    generator = Model(shepherd(tmp_path), CONTEXT, 4, seed=0, dtype="float32")
    complete = Texts(NAME, generator).answers["/v1/completions"]
    prompts = [[1, 90, 91, 92], [1, 90]]
    answer = complete({"prompt": prompts, "logprob_token_ids": [7, 265]})
    for ids, choice in zip(prompts, answer["choices"], strict=True):
        with torch.inference_mode():
            row = generator.model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
        (given,) = choice["logprobs"]["top_logprobs"]
        assert given == pytest.approx({f"token_id:{token}": float(row[token]) for token in (7, 265)}, abs=1e-4)
    alone = complete({"prompt": prompts[0], "logprob_token_ids": [7, 265]})
    assert alone["choices"] == answer["choices"][:1]
    wrongs: list[dict[str, Any]] = [
        {"logprob_token_ids": []},
        {"logprob_token_ids": [10**9]},
        {"prompt": []},
        {"prompt": [[1] * (CONTEXT + 1)]},
    ]
    for wrong in wrongs:
        with pytest.raises(RefusedError):
            complete({"prompt": prompts, "logprob_token_ids": [7], **wrong})
