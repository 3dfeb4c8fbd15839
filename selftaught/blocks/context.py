"""What a block is given: models, seeds, and where it says how far it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from pydantic import JsonValue

from selftaught.blocks.models import ChatModel, TokenModel
from selftaught.core.errors import BadInput
from selftaught.records import Group

if TYPE_CHECKING:
    from selftaught.blocks.axes import Verifier


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a block may touch: the roles' models, the stage's other blocks, and the seed of this round.

    A role that a recipe gives no model is played by the policy. `asked` are the roles that the step's blocks say they
    ask (`Block.roles`), whose models alone are there; None where nobody counts them.
    """

    models: Mapping[str, ChatModel] = field(default_factory=dict[str, ChatModel])
    verifiers: "tuple[Verifier, ...]" = ()
    seed: int = 0
    asked: frozenset[str] | None = None

    def model(self, role: str = "policy") -> ChatModel:
        """The model that plays `role`. Raises BadInput for one that no block says it asks."""
        if self.asked is not None and role not in self.asked:
            raise BadInput(
                f"a block asks the {role} model, and none says so. Give the block a field `role`, or have its roles() "
                f"name '{role}'."
            )
        return self.models.get(role) or self.models["policy"]

    def tokens(self, role: str = "policy") -> TokenModel:
        """The model that plays `role`, as a search asks it."""
        return cast(TokenModel, self.model(role))


@dataclass(frozen=True, slots=True)
class Draw:
    """The seeds that a draw of tasks comes from: `campaign` stays, `round` changes with every round and attempt."""

    campaign: int
    round: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """A task as an earlier round attempted it with this very policy, by settings that can be gone on from.

    `trees` is the digest of the data set that its `group` is of. `valued` says whether the values of its tree are those
    that this round's blocks and models would give.
    """

    trees: str
    group: Group
    valued: bool


@dataclass(frozen=True, slots=True)
class TrainContext:
    """What an objective is given beside models and examples. `scratch` holds checkpoints and survives a kill."""

    scratch: Path
    seed: int
    report: "ProgressSink"
    template: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """Variables of the chat template that prompts are rendered with."""


class ProgressSink(Protocol):
    """Where a step says how far it is: `selftaught.core.progress` has the real one."""

    def __call__(self, done: int, total: int, /, **values: float) -> None: ...
