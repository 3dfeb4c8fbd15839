"""Policy gradient: make what was sampled likelier if it was better than expected, and less likely if it was worse.

REINFORCE (Williams 1992), PPO's clipped ratio as GRPO has it (Shao et al. 2024, arXiv 2402.03300), NFT (Chen et al.
2025, arXiv 2505.18116), each with a KL penalty by Schulman's k3 estimate. What GRPO and RLOO differ in beside are the
advantages, and these are the curators' business (`advantages`). The loss of a batch is a function of log-probabilities;
whether it was sampled a moment ago or a round ago is not known here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat
from typing_extensions import override

from selftaught.blocks import HeldTo, TrainContext, TrainResult
from selftaught.records import Example, TargetType
from selftaught.training.gradient import Epochs, Gradient, Rate
from selftaught.training.tokens import Loss, Need, TokenBatch

if TYPE_CHECKING:
    from torch import Tensor

    from selftaught.training.loops.batches import Row
    from selftaught.training.rendering import Chat

PASS_RATES = (0.02, 0.98)
"""Between these NFT holds a task's mean reward, as its code does."""
FLOOR = 1e-3
"""The least that NFT takes the implicit negative policy's ratio for."""


class KL(BaseModel):
    """A penalty per token on leaving the reference: w (exp(d) - d - 1), with d = log p_reference - log p (k3)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    weight: Annotated[PositiveFloat, Field(description="of the penalty beside the loss: GRPO's beta")] = 0.04
    to: Annotated[
        HeldTo,
        Field(
            description="the reference: the model that training starts from, or the one that the line began with",
            exclude_if=lambda to: to == "start",
        ),
    ] = "start"


class PolicyGradient(Gradient, type="policy_gradient"):
    """Learn from rollouts with advantages. With A the advantage of a token, p its probability, R = p / p_old:

    `reinforce`: -A log p; `clip`: -min(R A, clip(R, 1 - clip_low, 1 + clip_high) A); `nft`: -A log R where A > 0, else
    -|A| (1 - r) / r log((1 - r R) / (1 - r)), where r is the task's mean reward (the share of right answers). Where p
    is p_old all three have one gradient.
    """

    target: ClassVar[TargetType] = "reinforce"
    online: ClassVar[bool] = True
    dropout: ClassVar[bool] = False  # a ratio to the policy that sampled would have its noise
    hint: ClassVar[str] = "Every task is all right or all wrong: raise k, or take tasks of another difficulty."

    epochs: Epochs = 1
    learning_rate: Rate = 1e-5
    loss: Annotated[
        Literal["reinforce", "clip", "nft"],
        Field(description="of a token: REINFORCE's, with PPO's clipped ratio (GRPO), or NFT's"),
    ] = "clip"
    clip_low: Annotated[float, Field(gt=0, le=1, description="a ratio below 1 - this teaches no more, with `clip`")] = (
        0.2
    )
    clip_high: Annotated[PositiveFloat, Field(description="a ratio above 1 + this teaches no more, with `clip`")] = 0.2
    old: Annotated[
        Literal["recomputed", "sampled"],
        Field(description="p_old: by the trainer before the first update, or as the engine gave it when sampling"),
    ] = "recomputed"
    aggregate: Annotated[
        Literal["sequence", "token"],
        Field(description="mean over the tokens of each rollout, then over these (GRPO), or over all tokens (DAPO)"),
    ] = "sequence"
    kl: Annotated[KL | None, Field(description="penalty on leaving the reference")] = None

    @property
    @override
    def needs(self) -> frozenset[Need]:
        wanted: dict[Need, bool] = {"behaviour": self.old == "recomputed", "reference": self.kl is not None}
        return frozenset(need for need, wants in wanted.items() if wants)

    @property
    @override
    def held_to(self) -> HeldTo:
        return self.kl.to if self.kl else "start"

    def compute_loss(self, tokens: TokenBatch) -> Loss:
        """The loss of the tokens, each times its weight; weights are what counts."""
        each = token_losses(self, tokens)
        if self.kl:
            each = each + self.kl.weight * k3(tokens.reference - tokens.logprobs)
        weights = tokens.weights if self.aggregate == "token" else per_sequence(tokens)
        return Loss((weights * each).sum(), weights.abs().sum())

    @override
    def rows(self, example: Example, chat: "Chat") -> "list[Row]":
        """The rollout in the tokens that were sampled. Raises RoundFailed when `old: sampled` is not known."""
        from selftaught.training.loops.policy_gradient import rows_of

        return rows_of(self, example, chat)

    def train(self, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
        """Train the model in `model` on the rollouts of `examples` and write the new one atomically to `out`.

        Resumes from the latest complete checkpoint in `context.scratch`. Raises RoundFailed when there are no rollouts,
        or without log-probabilities for `old: sampled`, or the loss is not finite, OSError when the disk is full.
        """
        own = self.select(examples)
        from selftaught.training.loops.policy_gradient import run

        return run(self, model, own, out, context)


def token_losses(config: PolicyGradient, tokens: TokenBatch) -> "Tensor":
    """The loss (M) of each token, without the penalty."""
    if config.loss == "reinforce":
        return -tokens.advantages * tokens.logprobs
    ratios = (tokens.logprobs - tokens.behaviour).exp()
    if config.loss == "clip":
        clipped = ratios.clamp(1 - config.clip_low, 1 + config.clip_high)
        return -(ratios * tokens.advantages).minimum(clipped * tokens.advantages)
    return _negative_aware(ratios, tokens.advantages, tokens.labels[tokens.owners])


def _negative_aware(ratios: "Tensor", advantages: "Tensor", mean_rewards: "Tensor") -> "Tensor":
    """NFT's loss (M): right answers by the ratio, wrong ones by that of the negative policy that it implies.

    The floor holds the value and lets the gradient through. Weighed so that on-policy, the gradient is REINFORCE's.
    """
    import torch

    rates = mean_rewards.clamp(*PASS_RATES)
    negative = (1 - rates * ratios) / (1 - rates)
    held = negative + (negative.clamp(min=FLOOR) - negative).detach()
    wrong = advantages * (1 - rates) / rates * held.log()
    return torch.where(advantages > 0, -advantages * ratios.log(), wrong)


def k3(differences: "Tensor") -> "Tensor":
    """Schulman's estimate of the KL divergence from the reference, token by token: never below 0, and unbiased."""
    return differences.exp() - differences - 1


def per_sequence(tokens: TokenBatch) -> "Tensor":
    """The weights (M) of which each sequence's add up to the weight of its example."""
    sums = tokens.summed(tokens.weights.abs()).clamp(min=1e-9)  # all are 0 where a process has no share of a batch
    return tokens.weights / sums[tokens.owners] * tokens.examples.abs()[tokens.owners]
