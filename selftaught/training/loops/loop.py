"""The loop: steps of AdamW over a plan's batches, whatever the objective is.

An objective is a function of what it sees of a batch (`selftaught.training.tokens`). A step's loss is the sum of what
its batches lose over the sum of what counts in them, of all processes' shares; so is its gradient, which is scaled and
clipped at once when it is complete. A process whose share of a batch is empty goes through another's example with
nothing in it that counts, because replicas and shards go through every batch together.

Nothing is random but dropout, which is redrawn for every step from the run's seed: a run that resumes from a
checkpoint needs no state of random numbers, and does as if it had not been ended.
"""

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch

from selftaught.blocks import ProgressSink
from selftaught.core.errors import RoundFailed
from selftaught.training.gradient import Gradient
from selftaught.training.loops import checkpoints
from selftaught.training.loops.batches import Batch, Layout, Row, batch
from selftaught.training.loops.checkpoints import Progress
from selftaught.training.loops.processes import Processes, adding, bare
from selftaught.training.schedule import rate
from selftaught.training.tokens import Loss

Figures = dict[str, float]


@dataclass(slots=True)
class Loop:
    """Trains `module`, a reader as the processes have it, on `rows` in `order`.

    `seen` are the tokens seen after each step. What is written is in `scratch`, under its checkpoints' names.
    """

    objective: Gradient
    module: torch.nn.Module
    rows: Sequence[Row]
    order: Sequence[int]
    seen: Sequence[int]
    layout: Layout
    precision: torch.dtype
    scratch: Path
    seed: int
    report: ProgressSink
    processes: Processes
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(_groups(self.module, self.objective.weight_decay), fused=True)

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.seen)

    def prepared(self) -> Progress:
        """How far the newest complete checkpoint is, with its weights taken up; the reference is read before."""
        if "reference" in self.objective.needs:
            self.rows = self._with_reference()
        return checkpoints.resume(self.scratch, self.module, self.optimizer, self.processes)

    def run(self, progress: Progress) -> None:
        """Train to the end, keeping `progress`.

        Raises RoundFailed when a loss is not finite, OSError when the disk is full.
        """
        began = time.perf_counter() - progress.seconds
        self.module.train()
        for step in range(progress.steps, self.steps):
            figures = self._step(step)
            progress.steps, progress.seconds = step + 1, time.perf_counter() - began
            progress.log.append({"step": step + 1, **figures})
            if self.processes.first:
                self.report(step + 1, self.steps, tokens_per_second=self.seen[step] / progress.seconds, **figures)
            if progress.steps % self.objective.checkpoint_every == 0 and progress.steps < self.steps:
                checkpoints.save(self.scratch, self.module, self.optimizer, progress, self.processes)

    def _step(self, step: int) -> Figures:
        """One update; its loss and its gradient's norm are those of the entire step, before it."""
        cast(Any, torch).manual_seed(random.Random(f"{self.seed}/{step}/{self.processes.number}").getrandbits(63))
        learning_rate = self.objective.learning_rate * self._rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        total, items = self._backward(step)
        loss = total / items
        if not math.isfinite(loss):
            raise RoundFailed(
                f"the loss is {loss} at step {step + 1} with learning_rate {self.objective.learning_rate:g}. "
                "Lower learning_rate, or raise warmup."
            )
        norm = self._scaled(self.processes.count / items)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"loss": loss, "learning_rate": learning_rate, "grad_norm": norm}

    def _rate(self, step: int) -> float:
        return rate(self.objective.scheduler, step, self.steps, self.objective.warmup)

    def _backward(self, step: int) -> tuple[float, float]:
        """Add up the gradients of a step's batches; gives the sums of loss and items over all processes."""
        size = self.objective.batch_size
        begin = step * size * self.objective.gradient_accumulation
        mine = self.order[begin : begin + size * self.objective.gradient_accumulation]
        batches = [mine[at : at + size] for at in range(0, len(mine), size)]
        sums = torch.zeros(2, dtype=torch.float64, device=self.processes.device)
        for number, indices in enumerate(batches, 1):
            with adding(self.module, last=number == len(batches)):
                loss = self._loss(indices)
                cast(Any, loss.total).backward()
            sums += torch.stack([loss.total.detach(), loss.items]).to(sums)
        total, items = self.processes.summed(sums)
        return total, items

    def _loss(self, indices: Sequence[int]) -> Loss:
        """The loss of this process's share of a batch."""
        made = self._share(indices)
        return self.objective.compute_loss(made.seen(self._read(self.module, made), "values" in self.objective.needs))

    def _share(self, indices: Sequence[int]) -> Batch:
        own = self.processes.share(indices)
        made = batch([self.rows[index] for index in own or indices[:1]], self.layout)
        return (made if own else made.idle()).to(self.processes.device)

    def _read(self, module: torch.nn.Module, made: Batch) -> torch.Tensor:
        mixed = self.precision == torch.bfloat16
        with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=mixed):
            return module(made.inputs)

    def _scaled(self, factor: float) -> float:
        """Scale the gradients by `factor` and clip them; gives their norm between the two."""
        gradients = [weight.grad for weight in self.module.parameters() if weight.grad is not None]
        norm: Any = torch.nn.utils.get_total_norm(gradients)
        before = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm) * factor
        cast(Any, torch)._foreach_mul_(gradients, factor * min(1.0, self.objective.max_grad_norm / (before + 1e-6)))
        return before

    def _with_reference(self) -> list[Row]:
        """The rows with their log-probabilities before training; each process computes those of its share."""
        rows = list(self.rows)
        self.module.eval()
        seen = sorted(set(self.order))
        for at in range(0, len(seen), self.objective.batch_size):
            indices = seen[at : at + self.objective.batch_size]
            for index, known in zip(indices, self.processes.collected(list(self._reference(indices))), strict=True):
                rows[index] = replace(rows[index], reference=known)
        return rows

    def _reference(self, indices: Sequence[int]) -> Iterator[tuple[torch.Tensor, ...]]:
        """The log-probabilities of each row of this process's share, a tensor a sequence."""
        own = self.processes.share(indices)
        with torch.no_grad():
            read = self._read(bare(self.module), self._share(indices)).cpu()
        sequences = [row.sequences for row in map(self.rows.__getitem__, own)]
        sides = zip(*sequences, strict=True)
        counts = [len(tokens.counted()) for side in sides for tokens in side]
        parts: Sequence[torch.Tensor] = cast(Any, read).split(counts) if own else ()
        for at in range(len(own)):
            yield tuple(parts[at :: len(own)])


def _groups(module: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trained weights for an optimizer: matrices decay; biases and the scales of norms do not."""
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    return [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in trained if weight.ndim < 2], "weight_decay": 0.0},
    ]
