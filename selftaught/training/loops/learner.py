"""The learner: updates of AdamW, and log-probabilities, whatever the objective is and wherever rows come from.

An objective is a function of what it sees of a batch (`selftaught.training.tokens`). An update's loss is the sum of
what its batches lose over the sum of what counts in them, of all processes' shares; so is its gradient, which is scaled
and clipped at once when it is complete. A process whose share of a batch is empty goes through another's example with
nothing in it that counts, because replicas and shards go through every batch together.

Nothing is random but dropout, which is redrawn for every update from the run's seed: a run that resumes from a
checkpoint needs no state of random numbers, and does as if it had not been ended.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch

from selftaught.core.errors import RoundFailed
from selftaught.training.gradient import Gradient
from selftaught.training.loops.batches import Batch, Layout, Row, batch
from selftaught.training.loops.processes import Processes, adding, bare, is_shard, local
from selftaught.training.tokens import Loss

Figures = dict[str, float]


@dataclass(slots=True)
class Learner:
    """Updates `module`, a reader as the processes have it. Products of matrices are computed in `precision`."""

    objective: Gradient
    module: torch.nn.Module
    layout: Layout
    precision: torch.dtype
    seed: int
    processes: Processes
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(_groups(self.module, self.objective.weight_decay), fused=True)

    def update(self, rows: Sequence[Row], number: int, share: float) -> Figures:
        """One update, the run's `number`th, counted from 0, on all of `rows`, at a `share` of the learning rate.

        Its loss and its gradient's norm are those before it; where nothing in the rows counts, both are 0 and nothing
        is updated. Raises RoundFailed when the loss is not finite.
        """
        cast(Any, torch).manual_seed(random.Random(f"{self.seed}/{number}/{self.processes.number}").getrandbits(63))
        learning_rate = self.objective.learning_rate * share
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        total, items = self._backward(rows)
        if not items:
            self.optimizer.zero_grad()
            return {"loss": 0.0, "learning_rate": learning_rate, "grad_norm": 0.0}
        loss = total / items
        if not math.isfinite(loss):
            raise RoundFailed(
                f"the loss is {loss} at step {number + 1} with learning_rate {self.objective.learning_rate:g}. "
                "Lower learning_rate, or raise warmup."
            )
        norm = self._scaled(self.processes.count / items)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"loss": loss, "learning_rate": learning_rate, "grad_norm": norm}

    def logprobs(self, rows: Sequence[Row]) -> list[tuple[torch.Tensor, ...]]:
        """The log-probabilities of each row's tokens that count, a tensor a sequence, by the weights as they are.

        Each process computes those of its share.
        """
        self.module.eval()
        known: list[tuple[torch.Tensor, ...]] = []
        for at in range(0, len(rows), self.objective.batch_size):
            known += self.processes.collected(list(self._logprobs(rows[at : at + self.objective.batch_size])))
        self.module.train()
        return known

    def _backward(self, rows: Sequence[Row]) -> tuple[float, float]:
        """Add up the gradients of an update's batches; gives the sums of loss and items over all processes."""
        size = self.objective.batch_size
        batches = [rows[at : at + size] for at in range(0, len(rows), size)]
        sums = torch.zeros(2, dtype=torch.float64, device=self.processes.device)
        for number, each in enumerate(batches, 1):
            with adding(self.module, last=number == len(batches)):
                loss = self._loss(each)
                cast(Any, loss.total).backward()
            sums += torch.stack([loss.total.detach(), loss.items]).to(sums)
        total, items = self.processes.summed(sums)
        return total, items

    def _loss(self, rows: Sequence[Row]) -> Loss:
        """The loss of this process's share of a batch."""
        made, needs = self._share(rows), self.objective.needs
        seen = made.seen(self._read(self.module, made), "values" in needs)
        if "behaviour" in needs and not len(seen.behaviour):  # the only update of a step is on the policy that sampled
            seen = replace(seen, behaviour=seen.logprobs.detach())
        return self.objective.compute_loss(seen)

    def _share(self, rows: Sequence[Row]) -> Batch:
        own = self.processes.share(rows)
        made = batch(own or rows[:1], self.layout)
        return (made if own else made.idle()).to(self.processes.device)

    def _read(self, module: torch.nn.Module, made: Batch) -> torch.Tensor:
        mixed = self.precision == torch.bfloat16
        with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=mixed):
            return module(made.inputs)

    def _scaled(self, factor: float) -> float:
        """Scale the gradients by `factor` and clip them; gives their norm between the two."""
        found = [weight.grad for weight in self.module.parameters() if weight.grad is not None]
        gradients = [*map(local, found)]  # DTensor computes the same, a tensor at a time, each with a wait for others
        norm = torch.nn.utils.get_total_norm(gradients)
        if any(map(is_shard, found)):
            (square,) = self.processes.summed(norm.double().square().reshape(1))
            norm = math.sqrt(square)
        before = float(norm) * factor
        cast(Any, torch)._foreach_mul_(gradients, factor * min(1.0, self.objective.max_grad_norm / (before + 1e-6)))
        return before

    def _logprobs(self, rows: Sequence[Row]) -> Iterator[tuple[torch.Tensor, ...]]:
        """Those of each row of this process's share."""
        own = self.processes.share(rows)
        with torch.no_grad():
            read = self._read(bare(self.module), self._share(rows)).cpu()
        sides = zip(*(row.sequences for row in own), strict=True)
        counts = [len(tokens.counted()) for side in sides for tokens in side]
        parts: Sequence[torch.Tensor] = cast(Any, read).split(counts) if own else ()
        for at in range(len(own)):
            yield tuple(part.clone() for part in parts[at :: len(own)])  # a view would hold, and send, the entire batch


def _groups(module: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trained weights for an optimizer: matrices decay; biases and the scales of norms do not."""
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    return [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in trained if weight.ndim < 2], "weight_decay": 0.0},
    ]
