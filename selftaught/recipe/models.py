"""What a recipe says of the model that plays a role: its name, an iterate of a model line, or a server's URL.

A name is a starter model, a folder or a hub id. Which version an iterate is gets decided when a round is prepared
(`selftaught.round.role_models`), so nothing here reads a registry, and nothing asks a server.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from selftaught.core.unproven import unproven

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


_OWN = ("AWS_", "GIT_", "KUBERNETES_", "MLFLOW_", "SELFTAUGHT_")
"""How the platform's own variables begin: a recipe cannot have one of them sent to a server that it names."""


def _server(url: str) -> str:
    """`url` of a server. Raises ValueError, without naming what may hold a password, for anything else."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not the address of an OpenAI-compatible server. Write https://host/v1.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            "has a name, a password or parameters, and recipes are stored. Write the address alone, and name the "
            "variable that holds the key: api_key_env."
        )
    return url.rstrip("/")


def _variable(name: str) -> str:
    """`name` of an environment variable. Raises ValueError, without naming what may be a key, for anything else."""
    if not re.fullmatch("[A-Z_][A-Z0-9_]*", name):
        raise ValueError(
            "is not the name of an environment variable in upper case, such as JUDGE_KEY. The key itself does not "
            "belong in a recipe, which is stored."
        )
    if name.startswith(_OWN):
        raise ValueError(f"{name} is the platform's own and not sent to anybody. Put the key into another variable.")
    return name


class ExternalModel(Reference):
    """A model behind an OpenAI-compatible URL: `{url: "https://host/v1", model: NAME, api_key_env: JUDGE_KEY}`.

    Nobody proves which weights answer there, so results depend on whoever runs the server.
    """

    url: Annotated[str, AfterValidator(_server)]
    """Its address up to `/v1`."""
    model: Annotated[str, Field(min_length=1)]
    """What requests call it."""
    api_key_env: Annotated[str, AfterValidator(_variable)] | None = None
    """The environment variable that holds the key, which is read when the model is asked, and never stored."""

    @property
    def digest(self) -> str:
        """What stands for it where another model has its digest."""
        return unproven(self.model, self.url)

    def __str__(self) -> str:
        return f"{self.model} at {self.url} (external, weights unproven)"


_KINDS: Mapping[str, type[Reference]] = {"an iterate": IterateModel, "a URL": ExternalModel}
"""The references by what a union's tag calls them."""
KINDS = ("a name", *_KINDS)
"""The tags of the union: no part of where a mistake is."""


def _kind(value: Any) -> str:
    if isinstance(value, Reference):
        return next(name for name, kind in _KINDS.items() if isinstance(value, kind))
    if not isinstance(value, Mapping):
        return "a name"
    return "a URL" if "url" in value else "an iterate"


RoleModel = Annotated[
    Annotated[str, Tag("a name")] | Annotated[IterateModel, Tag("an iterate")] | Annotated[ExternalModel, Tag("a URL")],
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


def externals(models: Mapping[str, RoleModel]) -> dict[str, ExternalModel]:
    """The roles that models behind URLs play."""
    return {role: model for role, model in models.items() if isinstance(model, ExternalModel)}


def key_variables(models: Mapping[str, RoleModel]) -> list[str]:
    """The environment variables that hold the keys of models behind URLs."""
    return sorted({model.api_key_env for model in externals(models).values() if model.api_key_env})


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


def require_weights(models: Mapping[str, RoleModel], trained: Iterable[str]) -> None:
    """Raise ValueError where one of the roles `trained` is played by a model behind a URL."""
    for role in sorted(externals(models).keys() & set(trained)):
        raise ValueError(
            f"models.{role} is {models[role]}, but the recipe trains that role, and nobody here has the weights. Name "
            "a starter model, a folder or a hub id."
        )
