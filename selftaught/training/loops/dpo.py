"""The loop behind `dpo`: TRL's DPOTrainer on pairs of token ids, with what pairs share computed once.

Pairs come as the engine's own tokens where they have them, so their two sides part exactly where they parted when they
were sampled; else what is said is tokenized behind the chat's opening (`selftaught.training.rendering`). A batch is
laid out as prefix trees (`selftaught.training.loops.sharing`), and logits are computed for the tokens that count alone.
The reference's log-probabilities are computed before the first step. The losses are TRL's, and label smoothing is a
pair's own.
"""
# what comes from transformers, datasets and trl is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import time
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from datasets import Dataset, disable_progress_bars
from torch.nn.functional import logsigmoid
from torch.utils.data import DataLoader
from transformers.utils import logging
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from selftaught.blocks import TrainContext, TrainResult
from selftaught.records import Example
from selftaught.training.dpo import DPO
from selftaught.training.loops.common import BatchPlan, LogitsAt, Run, adapters, arguments, dtype, fitting
from selftaught.training.loops.folder import load, saver
from selftaught.training.loops.parallel import SharedTrainer
from selftaught.training.loops.sharing import laid_out
from selftaught.training.order import shuffled
from selftaught.training.rendering import Chat, chat_of

Pair = Mapping[str, Any]


