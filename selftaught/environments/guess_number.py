"""Guess the number: the smallest environment in which later actions have to go by earlier observations.

An action is a text with a whole number in it, the last of which is the guess.
"""

import re
from typing import Annotated

from pydantic import Field, PositiveInt

from selftaught.blocks.environment import Environment, Episode, Observation


class GuessNumber(Environment, type="guess_number"):
    """The episode ends with the right guess or after the last one, and only the right one is rewarded."""

    number: Annotated[int, Field(description="the number to guess")]
    guesses: Annotated[PositiveInt, Field(description="guesses an episode at most")] = 6

    def begin(self) -> Episode:
        """A game in which nothing has been guessed."""
        return _Game(self.number, self.guesses)


class _Game(Episode):
    def __init__(self, number: int, guesses: int) -> None:
        self._number, self._left = number, guesses

    async def step(self, action: str) -> Observation:
        """Whether the number is larger or smaller than the guess."""
        self._left -= 1
        found = re.findall(r"-?\d+", action)
        if found and int(found[-1]) == self._number:
            return Observation("Right.", reward=1.0, terminated=True)
        hint = "Say a number." if not found else "Larger." if int(found[-1]) < self._number else "Smaller."
        return Observation(hint, terminated=self._left == 0)
