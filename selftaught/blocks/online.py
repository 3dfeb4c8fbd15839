"""What an online training asks of whoever brings it experience, and what it shows them of the policy that it trains.

The training knows no samplers, verifiers or engines: it asks for the examples of a step. Who brings them gets the
weights as they are, to answer tasks with.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from selftaught.records import Example

if TYPE_CHECKING:
    from torch import Tensor


T = TypeVar("T")


class Peers(Protocol):
    """The processes that share a training, this one among them. What one of them is asked here, all are."""

    @property
    def first(self) -> bool:
        """Whether this is the one that reports and writes."""
        ...

    def share(self, batch: Sequence[T]) -> Sequence[T]:
        """What of `batch` is this process's to do."""
        ...

    def collected(self, own: Sequence[T]) -> list[T]:
        """The items of all processes, in their order."""
        ...

    def wait(self) -> None:
        """Go on when all have come here."""
        ...


class LivePolicy(Protocol):
    """The model that is being trained, between two of its updates. What one process asks of it, all that train do."""

    @property
    def peers(self) -> Peers:
        """The processes that train it."""
        ...

    def weights(self) -> "Iterable[tuple[str, Tensor]]":
        """Its weights by transformers' names for them, adapters merged."""
        ...

    def logprobs(self, token_ids: Sequence[int]) -> Sequence[float]:
        """Of each of `token_ids` but the first, in nats, as the training computes them."""
        ...


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a step learns from, and figures of how it came about (`reward`, …) for its curve."""

    examples: Sequence[Example]
    figures: Mapping[str, float]


Experience = Callable[[int, LivePolicy], Gathered]
"""What is learnt from in a step, counted from 0, sampled from the policy as it is; asked again it gives the same."""


@dataclass(frozen=True, slots=True)
class OnlinePlan:
    """An online training: so many `steps`, each with so many `updates` on what `experience` brings."""

    steps: int
    updates: int
    experience: Experience
