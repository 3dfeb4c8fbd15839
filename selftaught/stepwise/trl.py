"""TRL's stepwise supervision: `prompt`, `completions` (a step each) and `labels` (true or false).

trl-lib/math_shepherd and trl-lib/prm800k have it. TRL's PRMTrainer, which read it, was removed in September 2026
(huggingface/trl#7133): it tokenized each step separately and put `step_separator` after it. Whether a row's last step
ends the answer is not known: trl-lib/prm800k has a row each alternative to a step. What steps are worth stands beside
them in `values`, and whether the last one ends the answer in `ended`, which are ours.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import StrictBool

from selftaught.stepwise.solution import Row, Shape, Solution


class _Row(Shape):
    prompt: str
    completions: list[str]
    labels: list[StrictBool | Literal[0, 1]]
    values: list[float] | None = None
    ended: bool = False


def read(row: object) -> Sequence[Solution]:
    """The solution of `row`. Raises BadRow."""
    parsed = _Row.of(row)
    labels = [bool(label) for label in parsed.labels]
    return [Solution.bare(parsed.prompt, parsed.completions, labels, parsed.values, parsed.ended)]


def write(solution: Solution) -> Row:
    """`solution` as a row."""
    row: Row = {"prompt": solution.prompt, "completions": list(solution.steps), "labels": list(solution.labels)}
    row |= {"values": list(solution.values)} if solution.values else {}
    return {**row, "ended": True} if solution.ended else row
