"""Whether what a recipe asks for fits the engines, found out before anything is started.

An engine refuses a request whose prompt and new tokens together are longer than its context. How long a recipe's
prompts are only its tasks tell; its new tokens it names itself. Of tasks those are found that cannot fit whatever
the chat template adds to them; what just does not fit is found out when it is asked.
"""

import importlib.util
from collections.abc import Iterator, Sequence

from selftaught.blocks import Sampler
from selftaught.core.errors import BadRecipe
from selftaught.recipe import Recipe
from selftaught.records import Task
from selftaught.settings import Settings

MOST_CHARACTERS = 32
"""Characters that no text comes to a token of, on average."""


def require_room(recipe: Recipe, settings: Settings) -> None:
    """Raise BadRecipe when a sampler of `recipe` asks for more new tokens in one request than engines take."""
    context = settings.engine_context
    for location, sampler in _samplers(recipe):
        if sampler.longest() >= context:
            raise BadRecipe(
                f"{recipe.name}: {location}: {sampler.longest()} new tokens a request (max_tokens) do not fit an "
                f"engine's context of {context} tokens, prompt included. Lower them, or raise "
                "SELFTAUGHT_ENGINE_CONTEXT (engine_context of the profile; on a cluster maxModelLen of "
                "the runtime in the chart's values)."
            )


def too_long(tasks: Sequence[Task], context: int, tokenizer: bytes | None) -> list[Task]:
    """Those of `tasks` that no engine of that context can be asked.

    By the tokens of `tokenizer` (what a model's `tokenizer.json` holds), or where there is none, by characters.
    """
    texts = ["".join(message.content for message in task.messages) for task in tasks]
    if tokenizer is None or importlib.util.find_spec("tokenizers") is None:
        return [task for task, text in zip(tasks, texts, strict=True) if len(text) > MOST_CHARACTERS * context]
    from tokenizers import Tokenizer

    cut = [text[: MOST_CHARACTERS * context] for text in texts]
    made = Tokenizer.from_buffer(tokenizer)
    made.no_truncation()
    encoded = made.encode_batch(cut, add_special_tokens=False)
    rows = zip(tasks, texts, encoded, strict=True)
    return [task for task, text, ids in rows if len(ids.ids) >= context or len(text) > MOST_CHARACTERS * context]


def _samplers(recipe: Recipe) -> Iterator[tuple[str, Sampler]]:
    """What a recipe samples with, and where it stands."""
    for stage in recipe.stages:
        yield f"stages.{stage.name}.sample", stage.sample
        for metric in stage.evaluate:
            yield f"stages.{stage.name}.evaluate.{metric.name}", metric.sampler()
    for name, each in recipe.sets.items():
        for metric in each.metrics:
            yield f"sets.{name}.metrics.{metric.name}", metric.sampler()
