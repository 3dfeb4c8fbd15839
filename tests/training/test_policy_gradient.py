"""Policy gradient: the losses are TRL's and the papers', and what was sampled is learnt and nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean, pstdev
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.errors import RoundFailed
from selftaught.curation.advantages import Advantages, reinforced
from selftaught.curation.base import PerGroupCurator
from selftaught.records import Example, Group, Reinforce, Segment
from selftaught.training.loops.batches import batch, padded, tree
from selftaught.training.loops.policy_gradient import rows_of, run
from selftaught.training.loops.readers import LogProbs
from selftaught.training.policy_gradient import KL, PolicyGradient, k3, per_sequence
from selftaught.training.rendering import chat_of
from selftaught.training.tokens import Loss, TokenBatch
from tests.curation.test_base import group
from tests.examples import asked, imitated
from tests.rounds import REPOSITORY
from tests.training.conftest import byte_tokenizer
from tests.training.templates import CUTS, chat_with

LOSSES = ("reinforce", "clip", "nft")
AGGREGATES = ("sequence", "token")


def ids_of(text: str) -> tuple[int, ...]:
    return tuple(byte_tokenizer()(text, add_special_tokens=False).input_ids)


def said(text: str, *advantages: float, end: str = "<|end|>", **more: Any) -> Segment:
    """`text` and an end, as an engine gave it."""
    return Segment.answer(text, ids_of(text + end)).model_copy(update={"advantages": advantages} | more)


def rollout_of(*sequence: Segment) -> Example:
    return Example(sequences=(sequence,), target=Reinforce(mean_reward=0.5), task="t", rollout="r")


def rollout(question: str, text: str, advantage: float, **more: Any) -> Example:
    return rollout_of(asked(question), said(text, advantage, **more))


def tokens_of(logprobs: torch.Tensor, behaviour: torch.Tensor, owners: list[int], advantages: list[float], rate: float):
    """A batch of sequences with an advantage each."""
    own = torch.tensor(owners)
    count = len(advantages)
    return TokenBatch(
        logprobs=logprobs,
        behaviour=behaviour,
        reference=behaviour - 0.3,
        values=torch.zeros(0),
        advantages=torch.tensor(advantages, dtype=torch.float64)[own],
        weights=torch.ones(len(own), dtype=torch.float64),
        owners=own,
        examples=torch.ones(count, dtype=torch.float64),
        labels=torch.full((count,), rate, dtype=torch.float64),
        smoothing=torch.zeros(count),
        sequences=count,
    )


def mean_loss(config: PolicyGradient, tokens: TokenBatch) -> torch.Tensor:
    total, count = config.compute_loss(tokens)
    return total / count


OWNERS = [0, 0, 0, 1, 1, 2]
logprobs = st.lists(st.floats(-4, -0.01), min_size=6, max_size=6).map(lambda found: torch.tensor(found).double())
rates = st.sampled_from([0.125, 0.25, 0.5, 0.75])


@given(logprobs, rates, st.booleans(), st.sampled_from(["sequence", "token"]))
def test_on_policy_all_three_losses_have_the_gradient_of_grpo(found: torch.Tensor, rate: float, std: bool, how: Any):
    scale = (rate * (1 - rate)) ** 0.5 if std else 1.0
    advantages = [(1 - rate) / scale, -rate / scale, -rate / scale]
    gradients: list[torch.Tensor] = []
    for loss in LOSSES:
        leaf = found.clone().requires_grad_()
        tokens = tokens_of(leaf, found, OWNERS, advantages, rate)
        mean_loss(PolicyGradient(loss=loss, aggregate=how), tokens).backward()
        gradients.append(leaf.grad)
    lengths = {"sequence": [3, 3, 3, 2, 2, 1], "token": [2] * 6}[how]
    expected = [-advantages[own] / length / 3 for own, length in zip(OWNERS, lengths, strict=True)]
    for gradient in gradients:
        torch.testing.assert_close(gradient, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kl", [None, KL(weight=0.1)])
def test_gradients_are_those_of_the_values(loss: Any, kl: KL | None):
    """By finite differences in float64, off the policy that sampled; no point lies on a kink."""
    config = PolicyGradient(loss=loss, kl=kl, clip_low=0.25, clip_high=0.35)
    old = torch.tensor([-1.0, -2.0, -0.5, -1.5, -0.7, -0.2]).double()
    leaf = (old + torch.tensor([0.1, 0.5, -0.6, 0.2, -0.5, 0.1]).double()).requires_grad_()
    torch.autograd.gradcheck(lambda each: mean_loss(config, tokens_of(each, old, OWNERS, [1.0, -0.5, 0.3], 0.4)), leaf)


def test_a_clipped_token_teaches_no_more_on_the_side_that_it_is_clipped_on():
    old = torch.full((4,), -1.0).double()
    leaf = (old + torch.tensor([0.5, 0.5, -0.5, -0.5]).double()).requires_grad_()
    tokens = tokens_of(leaf, old, [0, 1, 2, 3], [1.0, -1.0, 1.0, -1.0], 0.5)
    mean_loss(PolicyGradient(clip_low=0.2, clip_high=0.2), tokens).backward()
    assert (leaf.grad != 0).tolist() == [False, True, True, False]


@given(st.floats(-3, 3))
def test_the_kl_estimate_is_schulmans(difference: float):
    d = torch.tensor(difference, dtype=torch.float64)
    assert k3(d).item() == pytest.approx((d.exp() - 1 - d).item())
    assert k3(d).item() >= 0


def test_nft_is_finite_where_the_negative_policy_is_used_up():
    """pi / pi_old is above 1 / r, so the implicit negative policy has nothing left: the floor holds the value."""
    old = torch.tensor([-3.0]).double()
    leaf = (old + 2.5).requires_grad_()
    loss = mean_loss(PolicyGradient(loss="nft"), tokens_of(leaf, old, [0], [-1.0], 0.5))
    loss.backward()
    assert torch.isfinite(loss)
    assert leaf.grad.item() > 0  # and still makes it less likely


@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize(("aggregate", "theirs"), [("sequence", "grpo"), ("token", "bnpo")])
def test_losses_and_gradients_are_those_of_trl(beta: float, aggregate: Any, theirs: str, tiny_model, tmp_path):
    """One batch of token ids through TRL's own GRPOTrainer, off the policy that sampled it, and through ours."""
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    model, other = (AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32) for _ in range(2))
    options: dict[str, Any] = {"use_cpu": True, "bf16": False, "report_to": "none", "use_bias_correction_kl": False}
    trainer = GRPOTrainer(
        model=other,
        reward_funcs=lambda completions, **_: [0.0 for _ in completions],
        args=GRPOConfig(str(tmp_path), loss_type=theirs, beta=beta, num_generations=2, epsilon_high=0.3, **options),
        train_dataset=trl_rows(),
        processing_class=byte_tokenizer(),
    )
    sampled = [rollout("1 + 1?", text, by) for text, by in (("2!", 1.2), ("three", -0.4), ("It is 4", -0.8))]
    chat = chat_of(tiny_model)
    config = PolicyGradient(aggregate=aggregate, clip_high=0.3, kl=KL(weight=beta) if beta else None)
    rows = [row for each in sampled for row in rows_of(config, each, chat)]
    made = batch(rows, tree)
    before = LogProbs(model)(made.inputs).detach()
    made.rest.update(behaviour=before + torch.sin(torch.arange(len(before))) / 3, reference=before - 0.2)
    total, count = config.compute_loss(made.seen(LogProbs(model)(made.inputs), values=False))
    (total / count).backward()
    expected = trainer._compute_loss(trainer.model.eval(), trl_inputs(rows, made.rest))
    expected.backward()
    assert (total / count).item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
    gradients = (each.model.layers[0].mlp.up_proj.weight.grad for each in (model, trainer.model))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def trl_rows() -> Any:
    from datasets import Dataset

    return Dataset.from_list([{"prompt": "1 + 1?"}] * 4)


