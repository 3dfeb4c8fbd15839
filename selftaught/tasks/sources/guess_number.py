"""Number guessing: games in which the policy asks for a number it does not know, by larger and smaller.

A game is its range, and the number follows from the range alone, so that a range is one game in every set and in every
round. What is played is `selftaught.environments.guess_number`.
"""

from collections.abc import Iterator
from random import Random
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from selftaught.blocks import Draw
from selftaught.records import Split, Task
from selftaught.tasks.splits import PromptedSource, seeded, take

TRAINED = "I am thinking of a whole number from {low} to {high}. Guess it. I will say whether it is larger or smaller."
HELD_OUT = "A lock opens with one whole number from {low} to {high}. Try one. It shows whether it is larger or smaller."


class GuessNumberTasks(PromptedSource, type="guess_number"):
    """Games of a range of at most `widest` numbers, with `guesses` guesses each."""

    resamples_gate: ClassVar[bool] = True
    widest: Annotated[int, Field(ge=4, description="numbers in the range at most")] = 32
    guesses: Annotated[PositiveInt, Field(description="guesses a game")] = 6
    instruction: Annotated[str, Field(description="text after every question")] = "Say one number only."

    def draw(self, draw: Draw) -> list[Task]:
        """New games for every round; the report set's stay the same for a campaign."""
        return [task for split in self.sizes() for task in self._set(split, draw)]

    def _set(self, split: Split, draw: Draw) -> list[Task]:
        return take(self._games(split, seeded(self.name, split, draw.seed(split))), split, self.sizes()[split])

    def _games(self, split: Split, random: Random) -> Iterator[Task]:
        while True:
            low, width = random.randint(1, 500), random.randint(3, self.widest - 1)
            yield self._task("lock" if split == "guard" else "number", low, low + width)

    def _task(self, template: str, low: int, high: int) -> Task:
        number = seeded(self.name, "number", low, high).randint(low, high)
        question = (HELD_OUT if template == "lock" else TRAINED).format(low=low, high=high)
        return Task(
            messages=self.messages(question),
            source=self.name,
            template=template,
            operands=(str(low), str(high)),
            check={"type": "episode_return"},
            environment={"type": "guess_number", "number": number, "guesses": self.guesses},
        )
