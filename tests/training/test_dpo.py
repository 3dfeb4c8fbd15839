"""DPO: the losses are TRL's and the papers', only what comes after the shared prefix counts, preferences are learnt."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.errors import RoundFailed
from selftaught.records import Example, Prefer, Segment
from selftaught.training.dpo import DPO, pair_losses
from selftaught.training.loops.batches import batch, tree
from selftaught.training.loops.dpo import pair, run
from selftaught.training.loops.readers import LogProbs
from selftaught.training.rendering import chat_of
from selftaught.training.tokens import TokenBatch
from tests.examples import asked, imitated, preferred
from tests.training.templates import CUTS, chat_with

ratio = st.floats(-50, 50)


def of(question, chosen, rejected, **more):
    return preferred(question, chosen, rejected, **more)


PAIRS = [of(f"{i} + {i}?", f"It is {2 * i}.", f"It is {2 * i + 1}, I think.") for i in range(6)]


def losses(config, chosen, rejected, smoothing=0.0, lengths=(3, 5)):
    return pair_losses(
        config, torch.tensor([chosen, rejected]), torch.tensor(lengths), torch.tensor([smoothing])
    ).item()


@given(ratio, ratio, st.floats(0.01, 0.49))
def test_the_conservative_loss_is_the_smoothed_formula_with_the_pairs_own_smoothing(chosen, rejected, own):
    h = 0.1 * (chosen - rejected)
    expected = -(1 - own) * -math.log1p(math.exp(-h)) - own * -math.log1p(math.exp(h))
    config = DPO(loss="conservative", label_smoothing=0.3)
    assert losses(config, chosen, rejected, own) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(ratio, ratio)
def test_a_pair_without_smoothing_gets_that_of_the_recipe(chosen, rejected):
    h = 0.1 * (chosen - rejected)
    expected = 0.7 * math.log1p(math.exp(-h)) + 0.3 * math.log1p(math.exp(h))
    config = DPO(loss="conservative", label_smoothing=0.3)
    assert losses(config, chosen, rejected) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(ratio, ratio, st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_the_hinge_loss_is_its_formula_also_per_token(chosen, rejected, one, other, normalised):
    h = chosen / one - rejected / other if normalised else chosen - rejected
    config = DPO(loss="hinge", length_normalised=normalised)
    assert exactly(config, chosen, rejected, (one, other)) == pytest.approx(max(0.0, 1 - 0.1 * h), rel=1e-12)


@given(ratio, ratio, st.integers(1, 9), st.integers(1, 9), st.sampled_from(["sigmoid", "conservative"]))
def test_per_token_each_loss_is_that_of_the_ratios_by_length(chosen, rejected, one, other, loss):
    config = DPO(loss=loss, label_smoothing=0.2)
    normalised = config.model_copy(update={"length_normalised": True})
    expected = exactly(config, chosen / one, rejected / other, (1, 1))
    assert exactly(normalised, chosen, rejected, (one, other)) == pytest.approx(expected, rel=1e-12)


def exactly(config, chosen, rejected, lengths):
    """In float64."""
    ratios = torch.tensor([chosen, rejected], dtype=torch.float64)
    return pair_losses(config, ratios, torch.tensor(lengths), torch.zeros(1, dtype=torch.float64)).item()


def seen(logprobs, reference, owners):
    """Two pairs of weights 1 and 2, of tokens with these log-probabilities."""
    numbers = torch.tensor([1.0, 2.0], dtype=torch.float64)
    empty = numbers.new_zeros(0)
    return TokenBatch(
        logprobs=torch.tensor(logprobs, dtype=torch.float64),
        reference=torch.tensor(reference, dtype=torch.float64),
        behaviour=empty,
        advantages=empty,
        values=empty,
        weights=empty,
        owners=torch.tensor(owners),
        examples=numbers,
        labels=torch.zeros(2, dtype=torch.float64),
        smoothing=torch.zeros(2, dtype=torch.float64),
        sequences=4,
    )


OWNERS = [0, 0, 0, 1, 2, 2, 3, 3, 3]  # the chosen sides of both pairs, then the rejected ones
logs = st.lists(st.floats(-9, -0.01), min_size=9, max_size=9)


@given(logs, logs, st.floats(0.01, 2))
def test_nll_adds_the_chosen_sides_mean_to_each_pair_by_its_weight(logprobs, reference, weight):
    tokens = seen(logprobs, reference, OWNERS)
    plain, count = DPO().compute_loss(tokens)
    total, same = DPO(nll=weight).compute_loss(tokens)
    expected = -weight * (1 * sum(logprobs[:3]) / 3 + 2 * logprobs[3] / 1)
    assert (total - plain).item() == pytest.approx(expected, rel=1e-9)
    assert count == same == 3


@given(logs, logs)
def test_without_nll_the_loss_is_the_pairs_own_to_the_bit(logprobs, reference):
    tokens = seen(logprobs, reference, OWNERS)
    ratios = tokens.summed(tokens.logprobs - tokens.reference)
    each = pair_losses(DPO(), ratios, torch.tensor([3, 1, 2, 3]), tokens.smoothing)
    assert DPO(nll=0.0).compute_loss(tokens).total.item() == (tokens.examples * each).sum().item()


@pytest.mark.parametrize(
    ("loss", "config"),
    [
        ("sigmoid", DPO()),
        ("ipo", DPO(loss="ipo")),
        ("hinge", DPO(loss="hinge")),
        ("sigmoid_norm", DPO(length_normalised=True)),
    ],
)
def test_losses_and_gradients_are_those_of_trl(loss, config, tiny_model, tmp_path):
    """One batch through TRL's own DPOTrainer, from text, and through ours."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = [
        {
            "prompt": [m.to_row() for m in p.prompt],
            "chosen": [p.completion[0].to_row()],
            "rejected": [p.rejected[0].to_row()],
        }
        for p in PAIRS
    ]
    args = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "beta": 0.1, "report_to": "none"}
    start, ours = (AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32) for _ in range(2))
    theirs = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32),
        ref_model=AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32),
        args=DPOConfig(**args, loss_type=[loss], gradient_checkpointing=False),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    with torch.no_grad():
        for model in (ours, theirs.model):  # away from the reference, where the loss says nothing
            for weight in model.parameters():
                weight.add_(0.1 * torch.sin(torch.arange(weight.numel()).view(weight.shape) * 1.0))
    pairs = batch([pair(p, chat_of(tiny_model)) for p in PAIRS], tree)
    pairs.rest["reference"] = LogProbs(start)(pairs.inputs).detach()
    total, count = config.compute_loss(pairs.seen(LogProbs(ours)(pairs.inputs), values=False))
    (total / count).backward()
    rows = theirs.data_collator([theirs.train_dataset[i] for i in range(len(PAIRS))])
    expected = theirs.compute_loss(theirs.model, rows, num_items_in_batch=len(PAIRS))
    expected.backward()
    assert (total / count).item() == pytest.approx(expected.item(), rel=1e-4)
    gradients = (model.model.layers[0].mlp.up_proj.weight.grad for model in (ours, theirs.model))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_only_the_tokens_after_the_shared_prefix_count():
    prompt = asked("?", token_ids=(1, 2, 3))
    sides = ((prompt, Segment.answer("ab", (7,))), (prompt, Segment.answer("ac", (8, 9))))
    example = Example(sequences=sides, target=Prefer(), task="t", rollout="r")
    made = batch([pair(example, None)], tree)
    assert made.inputs["targets"].tolist() == [7, 8, 9]
    assert made.rest["owners"].tolist() == [0, 1, 1]
    flat = made.inputs["input_ids"].flatten()
    assert [flat[i].item() for i in made.inputs["sources"].tolist()] == [3, 3, 8]
    assert flat.numel() == 6  # the prompt stands there once


