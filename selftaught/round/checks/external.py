"""Whether models behind URLs can be asked as a recipe asks them, before a round begins.

Whether their servers answer is found out when they are asked: what costs money is not asked for nothing.
"""

import os
from collections.abc import Mapping

from selftaught.core.errors import BadInput, BadRecipe
from selftaught.recipe import Recipe
from selftaught.recipe.models import ExternalModel, externals
from selftaught.round.checks.tokenizers import BY_IDS, blocks_of


def require_asked_in_words(recipe: Recipe) -> None:
    """Raise BadRecipe where a search of `recipe` hands the policy's token ids to a model behind a URL."""
    asked = externals(recipe.models)
    for stage in recipe.stages:
        for block in blocks_of(stage, *BY_IDS):
            if block.role in asked:
                raise BadRecipe(
                    f"{recipe.name}: stages.{stage.name}: {block.name} asks the {block.role} model by the policy's "
                    f"token ids, but that is {asked[block.role]}, whose tokenizer nobody can compare. Name a "
                    "model with the policy's tokenizer, or use p_true, which asks in words."
                )


def require_keys(models: Mapping[str, ExternalModel]) -> None:
    """Raise BadInput unless the variables that hold the keys of `models`, by role, are set."""
    for role, model in models.items():
        if model.api_key_env and not os.environ.get(model.api_key_env):
            raise BadInput(
                f"models.{role}: {model.api_key_env} is not set, which holds the key of {model.url}. Export it, and on "
                "a cluster put it into the Secret selftaught-model-keys (docs/operations.md); or leave api_key_env out."
            )
