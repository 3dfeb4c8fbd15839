"""Whether models behind URLs can be asked as a recipe asks them, before a round begins.

Whether their servers answer is found out when they are asked: what costs money is not asked for nothing.
"""

import os
from collections.abc import Mapping

from selftaught.blocks import within
from selftaught.core.errors import BadInput, BadRecipe
from selftaught.evaluation.checks import verifiers
from selftaught.recipe import Recipe, Stage
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


def require_measurable(recipe: Recipe, stage: Stage, model: ExternalModel) -> None:
    """Raise BadRecipe where a metric of `stage` of `recipe` needs more of the policy `model` than its answers' text."""
    for metric in stage.evaluate:
        for block in within(metric, metric.sampler(), *verifiers(metric)):
            if block.needs_tokens:
                by = metric.name if block is metric else f"{metric.name} ({block.name})"
                raise BadRecipe(
                    f"{recipe.name}: stages.{stage.name}.evaluate: {by} needs tokens, but {model} is asked for text "
                    "alone: no token ids, no log-probabilities, and no search that goes on from them. Leave the metric "
                    "out, or measure a model whose weights are here: a folder, a starter model, a hub id."
                )


def require_keys(models: Mapping[str, ExternalModel]) -> None:
    """Raise BadInput unless the variables that hold the keys of `models`, by role, are set."""
    for role, model in models.items():
        if model.api_key_env and not os.environ.get(model.api_key_env):
            raise BadInput(
                f"models.{role}: {model.api_key_env} is not set, which holds the key of {model.url}. Export it, and on "
                "a cluster put it into the Secret selftaught-model-keys (docs/operations.md); or leave api_key_env out."
            )
