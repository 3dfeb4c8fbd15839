"""What a recipe says of the model that plays a role: the name of one, or an iterate of a model line.

A name is a starter model, a folder or a hub id. Which version an iterate is gets decided when a round is prepared
(`selftaught.round.role_models`), so nothing here reads a registry.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

RoleIterate = Literal["base", "previous", "head", "champion"]


class Reference(BaseModel):
    """A model that is not named but referred to."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class IterateModel(Reference):
    """A version of a model line when a round is prepared: `{iterate: champion}`, `{line: rft, iterate: head}`."""

    iterate: RoleIterate
    """`champion` is what users get, `head` the latest iterate, promoted or not, `previous` the model that the head was
    trained from, `base` where the line began."""
    line: Annotated[str, Field(min_length=1)] | None = None
    """The model line that it is of; unless given, the one that the recipe runs on."""

    def __str__(self) -> str:
        return f"the {self.iterate} of {self.line}" if self.line else f"the line's {self.iterate}"


_KINDS: Mapping[str, type[Reference]] = {"an iterate": IterateModel}
"""The references by what a union's tag calls them."""
KINDS = ("a name", *_KINDS)
"""The tags of the union: no part of where a mistake is."""


def _kind(value: Any) -> str:
    if isinstance(value, Reference):
        return next(name for name, kind in _KINDS.items() if isinstance(value, kind))
    return "an iterate" if isinstance(value, Mapping) else "a name"


RoleModel = Annotated[
    Annotated[str, Tag("a name")] | Annotated[IterateModel, Tag("an iterate")],
    Discriminator(_kind),
]
"""The model of a role."""


def reference_at(value: Any) -> type[Reference] | None:
    """What kind of reference `value`, plain data, is meant to be; None for what is not a mapping."""
    return _KINDS.get(_kind(value))


def names(models: Mapping[str, RoleModel]) -> dict[str, str]:
    """The roles whose models are named, and the names."""
    return {role: model for role, model in models.items() if isinstance(model, str)}


def iterates(models: Mapping[str, RoleModel]) -> dict[str, IterateModel]:
    """The roles that iterates play."""
    return {role: model for role, model in models.items() if isinstance(model, IterateModel)}


def independent(models: Mapping[str, RoleModel]) -> set[str]:
    """The roles other than policy that no model of the recipe's own line plays."""
    own = {role for role, model in iterates(models).items() if not model.line}
    return models.keys() - own - {"policy"}


def require_policy(models: Mapping[str, RoleModel]) -> None:
    """Raise ValueError unless `models` name the model that the line begins with."""
    if "policy" not in models:
        raise ValueError("names no policy. Add `policy: <model>`.")
    if not isinstance(models["policy"], str):
        raise ValueError(
            f"the policy is {models['policy']}, but it is what a line begins with, so it has to be named. Write the "
            "name of a starter model, a folder or a hub id; sample_from and train_from choose among its iterates."
        )
