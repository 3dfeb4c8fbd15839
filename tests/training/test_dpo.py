"""DPO: the losses are TRL's and the papers', only what comes after the shared prefix counts, preferences are learnt."""

import math
from statistics import fmean
from types import SimpleNamespace

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.core.errors import RoundFailed
from selftaught.records import Example, Prefer, Segment
from selftaught.training.dpo import DPO, odds_losses, pair_losses
from selftaught.training.loops.batches import batch, tree
from selftaught.training.loops.common import built
from selftaught.training.loops.dpo import pair, run
from selftaught.training.loops.readers import LogProbs
from selftaught.training.policy_gradient import PolicyGradient
from selftaught.training.rendering import chat_of
from selftaught.training.sft import SFT
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


@given(ratio, ratio, st.floats(1e-3, 0.49), st.floats(0.01, 0.99) | st.just(0.0))
def test_the_exo_loss_is_the_divergence_of_the_models_preference_from_the_smoothed_one(chosen, rejected, given, own):
    h, e = 0.1 * (chosen - rejected), own or given
    q, p = (sigmoid(h), sigmoid(-h)), (1 - e, e)
    expected = sum(a * (math.log(a) - math.log(b)) for a, b in zip(q, p, strict=True))
    config = DPO(loss="exo", label_smoothing=given)
    assert exactly(config, chosen, rejected, (3, 5), own) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.floats(1e-3, 0.49))
def test_the_exo_loss_is_nothing_where_the_model_prefers_as_smoothed(given):
    apart = math.log((1 - given) / given) / 0.1
    assert exactly(DPO(loss="exo", label_smoothing=given), apart, 0.0, (1, 1)) == pytest.approx(0, abs=1e-12)


@given(ratio, ratio, st.floats(0.01, 0.99), st.sampled_from(["conservative", "exo"]))
def test_a_pair_the_other_way_round_has_the_same_loss_with_the_rest_of_its_smoothing(chosen, rejected, own, loss):
    config = DPO(loss=loss, label_smoothing=0.2)
    mirrored = exactly(config, rejected, chosen, (1, 1), 1 - own)
    assert exactly(config, chosen, rejected, (1, 1), own) == pytest.approx(mirrored, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("sigmoid", math.log(2)),
        ("hinge", 1.0),
        ("ipo", 25.0),
        ("conservative", math.log(2)),
        ("exo", -math.log(2) - (math.log(0.9) + math.log(0.1)) / 2),
    ],
)
def test_where_the_model_is_its_reference_each_loss_is_that_of_no_preference(loss, expected):
    config = DPO(loss=loss, label_smoothing=0.1)
    assert exactly(config, 0.0, 0.0, (2, 7)) == pytest.approx(expected, rel=1e-12)


def test_exo_has_to_be_smoothed():
    with pytest.raises(ValidationError, match="loss: exo is infinite with label_smoothing: 0"):
        DPO(loss="exo")


likelihood = st.floats(-20, -0.01)


@given(likelihood, likelihood, st.floats(0.01, 2))
def test_the_orpo_loss_is_its_formula(chosen, rejected, beta):
    """By probabilities, as the paper's equations 3 to 7 have it."""
    odds = [math.exp(side) / (1 - math.exp(side)) for side in (chosen, rejected)]
    expected = -chosen + beta * math.log(1 + odds[1] / odds[0])
    each = odds_losses(beta, torch.tensor([chosen, rejected], dtype=torch.float64))
    assert each.item() == pytest.approx(expected, rel=1e-9)


def test_orpo_is_finite_where_the_model_is_certain():
    sides = torch.tensor([0.0, 0.0], requires_grad=True)
    odds_losses(0.1, sides).sum().backward()
    assert odds_losses(0.1, sides).item() == pytest.approx(0.1 * math.log(2))
    assert torch.isfinite(sides.grad).all()


