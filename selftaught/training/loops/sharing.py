"""Batches in which examples share what they begin with: a token that several have in common is computed once.

Samples of one task share its prompt, and all share the chat's opening, which for short answers is most of all tokens.
A row holds a prefix tree of its examples: a token stands at the position it has in its examples and sees its ancestors
alone, so every completion token gets the logits that it would get in an example of its own, and the loss is the same.
It is for models that attend to all that came before (`can_share`; `selftaught.training.loops.probing`), and it decides
nothing about which examples meet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

ROW = 512
"""Tokens of a row, about: attention costs the square of them."""


@dataclass(slots=True)
class Tree:
    """A prefix tree of token ids, laid out in one row: a node's parent stands before it (-1: none)."""

    tokens: list[int] = field(default_factory=list[int])
    parents: list[int] = field(default_factory=list[int])
    depths: list[int] = field(default_factory=list[int])
    _nodes: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])

    def add(self, ids: Sequence[int]) -> list[int]:
        """The nodes of `ids` from the root on; those that are there already are shared."""
        path = [-1]
        for depth, token in enumerate(ids):
            path.append(self._child(path[-1], token, depth))
        return path[1:]

    def missing(self, ids: Sequence[int]) -> int:
        """How many nodes `ids` would add."""
        node, shared = -1, 0
        while shared < len(ids) and (node := self._nodes.get((node, ids[shared]), -1)) >= 0:
            shared += 1
        return len(ids) - shared

    def ancestors(self, width: int) -> torch.Tensor:
        """Who sees whom: (width, width), true where a node's row meets itself or an ancestor; padding sees itself."""
        seen = torch.eye(width, dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen

    def _child(self, parent: int, token: int, depth: int) -> int:
        node = self._nodes.setdefault((parent, token), len(self.tokens))
        if node == len(self.tokens):
            self.tokens.append(token)
            self.parents.append(parent)
            self.depths.append(depth)
        return node


def can_share(config: Any) -> bool:
    """Whether every layer of a model with this configuration attends to all tokens that came before, as far as it says.

    A model that also reads images has the configuration of its language model in one of its own.
    """
    if getattr(config, "is_encoder_decoder", False):
        return False
    config = config.get_text_config()
    kinds = {*(getattr(config, "layer_types", None) or ()), *(getattr(config, "attention_layers", None) or ())}
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return kinds <= {"full_attention", "global"} and not windowed


def laid_out(examples: Sequence[Sequence[int]]) -> tuple[dict[str, torch.Tensor], list[list[int]]]:
    """Rows of T tokens that hold `examples` (token ids), and for each example the places of its tokens.

    Gives `input_ids` and `position_ids` (R, T) and `attention_mask` (R, 1, T, T). A position counts through the rows
    laid end to end.
    """
    rows, places = _rows(examples)
    width = max(len(row.tokens) for row in rows)
    batch = {
        "input_ids": torch.tensor([row.tokens + [0] * (width - len(row.tokens)) for row in rows]),
        "position_ids": torch.tensor([row.depths + [0] * (width - len(row.depths)) for row in rows]),
        "attention_mask": torch.stack([row.ancestors(width) for row in rows])[:, None],
    }
    return batch, [[row * width + node for node in path] for row, path in places]


def _rows(examples: Sequence[Sequence[int]]) -> tuple[list[Tree], list[tuple[int, list[int]]]]:
    """Trees of about `ROW` tokens, and for each example the number of its tree and its nodes there."""
    full = Tree()
    for ids in examples:
        full.add(ids)
    rows = [Tree() for _ in range(min(len(examples), math.ceil(len(full.tokens) / ROW)))]
    places: list[tuple[int, list[int]]] = []
    for ids in examples:
        shortest = min(range(len(rows)), key=lambda row: len(rows[row].tokens) + rows[row].missing(ids))
        places.append((shortest, rows[shortest].add(ids)))
    return rows, places
