"""Search on the real model and engine: paths are the engine's own tokens, a value model guides, NaN is reported."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file, save_file

from selftaught.blocks import Completion, Context
from selftaught.core.errors import Unavailable
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.records import Group, Message, Task, Tree
from selftaught.sampling.runner import sample
from selftaught.search.rewards import ReplyReward
from selftaught.search.searcher import Search
from selftaught.search.tree import SearchTree
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.weight_check import fresh, reference_logprobs
from selftaught.state.journal import FileJournal
from selftaught.state.weights import check_model, model_digest
from selftaught.verification.answer_match import AnswerMatch
from tests.value_models import TASK, assert_guided, with_head

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngines]:
    with LocalEngines(tmp_path_factory.mktemp("engines"), forkserver=True) as engines:
        yield engines


@pytest.fixture(scope="module")
def value_model(starter_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_head(starter_model, tmp_path_factory.mktemp("value") / "model")


def without_numbers(folder: Path) -> Path:
    """The value model in `folder`, its head no number: training would refuse to write it."""
    (weights,) = folder.glob("*.safetensors")
    tensors = load_file(weights)
    tensors["score.weight"] = tensors["score.weight"] * float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def endpoint(engines: LocalEngines, role: str, folder: Path) -> Endpoint:
    """A client of `folder`, served as `role`, that gives up after a second."""
    served = engines.deploy(role, model_digest(folder), folder)
    return Endpoint(served.url, served.line, served.digest, policy=RetryPolicy(patience=1), key=served.key)


async def searched(engines: LocalEngines, policy: Path, guide: Path | None = None, **config):
    served = engines.deploy("policy", model_digest(policy), policy)
    async with Endpoint(served.url, served.line, served.digest, key=served.key) as model:
        models = {"policy": model}
        if guide is not None:
            other = engines.deploy("value", model_digest(guide), guide)
            models["value"] = Endpoint(other.url, other.line, other.digest, key=other.key)
        search = Search.model_validate({"type": "search", "limits": {"iterations": 4, "depth": 4}, **config})
        group = await search.sample(TASK, Context(models=models, verifiers=(AnswerMatch(),)))
        if guide is not None:
            await models["value"].aclose()
        return group


async def test_paths_are_the_engines_own_tokens_with_a_real_tokenizer(engines: LocalEngines, starter_model: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(starter_model)
    for unit in ("line", "sentence"):
        group = await searched(engines, starter_model, expand={"type": "steps", "n": 3, "unit": unit, "max_tokens": 24})
        rows = [message.to_row() for message in TASK.messages]
        opening = tokenizer.apply_chat_template(rows, add_generation_prompt=True, return_dict=False)
        assert list(group.tree.prompt_ids) == opening
        assert len(group.tree.nodes) > 1
        assert_own_tokens(group.tree, tokenizer)
        assert {0 <= node.value <= 1 for node in group.tree.nodes} == {True}


def assert_own_tokens(tree: Tree, tokenizer: "PreTrainedTokenizerBase") -> None:
    for node in tree.nodes[1:]:
        path = tree.path(node.index)
        ids = [token for step in path for token in step.token_ids]
        said = tokenizer.decode(ids, skip_special_tokens=True)
        # A step may be cut inside a character, which its next step then completes.
        assert said.rstrip("\ufffd") == "".join(step.text for step in path)


async def test_the_steps_of_roll_outs_are_the_engines_own_tokens_too(engines: LocalEngines, starter_model: Path):
    from transformers import AutoTokenizer

    value = {"type": "outcome", "n": 2, "max_tokens": 64}
    expand = {"type": "steps", "n": 2, "max_tokens": 24}
    group = await searched(engines, starter_model, expand=expand, value=value)
    assert_own_tokens(group.tree, AutoTokenizer.from_pretrained(starter_model))
    inner = [node for node in group.tree.nodes if group.tree.children[node.index]]
    assert any(not node.visits for node in inner)  # nothing has grown there
    assert (
        group.tree.spent.tokens
        <= Search.model_validate(
            {"type": "search", "expand": expand, "value": value, "limits": {"iterations": 4, "depth": 4}}
        ).cost()
    )


async def test_a_value_model_is_served_and_guides(engines: LocalEngines, starter_model: Path, value_model: Path):
    check_model(value_model)
    served = engines.deploy("value", model_digest(value_model), value_model)
    assert await fresh(served, reference_logprobs(value_model)) < 0.08
    group = await searched(engines, starter_model, value_model, value={"type": "value_model"})
    assert group.tree.spent.value_calls >= len(group.tree.nodes) - 2
    assert_guided(group.tree, value_model)


async def test_a_causal_reward_model_is_read_where_it_replies(engines: LocalEngines, starter_model: Path):
    tree = SearchTree(TASK)
    node = tree.add(tree.add(tree.root, step("12 + 7 = 19\n")), step("19 - 4 = 15"))
    value = ReplyReward(right="the", wrong="this")
    likely = first_words(starter_model, value.chat(tree, node))
    async with endpoint(engines, "policy", starter_model) as model:
        (given,) = await value.values(tree, [node], Context(models={"reward": model}))
    assert given == pytest.approx(likely["the"] / (likely["the"] + likely["this"]), abs=0.02)


def step(text: str) -> Completion:
    return Completion(text, (1,), (), "stop", 1)


def first_words(folder: Path, chat: list[Message]) -> Counter[str]:
    """What the model in `folder` may begin its reply to `chat` with, by transformers: words and how likely they are."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [message.to_row() for message in chat]
    ids = tokenizer.apply_chat_template(rows, add_generation_prompt=True, return_dict=False)
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([ids])).logits[0, -1].float()
    words: Counter[str] = Counter()
    for probability, token in zip(*(each.tolist() for each in logits.softmax(-1).topk(20)), strict=True):
        words[tokenizer.decode(token).strip().casefold()] += probability
    return words


