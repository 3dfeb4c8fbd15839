"""What every objective has to hold to: finite losses and gradients, and none of what does not count.

Its loss is tried on a few tokens with gradients of their own, and its training on a model of random weights that is
made for it. torch and transformers are needed.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from selftaught.blocks import Objective, TrainContext
from selftaught.core.errors import BadInput
from selftaught.records import Example, Imitate, Prefer, Regress, Reinforce, Segment, Task
from selftaught.state.weights import check_model, model_digest
from selftaught.testing.rows import wrong
from selftaught.training.gradient import Gradient
from selftaught.training.tokens import Loss, TokenBatch
from selftaught.verification.gold import stating

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES, LENGTH = 4, 3
"""Examples of the tokens that a loss is tried on, and tokens of each of their sequences."""


def check_objective(objective: Objective, tasks: Sequence[Task]) -> Iterator[str]:
    """What `objective` does that none may, a sentence each. Raises what its training raises."""
    if isinstance(objective, Gradient):
        yield from loss_findings(objective)
    with TemporaryDirectory() as folder:
        yield from _training(objective, tasks, Path(folder))


# The loss -------------------------------------------------------------------------------------------------------------


def loss_findings(objective: Gradient) -> Iterator[str]:
    """What is wrong with the loss of `objective`, a sentence each, tried on a few tokens."""
    tokens = _tokens(objective)
    (total, items), gradient = _computed(objective, tokens)
    if not all(map(math.isfinite, (total, items, *gradient))):
        yield f"a loss of {total:g} over {items:g} items, or its gradient, is not finite"
    if not any(gradient):
        yield "the loss has no gradient: nothing is learnt"
    first = replace(tokens, examples=_without_first(tokens.examples), weights=_without_first_example(tokens))
    masked = _computed(objective, first)[1]
    if any(masked[at] for at in _of_first_example(objective, tokens)):
        yield "an example of weight 0 has a gradient"
    idle = replace(tokens, examples=tokens.examples * 0, weights=tokens.weights * 0)
    if any(_computed(objective, idle)[0]):
        yield "a batch in which nothing counts has a loss, or items"


def _computed(objective: Gradient, tokens: TokenBatch) -> tuple[tuple[float, float], list[float]]:
    """The loss, its items, and its gradient for what was read of the model."""
    of_values = "values" in objective.needs
    read = (tokens.values if of_values else tokens.logprobs).clone().requires_grad_()
    seen = replace(tokens, values=read) if of_values else replace(tokens, logprobs=read)
    loss: Loss = objective.compute_loss(seen)
    if loss.total.requires_grad:
        cast(Any, loss.total).backward()
    gradient = [0.0] * len(read) if read.grad is None else list(map(float, cast(Any, read.grad)))
    return (float(loss.total.detach()), float(loss.items)), gradient


def _tokens(objective: Gradient) -> TokenBatch:
    """Sequences of tokens with probabilities that differ, two of an example where it is a pair; all count."""
    import torch

    sides = 2 if objective.target == "prefer" else 1
    sequences = EXAMPLES * sides
    count = sequences * LENGTH
    drawn = torch.Generator().manual_seed(0)
    owners = torch.arange(sequences).repeat_interleave(LENGTH)
    logprobs, reference, behaviour = (torch.rand(count, generator=drawn) * -2 - 0.1 for _ in range(3))
    return TokenBatch(
        logprobs=logprobs,
        reference=reference,
        behaviour=behaviour,
        advantages=torch.tensor([1.0, -1.0]).repeat(EXAMPLES)[owners % (2 * EXAMPLES)],
        values=torch.rand(EXAMPLES, generator=drawn),
        weights=torch.ones(count),
        owners=owners,
        examples=torch.ones(EXAMPLES),
        labels=torch.full((EXAMPLES,), 0.5),
        smoothing=torch.zeros(EXAMPLES),
        sequences=sequences,
    )


def _without_first(each: "Tensor") -> "Tensor":
    import torch

    return torch.cat([torch.zeros(1), each[1:]])


def _without_first_example(tokens: TokenBatch) -> "Tensor":
    """The tokens' weights, 0 for those of the first example."""
    return tokens.weights * (tokens.owners % EXAMPLES != 0)


def _of_first_example(objective: Gradient, tokens: TokenBatch) -> list[int]:
    """Where what was read of the first example stands."""
    if "values" in objective.needs:
        return [0]
    return [at for at, owner in enumerate(map(int, cast(Any, tokens.owners))) if owner % EXAMPLES == 0]


# The training ---------------------------------------------------------------------------------------------------------


def _training(objective: Objective, tasks: Sequence[Task], folder: Path) -> Iterator[str]:
    model, out = _model(folder / "model"), folder / "out"
    (folder / "scratch").mkdir()
    before = model_digest(model)
    result = objective.train(model, _examples(objective, tasks), out, TrainContext(folder / "scratch", 0, _unreported))
    if losses := [f"{loss:g} at step {step}" for step, loss in result.losses if not math.isfinite(loss)]:
        yield f"a loss that is not finite: {losses[0]}"
    try:
        check_model(out)
    except BadInput as wrong_model:
        yield f"what it writes is no model: {wrong_model}"
    if model_digest(model) != before:
        yield "it changes the model that it is given, instead of writing another"


def _unreported(done: int, total: int, /, **values: float) -> None:
    """Nobody follows the training."""


def _model(folder: Path) -> Path:
    """A language model of random weights whose tokens are bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|end|>"]
    tokenizer: Any = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"eos_token": letters[-1], "pad_token": letters[-1]}
    template = "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"
    cast(Any, PreTrainedTokenizerFast)(tokenizer_object=tokenizer, chat_template=template, **special).save_pretrained(
        folder
    )
    with cast(Any, torch.random).fork_rng(devices=[]):
        cast(Any, torch).manual_seed(0)
        shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        ends = {"eos_token_id": len(letters) - 1, "pad_token_id": len(letters) - 1}
        cast(Any, LlamaForCausalLM)(cast(Any, LlamaConfig)(vocab_size=len(letters), **shape, **ends)).save_pretrained(
            folder
        )
    return folder


def _examples(objective: Objective, tasks: Sequence[Task]) -> list[Example]:
    """An example of each task and target: said, preferred, valued and reinforced."""
    return [example for task in tasks for example in _of_task(objective.role, task, tasks)]


def _of_task(role: str, task: Task, tasks: Sequence[Task]) -> Iterator[Example]:
    def made(*sequences: tuple[Segment, ...], target: Imitate | Prefer | Regress | Reinforce) -> Example:
        return Example(role=role, sequences=sequences, target=target, task=task.id, rollout="checked")

    asked, right = Segment.context(task.messages), stating(task)
    said, refused = Segment.answer(right), Segment.answer(wrong(task, tasks))
    ids = tuple(right.encode())
    sampled = said.model_copy(update={"token_ids": ids, "advantages": (1.0,), "logprobs": (-5.5,) * len(ids)})
    yield made((asked, said), target=Imitate())
    yield made((asked, said), (asked, refused), target=Prefer())
    yield made((asked, Segment.answer(right, weights=())), target=Regress(label=1.0, right=True))
    yield made((asked, sampled), target=Reinforce(mean_reward=0.5))
