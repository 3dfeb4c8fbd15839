"""Word problems: a seeded generator of arithmetic as little stories, with one, two or three steps.

Operands are random, so there are hundreds of problems a template and nothing is downloaded. Answers are integers
above zero. The guard set tells its stories by templates that no training task uses. It does not grade wording: whether
a model copes with other phrasings is what the guard set is for.
"""

from collections.abc import Iterator
from random import Random
from typing import Annotated, ClassVar

from pydantic import Field

from selftaught.blocks import Draw
from selftaught.records import Split, Task
from selftaught.tasks.sources.word_templates import HELD_OUT, TRAINED, Level, Template
from selftaught.tasks.splits import PromptedSource, seeded, take

NAMES = ["Tom", "Anna", "Ben", "Mia", "Sam", "Lily", "Max", "Emma", "Leo", "Nina", "Paul", "Ruth", "Omar", "Ines"]
THINGS = ["apples", "pencils", "marbles", "stickers", "books", "coins", "shells", "cookies", "cards", "stamps"]


class WordProblems(PromptedSource, type="word_problems"):
    """Arithmetic word problems of the `levels` given (the number of steps), in equal parts from each template.

    Two problems of one template with the same operands, in any order, are the same problem. Each has a worked solution
    (`texts.reference`) and a Python program that prints the answer (`texts.program`), which no block reads unless a
    recipe says so.
    """

    resamples_gate: ClassVar[bool] = True
    levels: Annotated[tuple[Level, ...], Field(min_length=1, description="steps of arithmetic a problem takes")] = (1,)
    instruction: Annotated[str, Field(description="text after every question")] = (
        "Write the calculation in one short sentence."
    )

    def draw(self, draw: Draw) -> list[Task]:
        """Fresh problems for every round; the report set's stay the same for a campaign."""
        return [task for split in self.sizes() for task in self._set(split, draw)]

    def _set(self, split: Split, draw: Draw) -> Iterator[Task]:
        templates = [t for t in (HELD_OUT if split == "guard" else TRAINED) if t.level in self.levels]
        for number, template in enumerate(templates):
            share = (self.sizes()[split] + number) // len(templates)
            random = seeded(self.name, split, template.name, draw.seed(split))
            yield from take(self._problems(template, random), split, share)

    def _problems(self, template: Template, random: Random) -> Iterator[Task]:
        while True:
            operands = template.operands(random)
            if template.answer(operands) > 0:
                yield self._task(template, operands, random)

    def _task(self, template: Template, operands: dict[str, int], random: Random) -> Task:
        name, other, third = random.sample(NAMES, 3)
        people = {"name": name, "other": other, "third": third}
        return Task(
            messages=self.messages(template.text.format(things=random.choice(THINGS), **people, **operands)),
            answer=str(template.answer(operands)),
            source=self.name,
            template=template.name,
            operands=tuple(map(str, operands.values())),
            level=template.level,
            texts={"reference": template.solution(operands), "program": template.program(operands)},
        )
