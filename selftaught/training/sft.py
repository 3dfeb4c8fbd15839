"""Supervised fine-tuning: raise the likelihood of the completions, given their prompts.

Completion-only negative log-likelihood, full weights or LoRA. Prompt tokens are never trained on, and logits are
computed for completion tokens alone. How examples become rows of tokens is in `selftaught.training.loops.sft`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from selftaught.blocks import TrainContext, TrainResult
from selftaught.records import Example, TargetType
from selftaught.training.gradient import Gradient
from selftaught.training.tokens import Loss, TokenBatch

if TYPE_CHECKING:
    from selftaught.training.loops.batches import Layout


class MaskInputs(BaseModel):
    """Masked Thought Fine-Tuning (Chen et al. 2024, arXiv 2403.02178): of what the model reads of its own answer while
    it is trained, a share is replaced by a mask token. What it is to say is not changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    share: Annotated[float, Field(ge=0, lt=1, description="of the tokens that are masked; the paper's: .4, .2")] = 0.4
    over: Annotated[
        Literal["completion", "all"],
        Field(description="which tokens: those that are learnt from, or those of the question as well (a control)"),
    ] = "completion"
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps in which `share` rises from 0")] = 0.66
    token: Annotated[
        str | None,
        Field(description="the special token that stands in for others; null: one that the vocabulary has to spare"),
    ] = None


class SFT(Gradient, type="sft"):
    """Fine-tune on prompt/completion examples.

    The loss of a step is the mean over its completion tokens, as that of TRL's SFTTrainer with `completion_only_loss`.
    """

    target: ClassVar[TargetType] = "imitate"
    online: ClassVar[bool] = True
    hint: ClassVar[str] = "Accept more rollouts: raise k, or ease the verifiers."

    batching: Literal["shared", "length_grouped", "packed", "padded"] = "shared"
    """`shared` puts the examples of a prompt into one batch and computes once what a batch's examples begin with (a
    model that does not attend to everything gets `padded`); `length_grouped` pads examples of similar length; `packed`
    lays the examples of a batch end to end, blind to one another, with no padding (attention then costs the square of
    the batch's tokens); `padded` pads random batches."""
    mask_inputs: Annotated[
        MaskInputs | None, Field(description="mask a share of what the model reads of an answer; null: nothing")
    ] = None

    def compute_loss(self, tokens: TokenBatch) -> Loss:
        """The negative log-likelihood of the tokens, each times its weight; weights are what counts."""
        return Loss(-(tokens.weights * tokens.logprobs).sum(), tokens.weights.abs().sum())

    @override
    def layout(self, model: Path) -> "Layout":
        """As `batching` says, where the model in `model` allows it."""
        from selftaught.training.loops.sft import layout_of

        return layout_of(self, model)

    def train(self, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
        """Train the model in `model` on `examples` and write the new one atomically to `out`.

        Resumes from the latest complete checkpoint in `context.scratch`, which holds this run alone and is its owner's
        to remove. Raises RoundFailed when there is nothing to train on or the loss is not finite, OSError when the disk
        is full.
        """
        own = self.select(examples)
        from selftaught.training.loops.sft import run

        return run(self, model, own, out, context)
