"""A model as an argument of a command names it: in the words of a recipe.

A name, a folder or a version of a line is taken as it is; `{url: …, model: …}` and `{iterate: …, line: …}` are what
they are in `models` of a recipe.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from selftaught.core.errors import BadInput
from selftaught.recipe.errors import Written
from selftaught.recipe.models import RoleModel
from selftaught.recipe.text import read

ARGUMENT = "MODEL"
"""What the commands' help calls the argument."""


class _Models(BaseModel):
    """The part of a recipe that says which models it has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Mapping[str, RoleModel]


def model_argument(text: str) -> RoleModel:
    """The model that `text` says.

    Raises BadRecipe for a mapping that is none of a recipe's, BadInput for a URL alone. No message shows a URL, which
    may hold a password.
    """
    if text.lstrip().startswith("{"):
        data, _ = read(text, lambda _: ARGUMENT)
        return Written({"models": {"policy": data}}, {(): ARGUMENT}, _Models).checked().models["policy"]
    if "://" in text:
        raise BadInput(
            f"{ARGUMENT}: a URL alone does not say which of its models. Write what a recipe does: "
            "'{url: \"https://host/v1\", model: NAME, api_key_env: VARIABLE}'."
        )
    return text
