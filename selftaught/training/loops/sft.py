"""The loop behind `sft`: TRL's SFTTrainer, made fast for short examples on few cores.

Examples come as rows of token ids (`selftaught.training.rendering`), so TRL renders and tokenizes nothing. What else
differs from its defaults changes no loss. Prompts that examples of a batch have in common are computed once
(`selftaught.training.loops.sharing`). Logits are computed for completion tokens alone: with a small model and a large
vocabulary they are a good part of all work. Right-padded batches carry no attention mask: causal attention cannot see
padding that comes after, and without a mask the attention kernel takes its short path. Activations are kept unless
gradient checkpointing is asked for.

Checkpoints are the trainer's own (safetensors, and the optimizer's state as a tensors-only pickle) in the run's
scratch folder; none of that reaches the written model.
"""
# what comes from transformers, datasets and trl is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset, disable_progress_bars
from torch.nn.functional import cross_entropy
from transformers.utils import logging
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from selftaught.blocks import TrainContext, TrainResult
from selftaught.records import Example
from selftaught.training.loops.common import BatchPlan, LogitsAt, Run, adapters, arguments, dtype, fitting
from selftaught.training.loops.folder import load, saver
from selftaught.training.loops.parallel import SharedTrainer
from selftaught.training.loops.sharing import IGNORED, can_share, shared_batch
from selftaught.training.order import length_grouped, prompt_grouped, shuffled
from selftaught.training.rendering import Chat, Rendered, chat_of, rendered
from selftaught.training.sft import SFT

SHORT = 256
"""Tokens up to which plain attention beats the CPU's flash kernel (whose backward pass is slow), and fits in memory."""


def run(config: SFT, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
    """Train and save; see `SFT.train`."""
    began = time.perf_counter()
    disable_progress_bars()  # what there is to see goes to `context.report`
    logging.disable_progress_bar()
    chat = chat_of(model, context.template)
    made = [rendered(example, chat) for example in examples]
    rows = [row for each in made for row in each]
    plan = _plan(config, rows, context.seed)
    trainer = _trainer(config, model, rows, chat, context)
    if trainer.data_collator is not shared_batch and not torch.cuda.is_available() and plan.longest() <= SHORT:
        cast(Any, trainer.model).set_attn_implementation("eager")
    given = len(rows) + made.count([])
    return Run(plan, given, began).train(trainer, config, context, saver(model), out)


class CompletionTrainer(SharedTrainer, SFTTrainer):
    """SFTTrainer that computes logits for completion tokens alone."""

    def total(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Negative log-likelihood summed over the completion tokens."""
        labels = inputs.pop("labels")[:, 1:]
        wanted = labels != IGNORED
        if "sources" not in inputs:
            inputs.pop("attention_mask", None)  # padding is on the right, where causal attention does not look
        sources = inputs.pop("sources", _places(wanted))
        with LogitsAt(sources, self.accelerator.unwrap_model(model).get_output_embeddings()):
            logits = model(**inputs, use_cache=False).logits
        return cross_entropy(logits.float(), labels[wanted], reduction="sum")

    def items(self, feature: Any) -> int:
        """The completion tokens of an example."""
        return sum(label != IGNORED for label in feature["labels"][1:])

    def _send_telemetry(self) -> None:
        """TRL reports its use to its makers; a platform that trains on private data does not."""


def _places(wanted: torch.Tensor) -> torch.Tensor:
    """Where the tokens stand, rows laid end to end, whose next token is `wanted` (rows, length - 1)."""
    rows, columns = wanted.nonzero(as_tuple=True)
    return rows * (wanted.shape[1] + 1) + columns


def _trainer(
    config: SFT, model: Path, rows: Sequence[Rendered], chat: Chat, context: TrainContext
) -> CompletionTrainer:
    loaded = load(model, dtype(config))
    return CompletionTrainer(
        model=loaded,
        args=_arguments(config, context),
        data_collator=shared_batch if config.batching == "shared" and can_share(loaded.config) else None,
        train_dataset=Dataset.from_list([_labelled(row) for row in rows]),
        processing_class=chat.tokenizer,
        peft_config=adapters(config.lora),
    )


def _labelled(row: Rendered) -> dict[str, Any]:
    labels = [token if counts else IGNORED for token, counts in zip(row.ids, row.trained, strict=True)]
    return {"input_ids": list(row.ids), "labels": labels}


def _arguments(config: SFT, context: TrainContext) -> SFTConfig:
    return SFTConfig(
        **arguments(config, context),
        max_length=None,  # the plan leaves out what is too long
        padding_free=config.batching == "packed",
        completion_only_loss=True,
    )


def _plan(config: SFT, rows: Sequence[Rendered], seed: int) -> BatchPlan:
    """What is seen in which order. Raises RoundFailed when no row fits `max_length`."""
    tokens = [len(row.ids) for row in rows]
    fit = fitting(config, tokens)
    order = shuffled(fit, config.epochs, seed)
    if config.batching == "shared":
        starts = [row.ids[: row.trained.index(True)] for row in rows]
        order = prompt_grouped(fit, starts, config.epochs, seed)
    if config.batching == "length_grouped":
        order = length_grouped(order, tokens, config.batch_size, seed)
    return BatchPlan(order=tuple(order), tokens=tuple(tokens), trained=tuple(sum(row.trained) for row in rows))
