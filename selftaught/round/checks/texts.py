"""Whether tasks have the texts that prompts quote, found out before a round spends anything.

A slot that nothing fills is sent as it stands, so that braces of LaTeX and code stay what they are.
"""

from collections.abc import Iterator, Sequence

from selftaught.blocks import Sampler, within
from selftaught.core.errors import BadInput, did_you_mean
from selftaught.recipe import Stage
from selftaught.records import Task


def require_texts(tasks: Sequence[Task], stages: Sequence[Stage]) -> None:
    """Raise BadInput where a turn of `stages` quotes a text that none of `tasks` has."""
    known = sorted({name for task in tasks for name in task.texts})
    for location, sampler in _samplers(stages) if tasks else ():
        for name in sorted(sampler.quoted_texts - set(known)):
            texts = ", ".join(f"{{text.{each}}}" for each in known) or "none"
            raise BadInput(
                f"{location}: {{text.{name}}} is a text that none of the tasks has.{did_you_mean(name, known)} "
                f"Their texts: {texts}"
            )


def _samplers(stages: Sequence[Stage]) -> Iterator[tuple[str, Sampler]]:
    for stage in stages:
        for axis, placed in (("sample", [stage.sample]), ("evaluate", stage.evaluate)):
            samplers = (each for each in within(*placed) if isinstance(each, Sampler))
            yield from ((f"stages.{stage.name}.{axis}", each) for each in samplers)
