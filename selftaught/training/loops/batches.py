"""Batches of token ids: examples as rows of tokens with weights, laid out for a model and for an objective.

A layout says which token stands where in the model's input; whatever it is, a token that counts is predicted from
exactly what stands before it in its own sequence. Prefix trees are in `selftaught.training.loops.sharing`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoConfig

from selftaught.training.loops.sharing import can_share, laid_out
from selftaught.training.tokens import TokenBatch

Ids = tuple[int, ...]
Inputs = dict[str, torch.Tensor]
"""What a model is given, and where in it is read what is wanted of it."""
Layout = Callable[[Sequence[Ids]], tuple[Inputs, list[list[int]]]]
"""From sequences of tokens to a model's input, and the places of each sequence's tokens, rows laid end to end."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One sequence. A token of weight 0 is context and is not learnt from; neither is the first one.

    `inputs` is what the model is given in place of `ids`, one each, where that is something else; `advantages` has one
    each, or is empty where there are none.
    """

    ids: Ids
    weights: tuple[float, ...]
    advantages: tuple[float, ...] = ()
    inputs: Ids = ()

    def counted(self) -> list[int]:
        """Where the tokens stand that count."""
        return [at for at, weight in enumerate(self.weights) if weight and at]


@dataclass(frozen=True, slots=True)
class Row:
    """One example: its sequences, and what an objective may want of it. See `TokenBatch`.

    `reference` and `behaviour` have the log-probabilities of each sequence's tokens that count, once they are known.
    """

    sequences: tuple[Tokens, ...]
    weight: float = 1.0
    label: float = 0.0
    smoothing: float = 0.0
    reference: tuple[torch.Tensor, ...] = ()
    behaviour: tuple[torch.Tensor, ...] = ()


View = Callable[[Row, int], Row]
"""How a row is seen at a position of a run's order."""


def as_it_is(row: Row, _: int) -> Row:
    """The row itself, wherever it is seen."""
    return row


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows, laid out: the `inputs` of a model and the objective's other inputs."""

    inputs: Inputs
    rest: dict[str, torch.Tensor]
    sequences: int

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        moved = [{name: each.to(device) for name, each in part.items()} for part in (self.inputs, self.rest)]
        return Batch(moved[0], moved[1], self.sequences)

    def idle(self) -> "Batch":
        """The same with nothing in it that counts."""
        none = {name: torch.zeros_like(self.rest[name]) for name in ("weights", "examples")}
        return Batch(self.inputs, self.rest | none, self.sequences)

    def seen(self, read: torch.Tensor, values: bool) -> TokenBatch:
        """What the objective sees: with what was `read` from the model, `values` or log-probabilities."""
        nothing = read.new_zeros(0)
        logprobs, values_ = (nothing, read) if values else (read, nothing)
        return TokenBatch(logprobs=logprobs, values=values_, sequences=self.sequences, **self.rest)


def batch(rows: Sequence[Row], layout: Layout) -> Batch:
    """E rows of one kind as a batch.

    Beside the layout's tensors its inputs have the `sources` (M), the places of the tokens before those that count,
    which predict them; these as `targets` (M); and the `ends` (S), the places of last tokens.
    """
    sides = range(len(rows[0].sequences))
    sequences = [(row, row.sequences[side]) for side in sides for row in rows]
    inputs, places = layout([tokens.inputs or tokens.ids for _, tokens in sequences])
    counted = [
        (path[at - 1], tokens.ids[at], owner, tokens.weights[at] * row.weight, _advantage(tokens, at))
        for owner, ((row, tokens), path) in enumerate(zip(sequences, places, strict=True))
        for at in tokens.counted()
    ]
    sources, targets, owners, weights, advantages = zip(*counted, strict=True) if counted else ((),) * 5
    read = {
        "sources": _integers(sources),
        "targets": _integers(targets),
        "ends": _integers([path[-1] for path in places]),
    }
    rest = {
        "owners": _integers(owners),
        "weights": _numbers(weights),
        "advantages": _numbers(advantages),
        "reference": _known([row.reference for row in rows]),
        "behaviour": _known([row.behaviour for row in rows]),
        "examples": _numbers([row.weight for row in rows]),
        "labels": _numbers([row.label for row in rows]),
        "smoothing": _numbers([row.smoothing for row in rows]),
    }
    return Batch(inputs | read, rest, len(sequences))


def _advantage(tokens: Tokens, at: int) -> float:
    return tokens.advantages[at] if tokens.advantages else 0.0


def _known(rows: Sequence[tuple[torch.Tensor, ...]]) -> torch.Tensor:
    """What is known of each row's sequences, in the order of a batch's; nothing where it is not known."""
    sides = zip(*rows, strict=True)
    known = [each for side in sides for each in side]
    return torch.cat(known) if known else _numbers(())


def tree(sequences: Sequence[Ids]) -> tuple[Inputs, list[list[int]]]:
    """What sequences begin with together stands there once; see `laid_out`."""
    return laid_out(sequences)


def shared(model: Path) -> Layout:
    """The layout in which what sequences begin with is computed once, where a model sees all that was before."""
    settings = cast(Any, AutoConfig).from_pretrained(model, local_files_only=True)
    return tree if can_share(settings) else padded


def padded(sequences: Sequence[Ids]) -> tuple[Inputs, list[list[int]]]:
    """A row a sequence, padded on the right, where causal attention does not look: no mask is needed.

    Without one the attention kernel takes its short path.
    """
    width = max(map(len, sequences))
    ids = torch.tensor([(*one, *(0 for _ in range(width - len(one)))) for one in sequences])
    return {"input_ids": ids}, [list(range(row * width, row * width + len(one))) for row, one in enumerate(sequences)]


def packed(sequences: Sequence[Ids]) -> tuple[Inputs, list[list[int]]]:
    """One row of all sequences end to end; positions that restart tell transformers where one is blind to others."""
    starts = [0]
    for one in sequences:
        starts.append(starts[-1] + len(one))
    ids = torch.tensor([[token for one in sequences for token in one]])
    positions = torch.tensor([[at for one in sequences for at in range(len(one))]])
    places = [list(range(start, start + len(one))) for start, one in zip(starts, sequences, strict=False)]
    return {"input_ids": ids, "position_ids": positions}, places


def _integers(numbers: Sequence[int]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.long)


def _numbers(numbers: Sequence[Any]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.get_default_dtype())
