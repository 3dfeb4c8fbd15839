"""Whether a model reads a sequence alike, whatever stands beside it in a batch: asked of it before it is trained.

Trees and packed rows go by the masks and positions that a model is given. One that keeps a state from token to token,
convolves, or measures distances in its own way reads other sequences' tokens there, without an error, and the loss
looks like any other. Configurations have no common name for this, so a few sequences are read in both ways. Windows,
which only long sequences come to feel, are read from the configuration (`can_share`).
"""

import logging
import random
from collections.abc import Sequence
from typing import Any, cast

import torch

from selftaught.training.loops.batches import Ids, Layout, Row, Tokens, batch, padded
from selftaught.training.loops.learner import Learner
from selftaught.training.loops.processes import bare

SHARED, OWN = 12, 20
"""Tokens that the sequences begin with together, and those that each has behind them."""
LEAST = 1e-3
"""Nats, or values, that two ways of reading may be apart on average, beside `ROUNDED` times what is rounding."""
ROUNDED = 4.0


def trusted(learner: Learner) -> Layout:
    """The learner's layout, or rows of their own, padded, where its model reads otherwise in it."""
    if learner.layout is padded or _reads_alike(learner):
        return learner.layout
    if learner.processes.first:
        logging.getLogger(__name__).warning(
            "in batches laid out to compute shared or short sequences together (%s) this model would read other "
            "sequences' tokens, so they are padded instead",
            cast(Any, learner.layout).__name__,
        )
    return padded


def _reads_alike(learner: Learner) -> bool:
    sequences = _sequences(cast(Any, bare(learner.module)).model.get_input_embeddings().weight.shape[0])
    learner.module.eval()
    alone = torch.cat([_read(learner, [one], padded) for one in sequences])
    rounding = (_read(learner, sequences, padded) - alone).abs().mean()
    try:
        apart = (_read(learner, sequences, learner.layout) - alone).abs().mean()
    except (ValueError, TypeError, RuntimeError):  # it takes no such masks or positions
        return False
    return bool(apart <= LEAST + ROUNDED * rounding)


def _read(learner: Learner, sequences: Sequence[Ids], layout: Layout) -> torch.Tensor:
    """What the model reads of each token but the first, or of each sequence, in its weights' own precision."""
    rows = [Row((Tokens(ids, (1.0,) * len(ids)),)) for ids in sequences]
    with torch.no_grad():
        return bare(learner.module)(batch(rows, layout).to(learner.processes.device).inputs).float()


def _sequences(vocabulary: int) -> list[Ids]:
    drawn = random.Random("probing")
    start, *rest = [tuple(drawn.choices(range(vocabulary), k=count)) for count in (SHARED, OWN, OWN, OWN)]
    return [(*start, *own) for own in rest]
