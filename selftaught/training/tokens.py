"""Inputs and outputs of objectives for a batch, as tensors.

Prefix trees, padding, precision, adapters and processes are the loop's business (`selftaught.training.loops`); an
objective is a function from here to here, and knows none of them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Need = Literal["reference", "behaviour", "values"]
"""What an objective asks for beside the log-probabilities of the trained model: the `reference` ones, of the model that
training starts from; those of the `behaviour` policy, which sampled; or, instead of all these, the `values` that a
value head reads at the end of each sequence."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """E examples, their S sequences and the M tokens of these that count: those whose own weight is not 0.

    An example has one sequence, or two where it is a pair. Sequences stand in the order of the examples, the first one
    of each before the second one of any: chosen sides first. An example's `weight` w counts as w copies of it.
    """

    logprobs: "Tensor"
    """(M) of each token, given those before it; empty where `values` are asked for."""
    reference: "Tensor"
    """(M) the same before training; empty where they are not asked for."""
    behaviour: "Tensor"
    """(M) the same when the tokens were sampled; empty where they are not asked for."""
    advantages: "Tensor"
    """(M) of each token: how much better than expected it was; 0 where it has none."""
    values: "Tensor"
    """(E) at the end of each example's sequence; empty where they are not asked for."""
    weights: "Tensor"
    """(M) of each token: its own times its example's."""
    owners: "Tensor"
    """(M) the sequence of each token."""
    examples: "Tensor"
    """(E) the weight of each example."""
    labels: "Tensor"
    """(E) what each example is worth, or if it is reinforced, the mean reward of its task; 0 where it has no label."""
    smoothing: "Tensor"
    """(E) the probability that a pair is the wrong way round."""
    sequences: int

    def summed(self, each: "Tensor") -> "Tensor":
        """The sums (S), over each sequence, of what there is of `each` token (M)."""
        return each.new_zeros(self.sequences).index_add(0, self.owners, each)


class Loss(NamedTuple):
    """A loss summed over the items of a batch, and how many these are: a step's loss is the quotient of the sums."""

    total: "Tensor"
    items: "Tensor"
