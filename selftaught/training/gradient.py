"""What objectives that train weights by gradients have in common: a loss, and steps, rates, precision, checkpoints.

The settings alone, so that recipes can be read without torch. The loop is in `selftaught.training.loops`, and knows of
an objective what it `needs` and its `compute_loss`.
"""

import importlib.util
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt
from typing_extensions import override

from selftaught.blocks import Objective, OnlinePlan, TrainContext, TrainResult
from selftaught.core.errors import BadInput, RoundFailed
from selftaught.records import Example, TargetType
from selftaught.training.schedule import Shape
from selftaught.training.tokens import Loss, Need, TokenBatch

if TYPE_CHECKING:
    from selftaught.training.loops.batches import Layout, Row
    from selftaught.training.rendering import Chat


class Lora(BaseModel):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) instead of full weights; merged when training ends."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: Annotated[PositiveInt, Field(description="of the factors that a change of weights is the product of")] = 16
    alpha: Annotated[PositiveFloat, Field(description="the change is scaled by alpha / rank")] = 32
    dropout: Annotated[float, Field(ge=0, lt=1, description="share of an adapter's inputs left out in training")] = 0.0
    targets: Annotated[
        tuple[str, ...] | Literal["all-linear"],
        Field(description="names of the modules that get adapters; all-linear: every linear layer but the output's"),
    ] = "all-linear"


Epochs = Annotated[PositiveFloat, Field(description="passes over the examples; the last may be a part of one")]
Rate = Annotated[PositiveFloat, Field(description="AdamW's learning rate, after the warm-up")]


class Gradient(Objective):
    """Batches of `batch_size` x `gradient_accumulation` examples a step, for `epochs` passes over the examples.

    Several processes share each batch: a step sees the same examples, however many there are.

    An objective learns from the examples of its own kind and passes over all others. One of weight 2 counts as two.
    """

    parallel: ClassVar[bool] = True
    target: ClassVar[TargetType]
    dropout: ClassVar[bool] = True
    """Whether a model that has dropout of its own is trained with it (few have); `lora.dropout` is apart from it."""

    epochs: Epochs = 2
    learning_rate: Rate = 5e-5
    batch_size: Annotated[PositiveInt, Field(description="examples in memory at once, of all processes together")] = 8
    gradient_accumulation: Annotated[PositiveInt, Field(description="batches whose gradients make one step")] = 1
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps with a rising learning rate")] = 0.0
    scheduler: Annotated[
        Shape,
        Field(description="whether and how the learning rate falls to 0 after the warm-up"),
    ] = "linear"
    weight_decay: Annotated[NonNegativeFloat, Field(description="AdamW's; 0: none")] = 0.0
    max_grad_norm: Annotated[PositiveFloat, Field(description="larger gradients are scaled down to this norm")] = 1.0
    max_length: Annotated[int, Field(gt=1, description="tokens; longer examples are left out, never cut")] = 1024
    precision: Literal["auto", "mixed", "bf16", "fp32"] = "auto"
    """`mixed`: fp32 weights, bf16 products; `bf16`: bf16 weights, half the memory, loses small updates; `auto`: mixed
    where the hardware multiplies bf16, else fp32. The written model keeps the precision it came in."""
    gradient_checkpointing: Annotated[
        bool, Field(description="compute activations twice instead of keeping them: less memory, slower")
    ] = False
    sharded: bool | Literal["auto"] = "auto"
    """Whether several processes split weights, gradients and optimizer state among them, or each has all of them;
    `auto`: where GPUs have no room for all of it."""
    checkpoint_every: Annotated[PositiveInt, Field(description="steps from one checkpoint to the next")] = 50
    lora: Annotated[Lora | None, Field(description="train adapters; null trains all weights")] = None

    @property
    def needs(self) -> frozenset[Need]:
        """What `compute_loss` reads beside the log-probabilities of the model that is trained."""
        return frozenset()

    def check(self) -> None:
        """Raise BadInput when a package that training needs is missing."""
        needed = ["torch", "accelerate", "transformers", *(["peft"] if self.lora else [])]
        for package in needed:
            if importlib.util.find_spec(package) is None:
                raise BadInput(
                    f"{self.name} needs {package}, which is not installed here. Run: pip install 'selftaught[train]'"
                )

    @abstractmethod
    def compute_loss(self, tokens: TokenBatch) -> Loss:
        """What a batch loses, summed over its items, and how many these are. Both are scalars, on its device."""

    def select(self, examples: Sequence[Example]) -> list[Example]:
        """The examples that this objective learns from: of its target and role, and not of weight 0.

        Raises RoundFailed when there are none.
        """
        own = [example for example in examples if self.accepts(example)]
        if not own:
            raise RoundFailed(f"{self.name}: no examples to train on. {self.hint}")
        return own

    def accepts(self, example: Example) -> bool:
        """Whether it is of this objective's target and role, and not of weight 0."""
        mine = example.role in (None, self.role)
        return mine and example.target.type == self.target and example.weight != 0

    def rows(self, example: Example, chat: "Chat") -> "list[Row]":
        """An example as rows of tokens, none where it cannot be said: its first sequence, unless overridden."""
        from selftaught.training.loops.sft import rows_of

        return rows_of(example, chat)

    def layout(self, model: Path) -> "Layout":
        """How rows are laid out in a batch: as trees of the prompts that they share, where the model in `model` can."""
        from selftaught.training.loops.batches import shared

        return shared(model)

    @override
    def train_online(self, model: Path, plan: OnlinePlan, out: Path, context: TrainContext) -> TrainResult:
        """Train the model in `model` on what `plan` brings and write the new one atomically to `out`.

        Resumes from the latest complete checkpoint in `context.scratch`. Raises RoundFailed when the loss is not
        finite, OSError when the disk is full.
        """
        from selftaught.training.loops.online import run

        return run(self, model, plan, out, context)

    hint: ClassVar[str]
    """What to change when there is nothing to learn from."""
