"""The learning rate of a step, as a share of the one that is asked for. A function of the step alone: no state to keep.

The shapes are those of transformers' `get_scheduler`.
"""

import math
from typing import Literal

Shape = Literal["linear", "cosine", "constant_with_warmup"]


def rate(shape: Shape, step: int, steps: int, warmup: float) -> float:
    """The share for step `step`, counted from 0, of `steps`, of which a share `warmup` has a rising rate."""
    rising = math.ceil(steps * warmup)
    if step < rising:
        return step / rising
    gone = (step - rising) / max(1, steps - rising)
    if shape == "linear":
        return 1 - gone
    return (1 + math.cos(math.pi * gone)) / 2 if shape == "cosine" else 1.0
