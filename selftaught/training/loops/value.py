"""What `value_mse` trains on: partial solutions and their labels, and the model with a value head that learns them.

The nodes of a tree share their paths, so a batch of one task's examples is laid out as the tree it came from
(`selftaught.training.loops.sharing`), where the model can. The loss is the objective's own
(`selftaught.training.value`).
"""
# what comes from transformers is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging

from selftaught.blocks import TrainContext, TrainResult
from selftaught.records import Example
from selftaught.training.calibration import figures
from selftaught.training.loops.batches import Layout, Row, Tokens, batch
from selftaught.training.loops.common import BatchPlan, Figures, Run, dtype, fitting, prepared, text_only
from selftaught.training.loops.folder import carry, write_weights
from selftaught.training.loops.readers import Values
from selftaught.training.order import prompt_grouped
from selftaught.training.rendering import Chat, chat_of, exact
from selftaught.training.value import ValueMSE


def run(config: ValueMSE, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
    """Train, measure and save; see `ValueMSE.train`."""
    began = time.perf_counter()
    logging.disable_progress_bar()
    chat = cache(lambda: chat_of(model, context.template))
    rows = [row(example, chat) for example in examples]
    kept, apart = _split(config, examples)
    apart = [index for index in apart if len(rows[index].sequences[0].ids) <= config.max_length]  # as in training
    plan = _plan(config, rows, kept, [example.task for example in examples], context.seed)

    def build() -> PreTrainedModel:
        return text_only(prepared(load_value(model, dtype(config)), config))

    def measure(trained: torch.nn.Module, layout: Layout) -> Figures:
        return {f"value.{name}": figure for name, figure in _measured(trained, layout, rows, examples, apart).items()}

    def save(trained: PreTrainedModel, folder: Path) -> None:
        save_value(trained, model, folder)

    layout = config.layout(model)
    return Run(config, context, build, Values, rows, plan, layout, len(kept), began).train(save, out, measure)


def load_value(folder: Path, precision: torch.dtype) -> PreTrainedModel:
    """The model in `folder` with a value head: its own, or a new random one on a causal model's backbone."""
    auto = cast(Any, AutoModelForSequenceClassification)
    return auto.from_pretrained(folder, num_labels=1, dtype=precision, use_safetensors=True, local_files_only=True)


def row(example: Example, chat: Callable[[], Chat]) -> Row:
    """The tokens of prompt and partial solution (the engine's own, where there are) and the label."""
    own = exact(example.sequences[0])
    ids = own.ids if own else chat().begun((*example.prompt, *example.completion))
    return Row((Tokens(ids, (0.0,) * len(ids)),), weight=example.weight, label=example.regress.label)


def _split(config: ValueMSE, examples: Sequence[Example]) -> tuple[list[int], list[int]]:
    """The examples to train on and those to measure on, by index: a task is all in one of them, for good."""
    apart = [index for index, example in enumerate(examples) if _share(example.task) < config.held_out]
    if len(apart) == len(examples):  # so few tasks that all fell on one side
        apart = []
    return [index for index in range(len(examples)) if index not in set(apart)], apart


def _share(task: str) -> float:
    return int.from_bytes(hashlib.sha256(f"value/{task}".encode()).digest()[:8], "big") / 2**64


def _measured(
    trained: torch.nn.Module, layout: Layout, rows: Sequence[Row], examples: Sequence[Example], apart: Sequence[int]
) -> Mapping[str, float]:
    """The figures on the examples that were kept apart; none when there are none. All processes go through all of them.

    The shards of a model are gathered by all processes or none.
    """
    if not apart:
        return {}
    trained.eval()
    ordered = sorted(apart, key=lambda index: examples[index].task)
    device = next(trained.parameters()).device
    predicted: list[float] = []
    with torch.no_grad():
        for start in range(0, len(ordered), 16):
            made = batch([rows[index] for index in ordered[start : start + 16]], layout)
            predicted += trained(made.to(device).inputs).tolist()
    kept = [examples[index] for index in ordered]
    labels = [rows[index].label for index in ordered]
    return figures(predicted, labels, [each.regress.right for each in kept], [each.task for each in kept])


def _plan(config: ValueMSE, rows: Sequence[Row], kept: Sequence[int], tasks: Sequence[str], seed: int) -> BatchPlan:
    """What is seen in which order: the examples of one task together, for what they share is computed once."""
    tokens = [len(each.sequences[0].ids) for each in rows]
    fit = [kept[at] for at in fitting(config, [tokens[index] for index in kept])]
    order = prompt_grouped(fit, tasks, config.epochs, seed)
    return BatchPlan(order=tuple(order), tokens=tuple(tokens), trained=tuple(1 for _ in rows))


def save_value(model: PreTrainedModel, source: Path, folder: Path) -> None:
    """Write `model` in the precision of `source`, with its own configuration and the source's tokenizer.

    Raises what `write_weights` raises.
    """
    write_weights(model, source, folder)
    carry(source, folder, besides=("config.json",))
