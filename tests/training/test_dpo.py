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


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_losses_and_gradients_are_those_of_trl(loss, tiny_model, tmp_path):
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
    total, count = DPO(loss=loss).compute_loss(pairs.seen(LogProbs(ours)(pairs.inputs), values=False))
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
