"""TRL's stepwise supervision: `prompt`, `completions` (a step each) and `labels` (true or false).

trl-lib/math_shepherd and trl-lib/prm800k have it. TRL's PRMTrainer, which read it, was removed in September 2026
(huggingface/trl#7133): it tokenized each step separately and put `step_separator` after it. What steps are worth stands
beside them in `values`, which is ours.
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


def read(row: object) -> Sequence[Solution]:
    """The solution of `row`. Raises BadRow."""
    parsed = _Row.of(row)
    return [Solution.bare(parsed.prompt, parsed.completions, [bool(label) for label in parsed.labels], parsed.values)]


def write(solution: Solution) -> Row:
    """`solution` as a row."""
    row: Row = {"prompt": solution.prompt, "completions": list(solution.steps), "labels": list(solution.labels)}
    return {**row, "values": list(solution.values)} if solution.values else row
