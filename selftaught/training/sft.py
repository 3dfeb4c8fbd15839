"""Supervised fine-tuning: raise the likelihood of the completions, given their prompts.

Completion-only negative log-likelihood on TRL's SFTTrainer, full weights or LoRA. Prompt tokens are never trained on,
and logits are computed for completion tokens alone. It does not weigh examples: weights other than 1 are refused.
The loop itself is in `selftaught.training.loops.sft`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from selftaught.blocks import TrainContext, TrainResult
from selftaught.records import Example, ExampleKind
from selftaught.training.gradient import Gradient


class SFT(Gradient, type="sft"):
    """Fine-tune on prompt/completion examples.

    Source: TRL's SFTTrainer with `completion_only_loss`; the loss of a step is the mean over its completion tokens.
    """

    example_kind: ClassVar[ExampleKind] = "completion"
    hint: ClassVar[str] = "Accept more rollouts: raise k, or ease the verifiers."

    batching: Literal["shared", "length_grouped", "packed", "padded"] = "shared"
    """`shared` puts the examples of a prompt into one batch and computes once what a batch's examples begin with (a
    model that does not attend to everything gets `padded`); `length_grouped` pads examples of similar length; `packed`
    lays the examples of a batch end to end, blind to one another, with no padding (attention then costs the square of
    the batch's tokens); `padded` pads random batches."""

    def train(self, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
        """Train the model in `model` on `examples` and write the new one, whole or not at all, to `out`.

        Goes on from the newest whole checkpoint in `context.scratch`, which holds this run alone and is its owner's to
        remove. Raises RoundFailed when there is nothing to train on or the loss is not finite, BadInput on weighted
        examples, OSError when the disk is full.
        """
        own = self.select(examples)
        from selftaught.training.loops.sft import run

        return run(self, model, own, out, context)