@given(likelihood, likelihood)
def test_the_odds_ratio_of_orpo_is_that_of_trl(chosen, rejected):
    from trl.experimental.orpo import ORPOTrainer

    sides = torch.tensor([[chosen], [rejected]])
    settings = SimpleNamespace(beta=0.1, accelerator=SimpleNamespace(device="cpu"))
    theirs = ORPOTrainer.odds_ratio_loss(settings, *sides)[0]
    assert (odds_losses(0.1, sides.flatten()) + chosen).item() == pytest.approx(-theirs.item(), rel=1e-4, abs=1e-5)


@given(st.lists(st.floats(-9, -0.01), min_size=9, max_size=9))
def test_orpo_reads_no_reference_and_is_per_token(logprobs):
    tokens = seen(logprobs, [], OWNERS)
    sides = torch.tensor([fmean(logprobs[at:to]) for at, to in ((0, 3), (3, 4), (4, 6), (6, 9))], dtype=torch.float64)
    config = DPO(loss="orpo", beta=0.3)
    total, count = config.compute_loss(tokens)
    assert total.item() == pytest.approx((tokens.examples * odds_losses(0.3, sides)).sum().item(), rel=1e-9)
    assert count == 3 and config.needs == frozenset() and DPO().needs == {"reference"}


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


def exactly(config, chosen, rejected, lengths, smoothing=0.0):
    """In float64."""
    ratios = torch.tensor([chosen, rejected], dtype=torch.float64)
    return pair_losses(config, ratios, torch.tensor(lengths), torch.tensor([smoothing], dtype=torch.float64)).item()


def sigmoid(number):
    return 1 / (1 + math.exp(-number))


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
        ("exo_pair", DPO(loss="exo", label_smoothing=0.01)),
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
        args=DPOConfig(**args, loss_type=[loss], label_smoothing=config.label_smoothing, gradient_checkpointing=False),
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
    assert result.metrics["examples.left_out"] == 1


def test_a_pair_that_cannot_be_said_is_left_out(tiny_model, context, tmp_path):
    config = DPO(epochs=1, precision="fp32")
    result = run(config, tiny_model, [of("?", "yes", "no<|end|>"), *PAIRS], tmp_path / "out", context())
    assert result.metrics["examples.left_out"] == 1


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


def test_orpo_trains_without_a_reference(tiny_model, context, tmp_path):
    config = DPO(loss="orpo", epochs=6, learning_rate=3e-4, batch_size=2, precision="fp32")
    result = run(config, tiny_model, PAIRS, tmp_path / "out", context())
    assert result.losses[-1][1] < 0.8 * result.losses[0][1]


def test_exo_refuses_a_pair_that_is_the_wrong_way_round_for_certain(tiny_model, context, tmp_path):
    config = DPO(loss="exo", label_smoothing=0.01)
    with pytest.raises(RoundFailed, match="dpo: a pair of task 7 has smoothing 1, at which loss: exo is infinite"):
        run(config, tiny_model, [preferred("?", "a", "b", 1.0, task="7")], tmp_path / "out", context())


def test_a_side_of_which_nothing_counts_makes_no_pair(tiny_model):
    (asked, chosen), other = preferred("?", "a", "b").sequences
    silent = Example(
        sequences=((asked, chosen.model_copy(update={"weights": (0.0,)})), other),
        target=Prefer(),
        task="t",
        rollout="r",
    )
    assert pair(silent, chat_of(tiny_model)) is None


@pytest.mark.parametrize("objective", [DPO(loss="sigmoid"), PolicyGradient()])
def test_a_model_with_dropout_is_compared_without_it(objective, tmp_path):
    config = transformers.OPTConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, ffn_dim=64, word_embed_proj_dim=32
    )
    transformers.OPTForCausalLM(config).save_pretrained(tmp_path / "opt")
    ids = torch.tensor([[1, 5, 6, 7]])

    def varies(objective):
        model = built(tmp_path / "opt", objective).train()
        return not torch.equal(model(ids).logits, model(ids).logits)

    assert config.dropout > 0 and varies(SFT())
    assert not varies(objective)


def test_without_pairs_there_is_nothing_to_train_on(tiny_model, context, tmp_path):
    example = imitated("?", "!")
    with pytest.raises(RoundFailed, match="dpo: no examples to train on"):
        DPO().train(tiny_model, [example], tmp_path / "out", context())
