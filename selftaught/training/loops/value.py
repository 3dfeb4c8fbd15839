"""The loop behind `value_mse`: transformers' Trainer on a backbone with a value head, what steps share computed once.

The nodes of a tree share their paths, so a batch of one task's examples is laid out as the tree it came from
(`selftaught.training.loops.sharing`), and the head reads the last token of each. The value is read at the true last
token, as vLLM's pooling does, and not at the last token that is no padding.
"""
# what comes from transformers and datasets is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn.functional import mse_loss
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging

from selftaught.blocks import TrainContext, TrainResult
from selftaught.records import Example
from selftaught.training.calibration import figures
from selftaught.training.loops.common import BatchPlan, Figures, Run, arguments, dtype, fitting
from selftaught.training.loops.folder import carry, write_weights
from selftaught.training.loops.parallel import SharedTrainer
from selftaught.training.loops.sharing import laid_out
from selftaught.training.order import prompt_grouped
from selftaught.training.rendering import Chat, chat_of
from selftaught.training.value import ValueMSE

Row = Mapping[str, Any]


def run(config: ValueMSE, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
    """Train, measure and save; see `ValueMSE.train`."""
    began = time.perf_counter()
    logging.disable_progress_bar()
    chat = cache(lambda: chat_of(model, context.template))
    rows = [row(example, chat) for example in examples]
    kept, apart = _split(config, examples)
    plan = _plan(config, rows, kept, [examples[index].task for index in range(len(rows))], context.seed)
    set_seed(context.seed)  # a new head is drawn
    trainer = ValueTrainer(
        model=load_value(model, dtype(config)),
        args=TrainingArguments(**arguments(config, context), remove_unused_columns=False),
        data_collator=collate,
        train_dataset=cast(Any, rows),
    )

    def measure(trained: PreTrainedModel) -> Figures:
        return {f"value.{name}": figure for name, figure in _measured(trained, rows, examples, apart).items()}

    def save(trained: PreTrainedModel, folder: Path) -> None:
        save_value(trained, model, folder)

    return Run(plan, len(kept), began).train(trainer, config, context, save, out, measure)


def load_value(folder: Path, precision: torch.dtype) -> PreTrainedModel:
    """The model in `folder` with a value head: its own, or a new random one on a causal model's backbone."""
    auto = cast(Any, AutoModelForSequenceClassification)
    return auto.from_pretrained(folder, num_labels=1, dtype=precision, use_safetensors=True, local_files_only=True)


def row(example: Example, chat: Callable[[], Chat]) -> Row:
    """The tokens of prompt and partial solution (the engine's own, where there are) and the label."""
    ids = (*example.prompt_ids, *example.completion_ids) or chat().begun((*example.prompt, *example.completion))
    return {"input_ids": list(ids), "label": example.label}


def collate(features: Sequence[Row]) -> dict[str, torch.Tensor]:
    """A batch of B examples: the rows of `laid_out`, the place of each example's last token, and its label (B)."""
    batch, places = laid_out([feature["input_ids"] for feature in features])
    wanted = torch.tensor([float(feature["label"]) for feature in features])
    return {**batch, "ends": torch.tensor([path[-1] for path in places]), "labels": wanted}


def predict(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The values (B) at the ends of a batch's examples."""
    rows = {name: batch[name] for name in ("input_ids", "position_ids", "attention_mask")}
    hidden = getattr(model, model.base_model_prefix)(**rows, use_cache=False).last_hidden_state
    return model.score(hidden.flatten(0, 1)[batch["ends"]])[:, 0].float()


class ValueTrainer(SharedTrainer):
    """Trainer of value examples."""

    def total(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The summed squared error of the batch's values."""
        return mse_loss(predict(model, inputs), inputs["labels"], reduction="sum")


def _split(config: ValueMSE, examples: Sequence[Example]) -> tuple[list[int], list[int]]:
    """The examples to train on and those to measure on, by index: a task is all in one of them, for good."""
    apart = [index for index, example in enumerate(examples) if _share(example.task) < config.held_out]
    if len(apart) == len(examples):  # so few tasks that all fell on one side
        apart = []
    return [index for index in range(len(examples)) if index not in set(apart)], apart


def _share(task: str) -> float:
    return int.from_bytes(hashlib.sha256(f"value/{task}".encode()).digest()[:8], "big") / 2**64


def _measured(
    model: PreTrainedModel, rows: Sequence[Row], examples: Sequence[Example], apart: Sequence[int]
) -> Mapping[str, float]:
    """The figures on the examples that were kept apart; none when there are none."""
    if not apart:
        return {}
    model.eval()
    ordered = sorted(apart, key=lambda index: examples[index].task)
    predicted: list[float] = []
    with torch.inference_mode():
        for start in range(0, len(ordered), 16):
            batch = collate([rows[index] for index in ordered[start : start + 16]])
            predicted += predict(model, {name: each.to(model.device) for name, each in batch.items()}).tolist()
    labels = [float(rows[index]["label"]) for index in ordered]
    told = [examples[index] for index in ordered]
    return figures(predicted, labels, [each.right for each in told], [each.task for each in told])


def _plan(config: ValueMSE, rows: Sequence[Row], kept: Sequence[int], tasks: Sequence[str], seed: int) -> BatchPlan:
    """What is seen in which order: the examples of one task together, for what they share is computed once."""
    tokens = [len(each["input_ids"]) for each in rows]
    fit = set(fitting(config, tokens))
    order = prompt_grouped([index for index in kept if index in fit], tasks, config.epochs, seed)
    return BatchPlan(order=tuple(order), tokens=tuple(tokens), trained=tuple(1 for _ in rows))


def save_value(model: PreTrainedModel, source: Path, folder: Path) -> None:
    """Write `model` in the precision of `source`, with its own configuration and the source's tokenizer.

    Raises what `write_weights` raises.
    """
    write_weights(model, source, folder)
    carry(source, folder, besides=("config.json",))