def run(config: DPO, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
    """Train and save; see `DPO.train`."""
    began = time.perf_counter()
    disable_progress_bars()
    logging.disable_progress_bar()
    chat = chat_of(model, context.template)
    pairs = [made for example in examples if (made := pair(example, chat))]
    trainer = PairTrainer(
        model=load(model, dtype(config)),
        args=_arguments(config, context),
        data_collator=collate,
        train_dataset=Dataset.from_list(cast(Any, pairs)),
        processing_class=chat.tokenizer,
        peft_config=adapters(config.lora),
    )
    trainer.config = config
    return Run(_plan(config, pairs, context.seed), len(examples), began).train(
        trainer, config, context, saver(model), out
    )


def pair(example: Example, chat: Chat) -> Pair | None:
    """The tokens of a pair's prompt and of its two sides, the engine's own where they are known.

    None where a side's tokens would not say it.
    """
    if example.completion_ids:
        prompt, chosen, rejected = example.prompt_ids, example.completion_ids, example.rejected_ids
    else:
        prompt = chat.begun(example.prompt)
        chosen, rejected = (chat.said(side[0].content) for side in (example.completion, example.rejected))
    if chosen is None or rejected is None:
        return None
    return {
        "prompt_ids": list(prompt),
        "chosen_ids": list(chosen),
        "rejected_ids": list(rejected),
        "label_smoothing": example.label_smoothing,
    }


def collate(features: Sequence[Pair]) -> dict[str, torch.Tensor]:
    """A batch of B pairs: the rows of `laid_out`, the M tokens that count, and whose they are.

    `sources` (M): the place of the token before; `targets` (M): the token; `owners` (M): its side, the B chosen ones
    first; `lengths` (2 B): the tokens of each side that count.
    """
    sides = [(f["prompt_ids"], f[side]) for side in ("chosen_ids", "rejected_ids") for f in features]
    batch, places = laid_out([[*prompt, *side] for prompt, side in sides])
    counted = [
        (path[at - 1], token, owner)
        for owner, ((prompt, side), path) in enumerate(zip(sides, places, strict=True))
        for at, token in enumerate(side, len(prompt))
    ]
    sources, targets, owners = (torch.tensor(column) for column in zip(*counted, strict=True))
    known = {
        name: torch.tensor([float(f[name]) for f in features])
        for name in ("ref_chosen_logps", "ref_rejected_logps", "label_smoothing")
        if name in features[0]
    }
    lengths = torch.tensor([len(side) for _, side in sides])
    return {**batch, "sources": sources, "targets": targets, "owners": owners, "lengths": lengths, **known}


class PairTrainer(SharedTrainer, DPOTrainer):
    """DPOTrainer on pairs of token ids."""

    config: DPO

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset  # of token ids already

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = list(self.train_dataset.column_names)

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """`dataset` with the reference's log-probabilities: each process computes its share of them and gets them all.

        TRL's own hands them over in a file, and a data set in memory has one of its own in each process.
        """
        mine = dataset.select(self.share(range(len(dataset))))
        found: list[tuple[float, float]] = []
        for batch in DataLoader(mine, batch_size=batch_size, collate_fn=collate):
            chosen, rejected = self.compute_ref_log_probs(self.model, self._prepare_inputs(batch))
            found += zip(chosen.tolist(), rejected.tolist(), strict=True)
        columns = zip(("ref_chosen_logps", "ref_rejected_logps"), zip(*gather_object(found), strict=True), strict=True)
        return reduce(lambda data, column: data.add_column(*column), columns, dataset)

    def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
        """The reference's log-probabilities (B) of the chosen and the rejected sides."""
        with torch.no_grad(), self.accelerator.autocast():
            return self.logps(model, inputs).chunk(2)

    def logps(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The summed log-probabilities (2 B) of the tokens that count, the chosen sides first."""
        with LogitsAt(inputs["sources"], self.accelerator.unwrap_model(model).get_output_embeddings()):
            rows = {name: inputs[name] for name in ("input_ids", "position_ids", "attention_mask")}
            logits = model(**rows, use_cache=False).logits
        each = logits.float().log_softmax(-1).gather(-1, inputs["targets"][:, None])[:, 0]
        return torch.zeros(len(inputs["lengths"]), device=each.device).index_add(0, inputs["owners"], each)

    def total(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """The summed loss of the batch's pairs."""
        reference = torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
        ratios = self.logps(model, inputs) - reference
        return pair_losses(self.config, ratios, inputs["lengths"], inputs["label_smoothing"]).sum()

    def _send_telemetry(self) -> None:
        """TRL reports its use to its makers; a platform that trains on private data does not."""


def pair_losses(config: DPO, ratios: torch.Tensor, lengths: torch.Tensor, smoothing: torch.Tensor) -> torch.Tensor:
    """The loss (B) of each pair from the log-ratios (2 B) of its sides to the reference, the chosen ones first."""
    if config.loss == "ipo":
        chosen, rejected = (ratios / lengths).chunk(2)
        return (chosen - rejected - 1 / (2 * config.beta)) ** 2
    chosen, rejected = ratios.chunk(2)
    scaled = config.beta * (chosen - rejected)
    if config.loss == "sigmoid":
        return -logsigmoid(scaled)
    smooth = torch.where(smoothing > 0, smoothing, config.label_smoothing)
    return -(1 - smooth) * logsigmoid(scaled) - smooth * logsigmoid(-scaled)


def _plan(config: DPO, pairs: Sequence[Pair], seed: int) -> BatchPlan:
    """What is seen in which order: pairs that share a prompt may meet, for what they share is computed once."""
    prompts = [len(each["prompt_ids"]) for each in pairs]
    sides = [len(each["chosen_ids"]) + len(each["rejected_ids"]) for each in pairs]
    longest = [
        prompt + max(len(each["chosen_ids"]), len(each["rejected_ids"]))
        for prompt, each in zip(prompts, pairs, strict=True)
    ]
    tokens = tuple(2 * prompt + side for prompt, side in zip(prompts, sides, strict=True))
    order = shuffled(fitting(config, longest), config.epochs, seed)
    return BatchPlan(order=tuple(order), tokens=tokens, trained=tuple(sides))


def _arguments(config: DPO, context: TrainContext) -> DPOConfig:
    return DPOConfig(
        **arguments(config, context),
        beta=config.beta,
        precompute_ref_log_probs=True,
        max_length=None,
        remove_unused_columns=False,
    )
