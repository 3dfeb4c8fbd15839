"""What `policy_gradient` trains on: rollouts in the tokens that were sampled; what they share is computed once.

A row is what the engine was asked and what it said, token by token; where the engine's tokens are not known, what is
said is tokenized behind the chat's opening (`selftaught.training.rendering`). The losses are in
`selftaught.training.policy_gradient`.
"""
# what comes from transformers is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from transformers.utils import logging

from selftaught.blocks import TrainContext, TrainResult
from selftaught.core.errors import RoundFailed
from selftaught.records import Example, Reinforce
from selftaught.training.loops.batches import Row, Tokens
from selftaught.training.loops.common import BatchPlan, Run, built, fitting
from selftaught.training.loops.folder import saver
from selftaught.training.loops.readers import LogProbs
from selftaught.training.order import prompt_grouped
from selftaught.training.policy_gradient import PolicyGradient
from selftaught.training.rendering import Chat, Rendered, chat_of, rendered


def run(
    config: PolicyGradient, model: Path, examples: Sequence[Example], out: Path, context: TrainContext
) -> TrainResult:
    """Train and save; see `PolicyGradient.train`."""
    began = time.perf_counter()
    logging.disable_progress_bar()
    chat = chat_of(model, context.template)
    made = [config.rows(example, chat) for example in examples]
    rows = [row for each in made for row in each]

    plan, layout, given = _plan(config, rows, context.seed), config.layout(model), len(rows) + made.count([])
    build = partial(built, model, config)
    return Run(config, context, build, LogProbs, rows, plan, layout, given, began).train(saver(model), out)


def rows_of(config: PolicyGradient, example: Example, chat: Chat) -> list[Row]:
    """An example as rows, of which some token counts; see `rendered`.

    Raises RoundFailed when `old: sampled` is not known.

    A rollout whose template cuts earlier turns is several rows, which together count as one that is a single row.
    """
    found = [(Tokens(each.ids, each.weights, each.advantages), each) for each in rendered(example.sequences[0], chat)]
    made = [(tokens, each) for tokens, each in found if tokens.counted()]
    sizes = [sum(abs(tokens.weights[at]) for at in tokens.counted()) for tokens, _ in made]
    total = sum(sizes) if config.aggregate == "sequence" else 0.0
    return [
        _row(config, example, tokens, each, size / total if total else 1.0)
        for (tokens, each), size in zip(made, sizes, strict=True)
    ]


def _row(config: PolicyGradient, example: Example, tokens: Tokens, rendered: Rendered, share: float) -> Row:
    assert isinstance(example.target, Reinforce), example.target
    known = (_sampled(tokens, rendered),) if config.old == "sampled" else ()
    return Row((tokens,), weight=example.weight * share, label=example.target.mean_reward, behaviour=known)


def _sampled(tokens: Tokens, rendered: Rendered) -> torch.Tensor:
    """The log-probabilities that the engine gave of the tokens that count."""
    known = [rendered.logprobs[at] if rendered.logprobs else math.nan for at in tokens.counted()]
    if any(map(math.isnan, known)):
        raise RoundFailed(
            f"policy_gradient: the engine gave no log-probabilities of {sum(map(math.isnan, known))} of the "
            f"{len(known)} tokens of an answer, and `old: sampled` needs them. Set `old: recomputed`, or sample with "
            "vLLM."
        )
    return torch.tensor(known, dtype=torch.get_default_dtype())


def _plan(config: PolicyGradient, rows: Sequence[Row], seed: int) -> BatchPlan:
    """What is seen in which order: the rollouts of a prompt meet. Raises RoundFailed when no row fits `max_length`."""
    sequences = [row.sequences[0] for row in rows]
    tokens, trained = [len(one.ids) for one in sequences], [len(one.counted()) for one in sequences]
    starts = [one.ids[: one.counted()[0]] for one in sequences]
    order = prompt_grouped(fitting(config, tokens), starts, config.epochs, seed)
    return BatchPlan(order=tuple(order), tokens=tuple(tokens), trained=tuple(trained))
