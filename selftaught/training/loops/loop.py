"""The loop: updates over a plan's batches, whatever the objective is. What an update is, is the learner's business."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from selftaught.blocks import ProgressSink
from selftaught.training.gradient import Gradient
from selftaught.training.loops import checkpoints
from selftaught.training.loops.batches import Row, View, as_it_is
from selftaught.training.loops.checkpoints import Progress
from selftaught.training.loops.learner import Figures, Learner
from selftaught.training.schedule import rate


@dataclass(slots=True)
class Loop:
    """Has `learner` learn `rows` in `order`.

    `seen` are the tokens seen after each step. `view` is a row as it is seen at its position in `order`. What is
    written is in `scratch`, under its checkpoints' names.
    """

    learner: Learner
    rows: Sequence[Row]
    order: Sequence[int]
    seen: Sequence[int]
    scratch: Path
    report: ProgressSink
    view: View = as_it_is
    reference: Learner | None = None
    """The model that the trained one is held to; None: as it is before training."""
    keeps: bool = field(init=False, default=True)
    """Whether it writes checkpoints: not on nodes that have no disk in common, which could not resume from them."""

    @property
    def objective(self) -> Gradient:
        """What is learnt by."""
        return self.learner.objective

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.seen)

    def prepared(self) -> Progress:
        """How far the newest complete checkpoint is, with its weights taken up.

        What the weights say before training is read before.
        """
        before = self.objective.needs & {"reference", "behaviour"}
        if self.reference and "reference" in before:
            self.rows = self._with_logprobs(self.reference, {"reference"})
            self.reference, before = None, before - {"reference"}
        if before:
            self.rows = self._with_logprobs(self.learner, before)
        learner = self.learner
        self.keeps = checkpoints.is_common(self.scratch, learner.processes)
        if not self.keeps and learner.processes.first:
            logging.getLogger(__name__).warning(
                "the nodes have no disk in common at %s, so no checkpoints are written: a training that loses a node "
                "begins again. Mount a ReadWriteMany volume there to resume.",
                self.scratch,
            )
        return checkpoints.resume(self.scratch, learner.module, learner.optimizer, learner.processes)

    def run(self, progress: Progress) -> None:
        """Train to the end, keeping `progress`.

        Raises RoundFailed when a loss is not finite, OSError when the disk is full.
        """
        began = time.perf_counter() - progress.seconds
        learner = self.learner
        learner.module.train()
        for step in range(progress.steps, self.steps):
            figures = self._step(step)
            progress.steps, progress.seconds = step + 1, time.perf_counter() - began
            progress.log.append({"step": step + 1, **figures})
            if learner.processes.first:
                self.report(step + 1, self.steps, tokens_per_second=self.seen[step] / progress.seconds, **figures)
            due = progress.steps % self.objective.checkpoint_every == 0 and progress.steps < self.steps
            if self.keeps and due:
                checkpoints.save(self.scratch, learner.module, learner.optimizer, progress, learner.processes)

    def _step(self, step: int) -> Figures:
        size = self.objective.batch_size * self.objective.gradient_accumulation
        order = self.order[step * size : (step + 1) * size]
        rows = [self.view(self.rows[index], at) for at, index in enumerate(order, step * size)]
        return self.learner.update(rows, step, rate(self.objective.scheduler, step, self.steps, self.objective.warmup))

    def _with_logprobs(self, model: Learner, named: Iterable[str]) -> list[Row]:
        """The rows with the log-probabilities that `model` gives before training, as what is `named`."""
        rows, seen = list(self.rows), sorted(set(self.order))
        for index, known in zip(seen, model.logprobs([rows[index] for index in seen]), strict=True):
            rows[index] = replace(rows[index], **dict.fromkeys(named, known))
        return rows
