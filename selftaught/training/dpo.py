"""Direct preference optimisation: make the better side of a pair likelier than the worse one, against a reference.

The DPO family: sigmoid (Rafailov et al. 2023, arXiv 2305.18290), hinge (SLiC, Zhao et al. 2023, arXiv 2305.10425, an
option of SPIN's code), IPO (Azar et al. 2023, arXiv 2310.12036), conservative (label smoothing, Mitchell 2023), EXO (Ji
et al. 2024, arXiv 2402.00856), and ORPO, which has no reference (Hong et al. 2024, arXiv 2403.07691); with each of
them, imitation of the better side (iterative RPO, Pang et al. 2024, arXiv 2404.19733). Step-level DPO is the same on
pairs that share a prefix: only what comes after it counts. The reference is the model that training starts from. Which
pairs there are is the curators' business.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from typing_extensions import override

from selftaught.blocks import TrainContext, TrainResult
from selftaught.core.errors import RoundFailed
from selftaught.records import Example, Prefer, TargetType
from selftaught.training.gradient import Epochs, Gradient, Rate
from selftaught.training.tokens import Loss, Need, TokenBatch

if TYPE_CHECKING:
    from torch import Tensor

    from selftaught.training.loops.batches import Row
    from selftaught.training.rendering import Chat

CERTAIN = 1e-7
"""Nats below which a likelihood counts as 1: the odds of that are infinite."""


class DPO(Gradient, type="dpo"):
    """Learn from pairs. With h the difference of the two sides' log-ratios to the reference:

    `sigmoid`: -log s(beta h); `hinge`: max(0, 1 - beta h); `ipo`: (h / tokens - 1 / (2 beta))^2, log-ratios per token
    as in TRL; `conservative`: -(1 - e) log s(beta h) - e log s(-beta h), where e is the pair's own `label_smoothing`
    (of the curator's making, e.g. from visits as in MCTS-DPO, arXiv 2405.00451) or, where that is 0, the one given
    here; `exo`: the divergence of (s(beta h), s(-beta h)) from (1 - e, e), its equation 16.

    `orpo` has no reference: the chosen side's negative log-likelihood per token, minus beta log s(log odds ratio) of
    the two sides' likelihoods per token.

    To each of them `nll` times the chosen side's negative log-likelihood per token is added.
    """

    target: ClassVar[TargetType] = "prefer"
    online: ClassVar[bool] = True
    dropout: ClassVar[bool] = False  # as in TRL: log-ratios to the reference would have its noise
    hint: ClassVar[str] = "Add a curator that gives pairs (pairs, step_pairs), sample more, or search wider."

    epochs: Epochs = 1
    learning_rate: Rate = 5e-6
    loss: Annotated[
        Literal["sigmoid", "hinge", "ipo", "conservative", "exo", "orpo"],
        Field(
            description="of a pair: DPO's, SLiC's, IPO's, DPO's for pairs that may be the wrong way round, EXO's, or "
            "ORPO's"
        ),
    ] = "sigmoid"
    beta: Annotated[
        PositiveFloat,
        Field(description="how strongly the model is held to the reference; with `loss: orpo` the odds ratio's weight"),
    ] = 0.1
    label_smoothing: Annotated[
        float,
        Field(
            ge=0,
            lt=0.5,
            description="probability that a pair is the wrong way round, with `loss: conservative` and `exo`",
        ),
    ] = 0.0
    length_normalised: Annotated[
        bool,
        Field(description="log-ratios per token, so that a side's length does not count; `ipo`, `orpo` always do so"),
    ] = False
    nll: Annotated[
        NonNegativeFloat, Field(description="weight of the chosen side's negative log-likelihood per token; 0: none")
    ] = 0.0

    @model_validator(mode="after")
    def _exo_is_smoothed(self) -> Self:
        if self.loss == "exo" and not self.label_smoothing:
            raise ValueError("loss: exo is infinite with label_smoothing: 0; set it, such as to the paper's 0.001")
        return self

    @property
    @override
    def needs(self) -> frozenset[Need]:
        return frozenset() if self.loss == "orpo" else frozenset({"reference"})

    def compute_loss(self, tokens: TokenBatch) -> Loss:
        """The loss of the pairs, each times its weight; weights are what counts."""
        lengths = tokens.summed(tokens.logprobs.new_ones(len(tokens.logprobs)))
        if self.loss == "orpo":
            each = odds_losses(self.beta, tokens.summed(tokens.logprobs) / lengths)
        else:
            ratios = tokens.summed(tokens.logprobs - tokens.reference)
            each = pair_losses(self, ratios, lengths, tokens.smoothing)
        if self.nll:
            each = each - self.nll * (tokens.summed(tokens.logprobs) / lengths).chunk(2)[0]
        return Loss((tokens.examples * each).sum(), tokens.examples.abs().sum())

    @override
    def rows(self, example: Example, chat: "Chat") -> "list[Row]":
        """The pair as one row of two sequences; none where a side's tokens would not say it.

        Raises RoundFailed where its loss would be infinite.
        """
        from selftaught.training.loops.dpo import pair

        if self.loss == "exo" and isinstance(example.target, Prefer) and example.target.smoothing == 1:
            raise RoundFailed(
                f"{self.name}: a pair of task {example.task} has smoothing 1, at which loss: exo is infinite. Have its "
                "curator give less, or swap the pair's sides."
            )
        made = pair(example, chat)
        return [made] if made else []

    def train(self, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
        """Train the model in `model` on the pairs of `examples` and write the new one atomically to `out`.

        Resumes from the latest complete checkpoint in `context.scratch`. Raises RoundFailed when there are no pairs or
        the loss is not finite, OSError when the disk is full.
        """
        own = self.select(examples)
        from selftaught.training.loops.dpo import run

        return run(self, model, own, out, context)


def pair_losses(config: DPO, ratios: "Tensor", lengths: "Tensor", smoothing: "Tensor") -> "Tensor":
    """The loss (B) of each pair from the log-ratios (2 B) of its sides to the reference, the chosen ones first.

    `lengths` (2 B) are the tokens of each side that count, `smoothing` (B) is the pairs' own.
    """
    import torch
    from torch.nn.functional import logsigmoid

    per_token = config.length_normalised or config.loss == "ipo"
    chosen, rejected = (ratios / lengths if per_token else ratios).chunk(2)
    scaled = config.beta * (chosen - rejected)
    smooth = torch.where(smoothing > 0, smoothing, config.label_smoothing)
    match config.loss:
        case "ipo":
            return (chosen - rejected - 1 / (2 * config.beta)) ** 2
        case "hinge":
            return (1 - scaled).clamp(min=0)
        case "sigmoid":
            return -logsigmoid(scaled)
        case "exo":
            right = scaled.sigmoid() * (logsigmoid(scaled) - torch.log1p(-smooth))
            return right + (-scaled).sigmoid() * (logsigmoid(-scaled) - smooth.log())
        case _:
            return -(1 - smooth) * logsigmoid(scaled) - smooth * logsigmoid(-scaled)


def odds_losses(beta: float, likelihoods: "Tensor") -> "Tensor":
    """ORPO's loss (B) of each pair from the log-likelihoods per token (2 B) of its sides, the chosen ones first."""
    import torch
    from torch.nn.functional import logsigmoid

    odds = likelihoods - torch.log(-torch.expm1(likelihoods.clamp(max=-CERTAIN)))
    chosen, rejected = odds.chunk(2)
    return -likelihoods.chunk(2)[0] - beta * logsigmoid(chosen - rejected)
