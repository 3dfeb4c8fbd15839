"""Whether what a recipe asks for fits the engines, found out before anything is started.

An engine refuses a request whose prompt and new tokens together are longer than its context. How long a recipe's
prompts are only its tasks tell; its new tokens it names itself.
"""

from collections.abc import Iterator

from selftaught.blocks import Sampler
from selftaught.errors import BadRecipe
from selftaught.recipe import Recipe
from selftaught.settings import Settings


def require_room(recipe: Recipe, settings: Settings) -> None:
    """Raise BadRecipe when a sampler of `recipe` asks for more new tokens in one request than engines take."""
    context = settings.engine_context
    for place, sampler in _samplers(recipe):
        if sampler.longest() >= context:
            raise BadRecipe(
                f"{recipe.name}: {place}: {sampler.longest()} new tokens a request (max_tokens) do not fit an engine's "
                f"context of {context} tokens, prompt included. Lower them, or raise SELFTAUGHT_ENGINE_CONTEXT "
                "(engine_context of the profile; on a cluster maxModelLen of the runtime in the chart's values)."
            )


def _samplers(recipe: Recipe) -> Iterator[tuple[str, Sampler]]:
    """What a recipe samples with, and where it stands."""
    for stage in recipe.stages:
        yield f"stages.{stage.name}.sample", stage.sample
        for metric in stage.evaluate:
            yield f"stages.{stage.name}.evaluate.{metric.name}", metric.sampler()
