"""What is read from a model: log-probabilities of the tokens that count, or the values at the ends of sequences.

A reader is a module of its own, and its forward all that a step does with the weights: what wraps modules (replicas,
shards) has one call to look after, whichever part of the model it goes through.
"""

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from selftaught.training.loops.batches import Inputs

GIVEN = ("input_ids", "position_ids", "attention_mask")
"""What a model itself is given, as far as a layout has it."""


class LogitsAt:
    """While open, `head` projects the hidden states at `sources` alone: logits have the shape (sources, vocabulary).

    `sources` are places in the batch, its rows laid end to end. The forward's own `logits_to_keep` can only keep the
    same positions of every row.
    """

    def __init__(self, sources: torch.Tensor, head: torch.nn.Module) -> None:
        self.hook = head.register_forward_pre_hook(lambda _, given: (given[0].flatten(0, 1)[sources],))

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.hook.remove()


class LogProbs(torch.nn.Module):
    """Reads the log-probabilities (M) of the tokens that count.

    Logits are computed for these alone: with a small model and a large vocabulary they are a good part of all work.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """The log-probabilities of a batch."""
        with LogitsAt(inputs["sources"], self.model.get_output_embeddings()):
            logits = self.model(**given(inputs), use_cache=False).logits
        return -cross_entropy(logits.float(), inputs["targets"], reduction="none")


class Values(torch.nn.Module):
    """Reads the values (S) at the last tokens, as vLLM's pooling does: the true last ones, no padding."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """The values of a batch."""
        backbone = getattr(self.model, self.model.base_model_prefix)
        hidden = backbone(**given(inputs), use_cache=False).last_hidden_state
        return self.model.score(hidden.flatten(0, 1)[inputs["ends"]])[:, 0].clone().float()  # shards take no views


def given(inputs: Inputs) -> Inputs:
    """The part of a batch's inputs that a model itself takes."""
    return {name: inputs[name] for name in GIVEN if name in inputs}
