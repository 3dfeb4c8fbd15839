"""Weights: an example of weight 2 is the example twice, and a token of weight 0 is context."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, get_scheduler

from selftaught.training.dpo import DPO
from selftaught.training.gradient import Gradient
from selftaught.training.loops.batches import Layout, Row, Tokens, batch, packed, padded, tree
from selftaught.training.loops.readers import LogProbs, Values
from selftaught.training.loops.value import load_value
from selftaught.training.policy_gradient import KL, PolicyGradient
from selftaught.training.schedule import Shape, rate
from selftaught.training.sft import SFT
from selftaught.training.value import ValueMSE
from tests.training.conftest import byte_tokenizer
from tests.training.recorded.cases import write_model


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Any]:
    """A language model and a value model of few weights, in float64."""
    folder = tmp_path_factory.mktemp("models")
    language, value = (write_model(folder / f"{head}", byte_tokenizer(), head) for head in (False, True))
    return {
        False: LogProbs(AutoModelForCausalLM.from_pretrained(language, dtype=torch.float64)),
        True: Values(load_value(value, torch.float64)),
    }


def tokens(text: str, context: int, weights: tuple[float, ...] = ()) -> Tokens:
    learnt = weights or (1.0,) * (len(text) - context)
    return Tokens(tuple(text.encode()), (0.0,) * context + learnt)


SAID = [Row((tokens(text, 2),)) for text in ("12 is it", "12 yes", "7?no")]
PAIRS = [
    Row((tokens(one, 1), tokens(other, 1)), smoothing=smoothing)
    for one, other, smoothing in (("abc", "abde", 0.1), ("xy", "xzz", 0.0), ("qrs", "qst", 0.3))
]
STEPS = [Row((tokens(text, len(text)),), label=label) for text, label in (("abc", 0.9), ("abd", 0.2), ("x", 0.5))]
ROLLOUTS = [
    replace(row, sequences=(replace(one := row.sequences[0], advantages=(advantage,) * len(one.ids)),), label=0.25)
    for row, advantage in zip(SAID, (0.75, -0.25, -0.5), strict=True)
]
CASES: dict[str, tuple[Gradient, list[Row]]] = {
    "sft": (SFT(), SAID),
    **{f"dpo {loss}": (DPO(loss=loss, label_smoothing=0.2), PAIRS) for loss in ("sigmoid", "ipo", "conservative")},
    "value_mse": (ValueMSE(), STEPS),
    **{loss: (PolicyGradient(loss=loss, kl=KL()), ROLLOUTS) for loss in ("reinforce", "clip", "nft")},
    "clip, by tokens": (PolicyGradient(aggregate="token"), ROLLOUTS),
}


def gradient(objective: Gradient, rows: list[Row], readers: dict[bool, Any], layout: Layout = tree) -> torch.Tensor:
    """The mean loss of a batch and its gradient, end to end."""
    values = "values" in objective.needs
    reader = readers[values]
    reader.zero_grad()
    made = batch(rows, layout)
    made.rest.update({name: each.double() for name, each in made.rest.items() if each.is_floating_point()})
    made.rest["reference"] = -(made.inputs["targets"] % 7).double()
    made.rest["behaviour"] = reader(made.inputs).detach() + 0.1 if made.rest["advantages"].any() else torch.zeros(0)
    total, count = objective.compute_loss(made.seen(reader(made.inputs), values))
    (total / count).backward()
    parts = [weight.grad.flatten() for weight in reader.parameters() if weight.grad is not None]
    return torch.cat([(total / count).detach()[None], *parts])


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch):
    """Logits stay in float64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.mark.parametrize("name", CASES)
def test_an_example_of_weight_2_is_the_example_twice(name: str, readers: dict[bool, Any]):
    objective, (first, *others) = CASES[name]
    heavy = gradient(objective, [replace(first, weight=2.0), *others], readers)
    twice = gradient(objective, [first, first, *others], readers)
    torch.testing.assert_close(heavy, twice, rtol=1e-6, atol=1e-7)
    once = gradient(objective, [first, *others], readers)
    assert (heavy - once).abs().max() > 1e-3


@pytest.mark.parametrize("layout", [tree, padded, packed])
def test_a_masked_token_has_no_gradient(layout: Layout, readers: dict[bool, Any]):
    """What predicts it gets none at all, and the loss is that of the others, each times its weight."""
    rows = [Row((tokens("12 is it", 3, (1.0, 0.0, 0.0, 3.0, 1.0)),)), Row((tokens("9 no", 2, (0.0, 2.0)),))]
    moved: list[torch.Tensor] = []
    hook = readers[False].model.model.norm.register_full_backward_hook(lambda _, __, given: moved.append(given[0]))
    found = gradient(SFT(), rows, readers, layout)
    hook.remove()
    assert (moved[0].abs().sum(-1) > 0).sum() == 4
    logprobs = [readers[False](batch([row], padded).inputs) for row in rows]
    weights = [torch.tensor([weight for weight in row.sequences[0].weights if weight]) for row in rows]
    expected = -sum((one * each).sum() for one, each in zip(weights, logprobs, strict=True)) / 7
    assert found[0].item() == pytest.approx(expected.item(), rel=1e-6)


@given(st.sampled_from(["linear", "cosine", "constant_with_warmup"]), st.integers(1, 40), st.floats(0, 0.99))
def test_rates_are_those_of_transformers(shape: Shape, steps: int, warmup: float):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs: Any = get_scheduler(shape, optimizer, -int(-steps * warmup // 1), steps)
    expected = [theirs.lr_lambdas[0](step) for step in range(steps)]
    assert [rate(shape, step, steps, warmup) for step in range(steps)] == pytest.approx(expected)