async def test_a_value_model_that_gives_no_numbers_fails_the_tree(
    engines: LocalEngines, starter_model: Path, tmp_path: Path
):
    broken = without_numbers(with_head(starter_model, tmp_path / "broken"))
    group = await searched(engines, starter_model, broken, value={"type": "value_model"})
    assert group.tree.ended == "failed"
    assert re.fullmatch(r"the value model gave nan for (\d+) of \1 nodes", group.tree.error)
    assert [node.parent for node in group.tree.nodes] == [-1]  # what was never valued is not there


async def test_a_value_server_that_dies_ends_the_step_and_keeps_the_finished_trees(
    engines: LocalEngines, starter_model: Path, value_model: Path, tmp_path: Path
):
    """The step stops with what to do once its client's patience is over, and continues when it is called again."""
    tasks = [Task(messages=TASK.messages, answer=str(number), source="test") for number in range(12)]
    short = {"type": "steps", "n": 2, "max_tokens": 16}
    search = Search.model_validate(
        {"type": "search", "value": {"type": "value_model"}, "expand": short, "limits": {"iterations": 3, "depth": 3}}
    )
    journal = FileJournal(tmp_path / "trees.jsonl", Group)

    async def sampled(dies: bool) -> list[Group]:
        async with AsyncExitStack() as opened:
            models = {
                role: await opened.enter_async_context(endpoint(engines, role, folder))
                for role, folder in (("policy", starter_model), ("value", value_model))
            }

            def report(done: int, *_: float, **__: float) -> None:
                if dies and done == 4:
                    engines.remove("value", model_digest(value_model))

            return await sample(tasks, search, Context(models=models), journal, report, concurrency=2)

    with pytest.raises(Unavailable, match="value"):
        await sampled(dies=True)
    finished = journal.read()
    assert 4 <= len(finished) < 12
    groups = await sampled(dies=False)
    assert len(groups) == 12
    assert {key: journal.read()[key] for key in finished} == finished
