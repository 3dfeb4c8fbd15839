r"""maj@k: is the most common answer among k samples the right one?

Which answers are right the verifiers have said: all rollouts that passed vote together, however they wrote it. Wrong
answers only have to be told apart, for which a plain reading does: the last \boxed{}, else the last number, else the
last line. A rollout without any text does not vote. Ties go to the answer that was sampled first, which is fair because
samples come in no order.

Source: Wang et al. 2022, Self-Consistency Improves Chain of Thought Reasoning in Language Models.
"""

import re
from collections import Counter
from decimal import Decimal
from typing import Annotated

from pydantic import Field, PositiveInt

from selftaught.blocks import Metric, Sampler
from selftaught.evaluation.strategies import iid
from selftaught.records import Group

RIGHT = "(passed)"
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


class Majority(Metric, type="maj_at_k"):
    """1 when the most common final answer of `k` samples is right; scores are named `maj@8` and so on."""

    k: PositiveInt = 8
    temperature: Annotated[float, Field(gt=0)] = 1.0
    max_tokens: PositiveInt = 96

    @property
    def name(self) -> str:
        """The metric as its scores name it."""
        return f"maj@{self.k}"

    def sampler(self) -> Sampler:
        """`k` independent samples."""
        return iid(self.k, self.temperature, self.max_tokens)

    def value(self, group: Group) -> float:
        """1 when the rollouts that passed outvote every wrong answer, else 0."""
        return voted_right(group)


def voted_right(group: Group) -> float:
    """1 when the rollouts of a verified group that passed outvote every wrong answer, else 0."""
    votes = (RIGHT if group.passed(i) else wrong_answer(r.text) for i, r in enumerate(group.rollouts))
    ranked = Counter(vote for vote in votes if vote).most_common(1)
    return float(bool(ranked) and ranked[0][0] == RIGHT)


def wrong_answer(text: str) -> str:
    r"""What a rollout that did not pass votes for; empty when it says nothing.

    >>> wrong_answer(r"so \boxed{1,200.0} it is"), wrong_answer("I get 7, no, 12 apples."), wrong_answer("Nobody.\n")
    ('1200', '12', 'nobody.')
    """
    boxed = _BOXED.findall(text)
    numbers = _NUMBER.findall(boxed[-1] if boxed else text)
    if numbers:
        return f"{Decimal(numbers[-1].replace(',', '')).normalize():f}"
    return boxed[-1].strip().lower() if boxed else " ".join(text.strip().lower().splitlines()[-1:])
