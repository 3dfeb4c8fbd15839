"""Online training: every step learns from what the policy, as it is then, has just been seen to do.

Who samples, verifies and curates is not known here (`selftaught.blocks.Experience`); an update is the learner's, the
same as offline, on all of a step's examples at once. A run that was killed resumes from its newest checkpoint: what it
asks for again, it gets as it was, and nothing it draws depends on the steps before. Of several processes each brings
its share of the experience, and all learn from all of it.
"""
# what comes from transformers and peft is typed in part:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch.distributed.tensor import DTensor
from transformers.utils import logging

from selftaught.blocks import OnlinePlan, TrainContext, TrainResult
from selftaught.core.errors import RoundFailed
from selftaught.core.files import replacing
from selftaught.records import Example
from selftaught.training.gradient import Gradient
from selftaught.training.loops import checkpoints
from selftaught.training.loops.batches import Row, Tokens
from selftaught.training.loops.checkpoints import Progress
from selftaught.training.loops.common import built, complete, multiplied, reference_of
from selftaught.training.loops.folder import save
from selftaught.training.loops.learner import Figures, Learner
from selftaught.training.loops.probing import trusted
from selftaught.training.loops.processes import Processes, bare, is_sharded, placed
from selftaught.training.loops.readers import LogProbs
from selftaught.training.rendering import Chat, chat_of
from selftaught.training.schedule import rate


def run(config: Gradient, model: Path, plan: OnlinePlan, out: Path, context: TrainContext) -> TrainResult:
    """Train and save; see `Gradient.train_online`."""
    logging.disable_progress_bar()
    began = time.perf_counter()
    cast(Any, torch).manual_seed(context.seed)
    processes = Processes.joined()

    build = partial(built, model, config)
    start = build()
    sharded = is_sharded(config, start, processes)
    module = placed(LogProbs(start), sharded, processes)
    learner = Learner(config, module, config.layout(model), multiplied(config), context.seed, processes)
    learner.layout = trusted(learner)
    trainer = OnlineTrainer(config, model, plan, learner, chat_of(model, context.template), context, sharded)
    progress = checkpoints.resume(context.scratch, module, learner.optimizer, processes)
    ready = time.perf_counter()
    trainer.run(progress)
    if not any("loss" in entry for entry in progress.log):
        raise RoundFailed(f"{config.name}: no step had examples to learn from. {config.hint}")
    trained = complete(module, sharded, processes, build)
    if processes.first:
        with replacing(out) as scratch:
            save(trained, model, scratch)
    return result(progress, setup_seconds=ready - began)


def result(progress: Progress, **measured: float) -> TrainResult:
    """What a run came to, by the figures of its steps; steps without anything to learn from have no loss.

    Its seconds are those of training: what gathering took is a figure of its own.
    """
    log = progress.log
    measured |= {
        f"online.{name}": sum(entry[name] for entry in log) for name in ("gathering_seconds", "update_seconds")
    }
    measured["examples.left_out"] = sum(entry.get("left_out", 0.0) for entry in log)
    return TrainResult(
        steps=progress.steps,
        tokens=int(sum(entry["tokens"] for entry in log)),
        trained_tokens=int(sum(entry["trained_tokens"] for entry in log)),
        seconds=progress.seconds - measured["online.gathering_seconds"],
        losses=tuple((int(entry["step"]), entry["loss"]) for entry in log if "loss" in entry),
        metrics=measured,
    )


@dataclass(slots=True)
class Live:
    """What the experience sees of the policy that is trained; see `LivePolicy`."""

    learner: Learner

    @property
    def peers(self) -> Processes:
        """See `LivePolicy`."""
        return self.learner.processes

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """See `LivePolicy`. Of sharded weights one at a time is complete on every device."""
        model: Any = cast(Any, bare(self.learner.module)).model
        for name, weight in _merged(model) if isinstance(model, PeftModel) else model.named_parameters():
            yield name, weight.full_tensor() if isinstance(weight, DTensor) else weight

    def logprobs(self, token_ids: Sequence[int]) -> Sequence[float]:
        """See `LivePolicy`."""
        ids = tuple(token_ids)
        ((known,),) = self.learner.logprobs([Row((Tokens(ids, (0.0, *(1.0 for _ in ids[1:]))),))])
        return known.tolist()


