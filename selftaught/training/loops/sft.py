"""What `sft` trains on: rendered examples as rows of tokens, in batches that suit short examples on few cores.

Prompts that examples of a batch have in common are computed once (`selftaught.training.loops.sharing`). Activations are
kept unless gradient checkpointing is asked for. The loss is the objective's own (`selftaught.training.sft`).
"""
# what comes from transformers is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from selftaught.blocks import TrainContext, TrainResult
from selftaught.records import Example
from selftaught.training.loops.batches import Layout, Row, Tokens, View, as_it_is, packed, padded, shared, tree
from selftaught.training.loops.common import BatchPlan, Run, adapted, dtype, fitting, prepared
from selftaught.training.loops.folder import load, saver
from selftaught.training.loops.masking import masking
from selftaught.training.loops.readers import LogProbs
from selftaught.training.order import length_grouped, prompt_grouped, shuffled
from selftaught.training.rendering import Chat, chat_of, rendered
from selftaught.training.sft import SFT

SHORT = 256
"""Tokens up to which plain attention beats the CPU's flash kernel (whose backward pass is slow), and fits in memory."""


def run(config: SFT, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
    """Train and save; see `SFT.train`."""
    began = time.perf_counter()
    logging.disable_progress_bar()  # what there is to see goes to `context.report`
    chat = chat_of(model, context.template)
    made = [config.rows(example, chat) for example in examples]
    rows = [row for each in made for row in each]
    plan, layout = _plan(config, rows, context.seed), config.layout(model)
    plain = layout is not tree and not torch.cuda.is_available() and plan.longest() <= SHORT

    def build() -> Any:
        loaded: Any = load(model, dtype(config))
        if plain:
            loaded.set_attn_implementation("eager")
        return adapted(prepared(loaded, config), config.lora)

    given, view = len(rows) + made.count([]), _view(config, chat, plan, context.seed)
    return Run(config, context, build, LogProbs, rows, plan, layout, given, began, view).train(saver(model), out)


def rows_of(example: Example, chat: Chat) -> list[Row]:
    """An example as rows, of which some token counts; see `rendered`."""
    made = [Tokens(row.ids, row.weights) for row in rendered(example.sequences[0], chat)]
    return [Row((tokens,), weight=example.weight) for tokens in made if tokens.counted()]


def _view(config: SFT, chat: Chat, plan: BatchPlan, seed: int) -> View:
    if config.mask_inputs is None:
        return as_it_is
    size = config.batch_size * config.gradient_accumulation
    return masking(config.mask_inputs, chat, seed, len(plan.seen(size)), size)


def layout_of(config: SFT, model: Path) -> Layout:
    """How batches are laid out, as `batching` says and the model allows."""
    if config.batching == "packed":
        return packed
    return shared(model) if config.batching == "shared" else padded


def _plan(config: SFT, rows: Sequence[Row], seed: int) -> BatchPlan:
    """What is seen in which order. Raises RoundFailed when no row fits `max_length`."""
    sequences = [row.sequences[0] for row in rows]
    tokens = [len(one.ids) for one in sequences]
    fit = fitting(config, tokens)
    order = shuffled(fit, config.epochs, seed)
    if config.batching == "shared":
        starts = [one.ids[: one.counted()[0]] for one in sequences]
        order = prompt_grouped(fit, starts, config.epochs, seed)
    if config.batching == "length_grouped":
        order = length_grouped(order, tokens, config.batch_size, seed)
    return BatchPlan(order=tuple(order), tokens=tuple(tokens), trained=tuple(len(one.counted()) for one in sequences))