def trl_inputs(rows: list[Any], rest: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Our rows as GRPOTrainer has them: prompts, and completions padded on the right."""
    counts = [len(row.sequences[0].counted()) for row in rows]
    prompts = [row.sequences[0].ids[:-count] for row, count in zip(rows, counts, strict=True)]

    def each(values: torch.Tensor) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(values.split(counts)), batch_first=True)

    given = [row.sequences[0].ids[-count:] for row, count in zip(rows, counts, strict=True)]
    completions = torch.tensor([token for each in given for token in each])
    mask = each(torch.ones(sum(counts), dtype=torch.long))
    return {
        "prompt_ids": torch.tensor(prompts),
        "prompt_mask": torch.ones(len(prompts), len(prompts[0]), dtype=torch.long),
        "completion_ids": each(completions),
        "completion_mask": mask,
        "advantages": torch.tensor([row.sequences[0].advantages[-1] for row in rows]),
        "old_per_token_logps": each(rest["behaviour"]),
        "ref_per_token_logps": each(rest["reference"]),
        "num_items_in_batch": mask.sum(),
    }


def learnt(example: Example, chat: Any) -> list[tuple[int, float]]:
    """The tokens of the only row that count, with their advantages."""
    (row,) = rows_of(PolicyGradient(), example, chat)
    (tokens,) = row.sequences
    return [(tokens.ids[at], tokens.advantages[at]) for at in tokens.counted()]


def test_a_rollout_that_was_cut_off_is_learnt_without_an_end(tiny_model):
    cut = rollout("?", "It is", -0.5, end="")
    assert learnt(cut, chat_of(tiny_model)) == [(token, -0.5) for token in ids_of("It is")]


def test_only_what_the_model_said_is_learnt_of_several_turns(tiny_model):
    example = rollout_of(asked("?"), said("a", 1.0, 2.0), asked("again"), said("b", -1.0))
    a, b, end = (ids_of(text)[0] for text in ("a", "b", "<|end|>"))
    assert learnt(example, chat_of(tiny_model)) == [(a, 1.0), (end, 2.0), (b, -1.0), (end, -1.0)]


def test_a_text_without_its_tokens_is_tokenized_and_ends(tiny_model):
    example = rollout_of(asked("?"), said("7", 2.0, token_ids=()))
    assert learnt(example, chat_of(tiny_model)) == [(token, 2.0) for token in ids_of("7<|end|>")]


def test_turns_that_a_template_shows_otherwise_stand_in_rows_of_their_own():
    turns = [said(text, 1.0, token_ids=()) for text in ("so\n</think>\n\n7", "8")]
    example = rollout_of(asked("?"), turns[0], asked("again"), turns[1])
    by_sequence, by_token = (rows_of(PolicyGradient(aggregate=each), example, chat_with(CUTS)) for each in AGGREGATES)
    assert len(by_sequence) == len(by_token) == 2
    counted = [len(row.sequences[0].counted()) for row in by_sequence]
    assert [row.weight for row in by_sequence] == [count / sum(counted) for count in counted]  # one rollout, not two
    assert [row.weight for row in by_token] == [1.0, 1.0]


@pytest.mark.parametrize("layout", [tree, padded])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_masked_token_has_no_gradient(layout: Any, loss: Any, tiny_model):
    """Neither has one whose advantage is 0."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    masked = rollout_of(asked("?"), said("abc", 0.5, 9.0, -0.5, 0.0, weights=(1.0, 0.0, 1.0, 1.0)))
    moved: list[torch.Tensor] = []
    model.model.norm.register_full_backward_hook(lambda _, __, given: moved.append(given[0]))
    made = batch(rows_of(PolicyGradient(), masked, chat_of(tiny_model)), layout)
    seen = made.seen(LogProbs(model)(made.inputs), values=False)
    PolicyGradient(loss=loss).compute_loss(replace(seen, behaviour=seen.logprobs.detach())).total.backward()
    assert (moved[0].abs().sum(-1) > 0).sum() == 2


def test_what_the_engine_said_of_its_tokens_is_the_policy_that_sampled(tiny_model):
    known = rollout("?", "7", 1.0, logprobs=(-0.5, -0.25))
    (row,) = rows_of(PolicyGradient(old="sampled"), known, chat_of(tiny_model))
    assert row.behaviour[0].tolist() == [-0.5, -0.25]
    with pytest.raises(RoundFailed, match="old: recomputed"):
        rows_of(PolicyGradient(old="sampled"), rollout("?", "7", 1.0), chat_of(tiny_model))


def test_a_turn_whose_log_probabilities_are_not_known_is_not_taken_for_certain(tiny_model):
    """Beside one whose are."""
    first, then = said("7", 1.0, logprobs=(-0.5, -0.25)), said("8", 1.0)
    with pytest.raises(RoundFailed, match="no log-probabilities of 2 of the 4 tokens"):
        rows_of(PolicyGradient(old="sampled"), rollout_of(asked("?"), first, asked("??"), then), chat_of(tiny_model))


TWO = [rollout(f"{i}?", text, advantage) for i in range(6) for text, advantage in ((f"yes {i}", 1.0), ("no, no", -1.0))]


@pytest.mark.parametrize("loss", LOSSES)
def test_training_makes_what_was_better_likelier_and_what_was_worse_less_likely(
    loss: Any, tiny_model, context, tmp_path
):
    from transformers import AutoModelForCausalLM

    config = PolicyGradient(loss=loss, epochs=3, learning_rate=3e-4, batch_size=4, precision="fp32", kl=KL(weight=0.01))
    run(config, tiny_model, TWO, tmp_path / "out", context())
    chat = chat_of(tiny_model)
    made = batch([row for each in TWO for row in rows_of(config, each, chat)], padded)
    before, after = (
        LogProbs(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))(made.inputs).detach()
        for folder in (tiny_model, tmp_path / "out")
    )
    better = made.rest["advantages"] > 0
    assert (after - before)[better].mean() > 0.05
    assert (after - before)[~better].mean() < -0.05