def _merged(model: PeftModel) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights that `model` will have when its adapters are merged; they stay as they are."""
    base: Any = model.get_base_model()
    layers = {name: each for name, each in base.named_modules() if isinstance(each, BaseTunerLayer)}
    for name, weight in base.named_parameters():
        owner, _, kind = name.partition(".base_layer.")
        if kind == "weight" and owner in layers:
            yield f"{owner}.weight", weight + cast(Any, layers[owner]).get_delta_weight("default").to(weight.dtype)
        elif ".lora_" not in name:
            yield name.replace(".base_layer.", "."), weight


@dataclass
class OnlineTrainer:
    """The steps of one run."""

    config: Gradient
    start: Path
    plan: OnlinePlan
    learner: Learner
    chat: Chat
    context: TrainContext
    sharded: bool
    live: Live = field(init=False)

    def __post_init__(self) -> None:
        self.live = Live(self.learner)

    def run(self, progress: Progress) -> None:
        """Train to the end, keeping `progress`.

        Raises RoundFailed when a loss is not finite, OSError when the disk is full, and what the experience raises.
        """
        began = time.perf_counter() - progress.seconds
        for step in range(progress.steps, self.plan.steps):
            figures = self._step(step)
            progress.steps, progress.seconds = step + 1, time.perf_counter() - began
            progress.log.append({"step": step + 1, **figures})
            tokens = sum(entry["tokens"] for entry in progress.log)
            if self.learner.processes.first:
                self.context.report(step + 1, self.plan.steps, tokens_per_second=tokens / progress.seconds, **figures)
            if progress.steps % self.config.checkpoint_every == 0 and progress.steps < self.plan.steps:
                self._save(progress)

    def _save(self, progress: Progress) -> None:
        learner = self.learner
        checkpoints.save(self.context.scratch, learner.module, learner.optimizer, progress, learner.processes)

    def _step(self, step: int) -> dict[str, float]:
        began = time.perf_counter()
        gathered = self.plan.experience(step, self.live)
        sampled = time.perf_counter()
        made = self._rows(gathered.examples)
        rows = [row for row in made if max(len(each.ids) for each in row.sequences) <= self.config.max_length]
        learnt = self._learn(rows, step) if rows else {}
        sequences = [each for row in rows for each in row.sequences]
        return {
            **learnt,
            **gathered.figures,
            "examples": float(len(rows)),
            "left_out": float(len(made) - len(rows)),
            "tokens": float(sum(len(each.ids) for each in sequences)),
            "trained_tokens": float(sum(len(each.counted()) for each in sequences)),
            "gathering_seconds": sampled - began,
            "update_seconds": time.perf_counter() - sampled,
        }

    def _rows(self, examples: Sequence[Example]) -> list[Row]:
        """The examples that this objective learns from, as rows."""
        return [row for each in examples if self.config.accepts(each) for row in self.config.rows(each, self.chat)]

    def _learn(self, rows: Sequence[Row], step: int) -> Figures:
        """The step's updates; the figures are those of the first, which is on the policy that sampled."""
        rows, share = self._known(rows), rate(self.config.scheduler, step, self.plan.steps, self.config.warmup)
        self.learner.module.train()
        first = step * self.plan.updates
        figures = [self.learner.update(rows, first + number, share) for number in range(self.plan.updates)]
        return figures[0]

    def _known(self, rows: Sequence[Row]) -> list[Row]:
        """The rows with what the objective needs to know of them beside; one update is on the policy that sampled."""
        if "behaviour" in self.config.needs and self.plan.updates > 1:
            known = self.learner.logprobs(rows)
            rows = [replace(row, behaviour=own) for row, own in zip(rows, known, strict=True)]
        if "reference" in self.config.needs:
            known = self._reference.logprobs(rows)
            rows = [replace(row, reference=own) for row, own in zip(rows, known, strict=True)]
        return list(rows)

    @cached_property
    def _reference(self) -> Learner:
        """The model that the trained one is held to: the one that training starts from, unless another is named."""
        held = reference_of(self.learner, self.context.reference or self.start, self.sharded)
        assert held, self.config
        return held
