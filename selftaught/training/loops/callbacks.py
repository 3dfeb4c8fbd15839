"""Watching a run: progress after every step, a stop when it diverges, and which of its checkpoints are whole."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from selftaught.blocks import ProgressSink
from selftaught.core.errors import RoundFailed

WHOLE = "whole"
"""The file that marks a checkpoint as whole: it is written when everything else is."""


def newest_whole(scratch: Path) -> str | None:
    """The newest checkpoint in `scratch` that was written to its end, or None. Torn ones are passed over."""
    whole = [mark.parent for mark in scratch.glob(f"checkpoint-*/{WHOLE}")]
    return str(max(whole, key=lambda folder: int(folder.name.removeprefix("checkpoint-")))) if whole else None


class Watch(TrainerCallback):
    """Streams loss and tokens/s, raises RoundFailed on a loss that is not finite, marks whole checkpoints.

    `tokens[i]` are those seen after step i + 1. `seconds` is the time in training, over all attempts at this run.
    """

    def __init__(self, tokens: Sequence[int], learning_rate: float, report: ProgressSink) -> None:
        self.tokens = tokens
        self.learning_rate = learning_rate
        self.report = report
        self.seconds = 0.0
        self._began = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock where the checkpoint's stopped."""
        self.seconds = state.log_history[-1]["seconds"] if state.log_history else 0.0
        self._began = time.perf_counter() - self.seconds

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Skip the checkpoint at the last step: the model itself follows."""
        control.should_save = control.should_save and state.global_step < state.max_steps

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Report a step, or raise RoundFailed when its loss is not finite."""
        if "loss" not in logs:  # the trainer's closing summary
            return
        step, loss = int(state.global_step), float(logs["loss"])
        if not math.isfinite(loss):
            raise RoundFailed(
                f"the loss is {loss} at step {step} with learning_rate {self.learning_rate:g}. "
                "Lower learning_rate, or raise warmup."
            )
        self.seconds = time.perf_counter() - self._began
        state.log_history[-1]["seconds"] = self.seconds
        if state.is_world_process_zero:
            others = {name: float(logs[name]) for name in ("learning_rate", "grad_norm") if name in logs}
            speed = self.tokens[step - 1] / self.seconds
            self.report(step, int(state.max_steps), loss=loss, tokens_per_second=speed, **others)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint as whole."""
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / WHOLE).touch()