GUIDE = (REPOSITORY / "docs" / "recipes.md").read_text()
WRITTEN = GUIDE[GUIDE.index("class MyGRPO") : GUIDE.index("```", GUIDE.index("class MyGRPO"))]


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The blocks of the guide."""
    names: dict[str, Any] = {"Iterator": Iterator, "pstdev": pstdev, "fmean": fmean, "__name__": __name__}
    blocks = (PolicyGradient, KL, k3, per_sequence, TokenBatch, Loss, PerGroupCurator, Group, Example, reinforced)
    exec(WRITTEN, names | {block.__name__: block for block in blocks}, names)
    return names


@given(logprobs, logprobs)
def test_the_guides_grpo_is_ours(written: dict[str, Any], found: torch.Tensor, old: torch.Tensor):
    tokens = tokens_of(found, old, OWNERS, [1.0, -0.5, -0.5], 0.5)
    ours = mean_loss(PolicyGradient(kl=KL()), tokens)
    assert mean_loss(written["MyGRPO"](), tokens).item() == pytest.approx(ours.item())


def test_the_guides_advantages_are_ours(written: dict[str, Any]):
    groups = [group(f"q{i}", ("a", True), ("b", False), ("c", False)) for i in range(6)]
    theirs, ours = (list(each.curate(groups, 0)) for each in (written["MyAdvantages"](), Advantages(scale="std")))
    for one, other in zip(theirs, ours, strict=True):
        assert one.completion == other.completion
        assert one.sequences[0][1].advantages == pytest.approx(other.sequences[0][1].advantages, rel=1e-5)


def test_they_are_short():
    objective, curator = WRITTEN.split("\n\n\n")
    assert len(objective.splitlines()) <= 15
    assert len(curator.splitlines()) <= 30


def test_without_rollouts_there_is_nothing_to_train_on(tiny_model, context, tmp_path):
    with pytest.raises(RoundFailed, match="policy_gradient: no examples to train on"):
        PolicyGradient().train(tiny_model, [imitated("?", "!")], tmp_path / "out", context())
