"""Supervised fine-tuning: raise the likelihood of the completions, given their prompts.

Completion-only negative log-likelihood on TRL's SFTTrainer, full weights or LoRA. Prompt tokens are never trained on,
and logits are computed for completion tokens alone. It does not weigh examples: weights other than 1 are refused.
The loop itself is in `selftaught.training.loops.sft`.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from selftaught.blocks import Objective, TrainContext, TrainResult
from selftaught.errors import BadInput, RoundFailed
from selftaught.records import Example


class Lora(BaseModel):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) in place of full weights; merged when training ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: PositiveInt = 16
    alpha: PositiveFloat = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"


class SFT(Objective, type="sft"):
    """Fine-tune on prompt/completion examples. Batches of `batch_size` x `gradient_accumulation` examples a step.

    Source: TRL's SFTTrainer with `completion_only_loss`; the loss of a step is the mean over its completion tokens.
    """

    epochs: PositiveFloat = 2
    learning_rate: PositiveFloat = 5e-5
    batch_size: PositiveInt = 8
    gradient_accumulation: PositiveInt = 1
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps with a rising learning rate")] = 0.0
    scheduler: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    max_length: Annotated[int, Field(gt=1, description="tokens; longer examples are left out, never cut")] = 1024
    batching: Literal["shared", "length_grouped", "packed", "padded"] = "shared"
    """`shared` puts the examples of a prompt into one batch and computes once what a batch's examples begin with (a
    model that does not attend to everything gets `padded`); `length_grouped` pads examples of similar length; `packed`
    lays the examples of a batch end to end, blind to one another, with no padding (attention then costs the square of
    the batch's tokens); `padded` pads random batches."""
    precision: Literal["auto", "mixed", "bf16", "fp32"] = "auto"
    """`mixed`: fp32 weights, bf16 products; `bf16`: bf16 weights, half the memory, loses small updates; `auto`: mixed
    where the hardware multiplies bf16, else fp32. The written model keeps the precision it came in."""
    gradient_checkpointing: bool = False
    checkpoint_every: Annotated[PositiveInt, Field(description="steps")] = 50
    lora: Lora | None = None

    def check(self) -> None:
        """Raise BadInput when a package that training needs is missing."""
        needed = ["torch", "trl", "peft"] if self.lora else ["torch", "trl"]
        for package in needed:
            if importlib.util.find_spec(package) is None:
                raise BadInput(
                    f"sft needs {package}, which is not installed here. Run: pip install 'selftaught[train]'"
                )

    def train(self, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
        """Train the model in `model` on `examples` and write the new one, whole or not at all, to `out`.

        Goes on from the newest whole checkpoint in `context.scratch`, which holds this run alone and is its owner's to
        remove. Raises RoundFailed when there is nothing to train on or the loss is not finite, BadInput on weighted
        examples, OSError when the disk is full.
        """
        self._refuse(examples)
        from selftaught.training.loops.sft import run

        return run(self, model, examples, out, context)

    def _refuse(self, examples: Sequence[Example]) -> None:
        if not examples:
            raise RoundFailed("sft: no examples to train on. Accept more rollouts: raise k, or ease the verifiers.")
        weighted = next((example for example in examples if example.weight != 1), None)
        if weighted:
            raise BadInput(
                f"sft: example {weighted.id} has weight {weighted.weight}, and sft does not weigh examples. "
                "Use a curator that gives every example weight 1."
            )
