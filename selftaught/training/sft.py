"""Supervised fine-tuning: raise the likelihood of the completions, given their prompts.

Completion-only negative log-likelihood, full weights or LoRA. Prompt tokens are never trained on, and logits are
computed for completion tokens alone. How examples become rows of tokens is in `selftaught.training.loops.sft`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from selftaught.blocks import TrainContext, TrainResult
from selftaught.records import Example, TargetType
from selftaught.training.gradient import Gradient
from selftaught.training.tokens import Loss, TokenBatch


class SFT(Gradient, type="sft"):
    """Fine-tune on prompt/completion examples.

    The loss of a step is the mean over its completion tokens, as that of TRL's SFTTrainer with `completion_only_loss`.
    """

    target: ClassVar[TargetType] = "imitate"
    hint: ClassVar[str] = "Accept more rollouts: raise k, or ease the verifiers."

    batching: Literal["shared", "length_grouped", "packed", "padded"] = "shared"
    """`shared` puts the examples of a prompt into one batch and computes once what a batch's examples begin with (a
    model that does not attend to everything gets `padded`); `length_grouped` pads examples of similar length; `packed`
    lays the examples of a batch end to end, blind to one another, with no padding (attention then costs the square of
    the batch's tokens); `padded` pads random batches."""

    def compute_loss(self, tokens: TokenBatch) -> Loss:
        """The negative log-likelihood of the tokens, each times its weight; weights are what counts."""
        return Loss(-(tokens.weights * tokens.logprobs).sum(), tokens.weights.abs().sum())

    def train(self, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
        """Train the model in `model` on `examples` and write the new one atomically to `out`.

        Resumes from the latest complete checkpoint in `context.scratch`, which holds this run alone and is its owner's
        to remove. Raises RoundFailed when there is nothing to train on or the loss is not finite, OSError when the disk
        is full.
        """
        own = self.select(examples)
        from selftaught.training.loops.sft import run

        return run(self, model, own, out, context)
