"""Masked inputs: what is read is masked and what is to be said is not, by a draw that a resumed run makes again."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import TrainContext
from selftaught.core.errors import RoundFailed
from selftaught.records import Example
from selftaught.training.loops.batches import Row, Tokens, batch, packed, padded, tree
from selftaught.training.loops.masking import Masking, mask_token, masking
from selftaught.training.rendering import chat_of
from selftaught.training.sft import SFT, MaskInputs
from tests.training.test_sft import FP32, weights
from tests.training.training_examples import MakeContext, example

MASK, END = 99, 98
SHARES = st.floats(0.05, 0.95)


def view(steps: int = 10, size: int = 4, seed: int = 0, **config: Any) -> Masking:
    return Masking(MaskInputs.model_validate({"warmup": 0.0} | config), MASK, frozenset({END}), seed, steps, size)


def row(prompt: int, answer: int, begin: int = 1) -> Row:
    """A row of a prompt and an answer with its end, whose tokens all differ."""
    ids = (*range(begin, begin + prompt + answer), END)
    return Row((Tokens(ids, (0.0,) * prompt + (1.0,) * (answer + 1)),))


def inputs(row: Row) -> tuple[int, ...]:
    [tokens] = row.sequences
    return tokens.inputs or tokens.ids


@given(st.integers(1, 10), st.integers(1, 30), SHARES, st.integers(0, 99))
def test_labels_weights_question_and_end_stay(prompt: int, answer: int, share: float, at: int):
    before = row(prompt, answer)
    after = view(share=share, steps=25)(before, at)
    [one], [other] = before.sequences, after.sequences
    assert (one.ids, one.weights, one.counted()) == (other.ids, other.weights, other.counted())
    assert inputs(after)[:prompt] == one.ids[:prompt]
    assert inputs(after)[-1] == END
    assert {new for new, old in zip(inputs(after), one.ids, strict=True) if new != old} <= {MASK}


@given(SHARES, st.integers(0, 2**32))
def test_of_the_answer_about_the_share_is_masked(share: float, seed: int):
    seen = view(share=share, seed=seed)(row(5, 4000, begin=100), 0)
    assert inputs(seen).count(MASK) / 4000 == pytest.approx(share, abs=0.06)


def test_over_all_masks_the_question_too():
    seen = inputs(view(share=0.5, over="all")(row(2000, 10, begin=100), 0))
    assert seen[:2000].count(MASK) / 2000 == pytest.approx(0.5, abs=0.06)


def test_the_share_rises_linearly_over_the_first_steps_and_stays():
    shares = [view(steps=10, share=0.4, warmup=0.5).share(step) for step in range(10)]
    assert shares == pytest.approx([0.0, 0.08, 0.16, 0.24, 0.32, 0.4, 0.4, 0.4, 0.4, 0.4])
    assert inputs(view(share=0.9, warmup=0.5)(row(3, 50), 3)).count(MASK) == 0


def test_a_mask_is_the_same_for_a_position_and_another_for_the_next():
    seen = [inputs(view(share=0.5)(row(3, 40), at)) for at in (7, 7, 8)]
    assert seen[0] == seen[1] != seen[2]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=5), SHARES, st.integers(0, 999))
def test_in_every_layout_each_token_is_predicted_from_its_own_masked_row(
    shapes: list[tuple[int, int]], share: float, seed: int
):
    """Rows that begin alike, and are masked apart, share what they still have in common and no more."""
    rows = [view(share=share, seed=seed)(row(*shape), at) for at, shape in enumerate(shapes)]
    expected = [(inputs(each)[:at], each.sequences[0].ids[at]) for each in rows for at in each.sequences[0].counted()]
    assert read_from(batch(rows, tree).inputs) == expected
    for layout in (padded, packed):
        made = batch(rows, layout).inputs
        assert made["targets"].tolist() == [target for _, target in expected]
        seen = made["input_ids"].flatten()[made["sources"]].tolist()
        assert seen == [before[-1] for before, _ in expected]


def read_from(made: dict[str, Any]) -> list[tuple[tuple[int, ...], int]]:
    """What each target is predicted from in a prefix tree: the tokens that its source attends to, in order."""
    ids, (_, width) = made["input_ids"], made["input_ids"].shape
    found: list[tuple[tuple[int, ...], int]] = []
    for source, target in zip(made["sources"].tolist(), made["targets"].tolist(), strict=True):
        at, node = divmod(source, width)
        seen = made["attention_mask"][at, 0, node].nonzero().flatten()
        order = made["position_ids"][at, seen].argsort()
        found.append((tuple(ids[at, seen][order].tolist()), target))
    return found


# In a run -------------------------------------------------------------------------------------------------------------


def trained(model: Path, examples: list[Example], out: Path, context: TrainContext, **config: Any) -> Any:
    return SFT.model_validate(FP32 | {"epochs": 3} | config).train(model, examples, out, context)


def test_no_share_is_no_masking_to_the_bit(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    found = [
        trained(tiny_model, examples, tmp_path / name, context(name), mask_inputs=masked)
        for name, masked in (("off", None), ("none", {"share": 0.0}))
    ]
    assert found[0].losses == found[1].losses
    for name, expected in weights(tmp_path / "off").items():
        assert (weights(tmp_path / "none")[name] == expected).all(), name


@pytest.mark.parametrize("batching", ["shared", "length_grouped", "packed", "padded"])
def test_the_loss_is_that_of_each_masked_row_alone(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path, batching: str
):
    """The NLL of the labels, given the masked inputs, by a plain forward pass a row."""
    import torch
    from transformers import AutoModelForCausalLM

    from selftaught.training.loops.sft import _plan, rows_of  # pyright: ignore[reportPrivateUsage]

    asked = MaskInputs(share=0.5, warmup=0.0)
    config = SFT.model_validate(FP32 | {"batching": batching, "batch_size": 12, "mask_inputs": asked})
    chat = chat_of(tiny_model)
    rows = [each for one in examples for each in rows_of(one, chat)]
    order, seen = _plan(config, rows, context("run").seed).order, masking(asked, chat, context("run").seed, 1, 12)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    nlls: list[float] = []
    for at, index in enumerate(order):
        [tokens] = seen(rows[index], at).sequences
        with torch.no_grad():
            logprobs = model(torch.tensor([tokens.inputs])).logits[0].log_softmax(-1)
        nlls += [-logprobs[spot - 1, tokens.ids[spot]].item() for spot in tokens.counted()]
    result = config.train(tiny_model, examples, tmp_path / "out", context("run"))
    assert result.losses[0][1] == pytest.approx(sum(nlls) / len(nlls), rel=1e-5)
    assert result.trained_tokens == len(nlls)


def test_a_resumed_run_masks_as_it_would_have(
    tiny_model: Path, examples: list[Example], context: MakeContext, tmp_path: Path
):
    more = {"checkpoint_every": 2, "mask_inputs": {"share": 0.5}}
    full = trained(tiny_model, examples, tmp_path / "whole", context("whole"), **more)

    def stop(done: int, total: int, /, **_: float) -> None:
        if done == 5:
            raise KeyboardInterrupt

    broken = context("broken")
    with pytest.raises(KeyboardInterrupt):
        trained(tiny_model, examples, tmp_path / "out", TrainContext(broken.scratch, broken.seed, stop), **more)
    resumed = trained(tiny_model, examples, tmp_path / "out", broken, **more)
    assert dict(resumed.losses) == pytest.approx(dict(full.losses), rel=1e-5)


def test_the_token_is_a_special_one_with_no_meaning_of_its_own(tiny_model: Path):
    chat = chat_of(tiny_model)
    token = mask_token(MaskInputs(), chat)
    assert chat.tokenizer.convert_ids_to_tokens(token) == "<|system|>"
    assert token not in {chat.tokenizer.pad_token_id, *chat.ends, *chat.opening(example("?", "!").prompt)}
    assert mask_token(MaskInputs(token="<|system|>"), chat) == token


def test_a_reserved_token_comes_first(tiny_model: Path):
    chat = chat_of(tiny_model)
    chat.tokenizer.add_special_tokens({"extra_special_tokens": ["<|file|>", "<|reserved_0|>"]})
    assert chat.tokenizer.convert_ids_to_tokens(mask_token(MaskInputs(), chat)) == "<|reserved_0|>"


def test_a_token_that_conversations_have_is_refused_with_those_that_are_free(tiny_model: Path):
    with pytest.raises(RoundFailed, match=r"no special token '<\|end\|>' that is free to mask with; .*<\|system\|>"):
        mask_token(MaskInputs(token="<|end|>"), chat_of(tiny_model))


@pytest.mark.model
def test_the_starter_model_has_a_token_to_mask_with(starter_model: Path):
    chat = chat_of(starter_model)
    assert chat.tokenizer.convert_ids_to_tokens(mask_token(MaskInputs(), chat)) == "<repo_name>"
