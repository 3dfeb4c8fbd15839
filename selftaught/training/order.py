"""The order of a run: which example is in which batch, decided before training starts.

A run is one list of indices, cut into batches from the left. It depends on the seed alone, so a run that resumes from
a checkpoint skips what it has seen and meets the rest in the same order. Tensors are the trainer's business.
"""

import math
import random
from collections.abc import Hashable, Sequence

WINDOW = 16
"""Batches that are sorted by length together: wide enough to waste little padding, narrow enough to stay mixed."""


def shuffled(items: Sequence[int], epochs: float, seed: int) -> list[int]:
    """`epochs` passes over `items`, each shuffled again; the last one is cut where `epochs` is not an integer."""
    generator = random.Random(seed)
    passes = [generator.sample(items, len(items)) for _ in range(math.ceil(epochs))]
    return [item for one in passes for item in one][: max(1, round(epochs * len(items)))]


def prompt_grouped(items: Sequence[int], prompts: Sequence[Hashable], epochs: float, seed: int) -> list[int]:
    """`epochs` passes over `items`, each shuffled again, with the examples of one prompt next to one another.

    `prompts[i]` is the prompt of example `i`. The last pass is cut where `epochs` is not an integer.
    """
    order: list[int] = []
    for start in range(math.ceil(epochs)):
        drawn = shuffled(items, 1, seed + start)
        first = {prompts[item]: position for position, item in reversed(list(enumerate(drawn)))}
        order += sorted(drawn, key=lambda item: first[prompts[item]])
    return order[: max(1, round(epochs * len(items)))]


def length_grouped(order: Sequence[int], lengths: Sequence[int], batch_size: int, seed: int) -> list[int]:
    """`order` with neighbours in length in the same batch, and the batches shuffled.

    Grouping stays within windows of `WINDOW` batches. Only the last batch may be short. `lengths[i]` is the length of
    example `i` in tokens.
    """
    generator = random.Random(seed)
    size = WINDOW * batch_size
    grouped: list[int] = []
    for start in range(0, len(order), size):
        window = sorted(order[start : start + size], key=lambda index: lengths[index])
        batches = [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
        short = [batches.pop()] if len(batches[-1]) < batch_size else []
        generator.shuffle(batches)
        grouped += [index for batch in batches + short for index in batch]
    return grouped