@pytest.mark.parametrize("long", ["chosen", "rejected"])
def test_a_pair_whose_longer_side_is_too_long_is_left_out(long, tiny_model, context, tmp_path):
    sides = {"chosen": "yes", "rejected": "no"} | {long: "because " * 20}
    config = DPO(epochs=1, max_length=80, precision="fp32")
    result = run(config, tiny_model, [*PAIRS, of("?", **sides)], tmp_path / "out", context())
    assert result.metrics["left_out"] == 1


def test_a_pair_that_cannot_be_said_is_left_out(tiny_model, context, tmp_path):
    config = DPO(epochs=1, precision="fp32")
    result = run(config, tiny_model, [of("?", "yes", "no<|end|>"), *PAIRS], tmp_path / "out", context())
    assert result.metrics["left_out"] == 1


def test_a_pair_of_texts_is_whole_behind_the_served_opening(tiny_model):
    """A template would cut both sides at </think>, and leave a pair of nothing."""
    chat = chat_with(CUTS)
    made = pair(of("?", "so\n</think>\n\n7", "so\n</think>\n\n8"), chat)
    for side, answer in zip(made.sequences, "78", strict=True):
        begin = side.counted()[0]
        assert chat.tokenizer.decode(side.ids[:begin]).endswith("assistant\n<think>\n")
        assert chat.tokenizer.decode(side.ids[begin:]) == f"so\n</think>\n\n{answer}<|im_end|>"


def test_training_prefers_what_was_chosen_and_says_what_it_did(tiny_model, context, tmp_path):
    found = context()
    config = DPO(epochs=6, learning_rate=3e-4, batch_size=2, precision="fp32")
    result = run(config, tiny_model, PAIRS, tmp_path / "out", found)
    assert result.losses[0][1] == pytest.approx(math.log(2), abs=1e-3)  # the reference is where it starts
    assert sum(loss for _, loss in result.losses[-3:]) / 3 < 0.6
    assert (result.steps, len(result.losses)) == (18, 18)
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_without_pairs_there_is_nothing_to_train_on(tiny_model, context, tmp_path):
    example = imitated("?", "!")
    with pytest.raises(RoundFailed, match="dpo: no examples to train on"):
        DPO().train(tiny_model, [example], tmp_path / "out", context())
