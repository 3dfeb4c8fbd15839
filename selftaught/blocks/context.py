"""The context of a block: models, seeds, and where to report progress."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from pydantic import JsonValue

from selftaught.blocks.models import ChatModel, TokenModel
from selftaught.core.errors import BadInput
from selftaught.records import Group, Split

if TYPE_CHECKING:
    from selftaught.blocks.axes import Verifier


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a block may use: the roles' models, the stage's verifiers, and the round's seed.

    A role without a model of its own is played by the policy. `asked` are the roles that the step's blocks declare
    (`Block.roles`), and only their models are available; None if they are not restricted.
    """

    models: Mapping[str, ChatModel] = field(default_factory=dict[str, ChatModel])
    verifiers: "tuple[Verifier, ...]" = ()
    seed: int = 0
    asked: frozenset[str] | None = None

    def model(self, role: str = "policy") -> ChatModel:
        """The model that plays `role`. Raises BadInput for a role that no block declares."""
        if self.asked is not None and role not in self.asked:
            raise BadInput(
                f"a block asks the {role} model, and none says so. Give the block a field `role`, or have its roles() "
                f"name '{role}'."
            )
        return self.models.get(role) or self.models["policy"]

    def tokens(self, role: str = "policy") -> TokenModel:
        """The model that plays `role`, with the methods that a search needs."""
        return cast(TokenModel, self.model(role))


@dataclass(frozen=True, slots=True)
class Draw:
    """The seeds of a draw of tasks: `campaign` is fixed, `round` changes with every round and attempt."""

    campaign: int
    round: int

    def seed(self, split: Split) -> int:
        """The seed of a set: the report set's is the same in every round."""
        return self.campaign if split == "report" else self.round


@dataclass(frozen=True, slots=True)
class Earlier:
    """A task's tree from an earlier round with the same policy and compatible settings, to be resumed.

    `trees` is the digest of the data set with its `group`. `valued` is whether this round's blocks and models would
    give its tree the same values.
    """

    trees: str
    group: Group
    valued: bool


@dataclass(frozen=True, slots=True)
class TrainContext:
    """The context of an objective, besides models and examples. `scratch` has checkpoints and survives a kill."""

    scratch: Path
    seed: int
    report: "ProgressSink"
    template: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """Variables of the chat template."""
    reference: Path | None = None
    """The model that the trained one is held to, where that is not the one which training starts from."""


class ProgressSink(Protocol):
    """Receives a step's progress: implemented in `selftaught.core.progress`."""

    def __call__(self, done: int, total: int, /, **values: float) -> None: ...


def silent(done: int, total: int, /, **values: float) -> None:
    """A `ProgressSink` for where nobody watches: a notebook's cell, a test, a part of a step that shows its own."""
