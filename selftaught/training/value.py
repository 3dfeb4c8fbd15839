"""Value regression: teach a model what partial solutions are worth.

A linear head on the last token's hidden state of the policy's backbone, mean squared error against labels in [0, 1]:
the value model of ReST-MCTS* (Zhang et al. 2024, arXiv 2406.03816). How labels come about is the curators' business;
the alternative without a head is `sft` on the examples of the `true_false` curator.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from selftaught.blocks import TrainContext, TrainResult
from selftaught.records import Example, TargetType
from selftaught.training.gradient import Gradient, Rate
from selftaught.training.tokens import Loss, Need, TokenBatch


class ValueMSE(Gradient, type="value_mse"):
    """Learn the labels of value examples. A model without a value head gets a new one, drawn by the seed.

    The examples of `held_out` of the tasks are kept apart, and the trained model is measured on them: mean absolute
    error beside that of a constant, share within 0.1, AUROC of right against wrong steps, calibration.
    """

    target: ClassVar[TargetType] = "regress"
    hint: ClassVar[str] = "Add a curator that gives values (step_values) to a stage that searches."

    role: Annotated[str, Field(description="the role whose model is trained")] = "value"
    learning_rate: Rate = 2e-5
    held_out: Annotated[
        float, Field(ge=0, lt=1, description="share of the tasks whose examples measure the trained model instead")
    ] = 0.2

    @model_validator(mode="after")
    def _trains_all(self) -> Self:
        if self.lora:
            raise ValueError("lora: a value model trains all its weights, its head among them. Leave lora out.")
        return self

    @property
    @override
    def needs(self) -> frozenset[Need]:
        return frozenset({"values"})

    def compute_loss(self, tokens: TokenBatch) -> Loss:
        """The squared error of the values, each times its example's weight; weights are what counts."""
        errors = (tokens.values - tokens.labels) ** 2
        return Loss((tokens.examples * errors).sum(), tokens.examples.abs().sum())

    def train(self, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
        """Train the model in `model` on the values of `examples` and write the new one atomically to `out`.

        Resumes from the latest complete checkpoint in `context.scratch`. Raises RoundFailed when there are no values or
        the loss is not finite, OSError when the disk is full.
        """
        own = self.select(examples)
        from selftaught.training.loops.value import run

        return run(self, model, own, out, context)
