"""PRM800K (Lightman et al. 2023, arXiv 2305.20050): `question.problem` and `label.steps`, each with rated completions.

A row is one annotated solution: at each step `completions` with a `rating` (1, 0 or -1), of which `chosen_completion`
was continued, or `human_completion` was. Each completion that was not chosen ends a solution of its own. A rating of
0 is a step that is not wrong and does not help: it is worth .5, and whether it counts as right is for who reads to say
(OpenAI's scores take it for right, TRL's conversion for wrong). What is exported has ratings of 1 and -1, and what a
step is worth in `value` beside it, and whether the last one ends the answer in `ended`, which are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from selftaught.stepwise.solution import BadRow, Row, Shape, Solution

WORTH = {1: 1.0, 0: 0.5, -1: 0.0}


class _Completion(Shape):
    text: str
    rating: Literal[1, 0, -1] | None = None
    value: float | None = None


class _Human(Shape):
    text: str


class _Step(Shape):
    completions: list[_Completion] | None = None
    human_completion: _Human | str | None = None
    chosen_completion: int | None = None


class _Label(Shape):
    steps: list[_Step]
    finish_reason: str | None = None
    ended: bool | None = None


class _Question(Shape):
    problem: str


class _Row(Shape):
    question: _Question
    label: _Label


@dataclass(frozen=True, slots=True)
class _Rated:
    text: str
    right: bool
    worth: float


def read(row: object, neutral: bool = True) -> Sequence[Solution]:
    """The solutions of `row`, whose steps rated 0 are right or wrong as `neutral` says. Raises BadRow."""
    parsed = _Row.of(row)
    if parsed.label.finish_reason == "bad_problem":
        raise BadRow("label.finish_reason: the labeler took the problem for broken (bad_problem)")
    before, found, ends = list[_Rated](), list[list[_Rated]](), _ends(parsed.label)
    for step in parsed.label.steps:
        found += [[*before, each] for each in _others(step, neutral)]
        chosen = _chosen(step, neutral)
        if chosen is None:  # nobody continued, or nobody rated what was continued
            ends = False
            break
        before.append(chosen)
    if before and not any(each[: len(before)] == before for each in found):
        found.append(before)
    if not found:
        raise BadRow("label.steps: no step is rated")
    return [_solution(parsed.question.problem, each, ends and each is before) for each in found]


def _ends(label: _Label) -> bool:
    """Whether the last step that was chosen ends the answer."""
    return label.finish_reason == "solution" if label.ended is None else label.ended


def _solution(problem: str, steps: Sequence[_Rated], ended: bool) -> Solution:
    worth = [each.worth for each in steps]
    return Solution.bare(problem, [each.text for each in steps], [each.right for each in steps], worth, ended)


def _others(step: _Step, neutral: bool) -> list[_Rated]:
    """The completions that were rated and not continued."""
    completions = enumerate(step.completions or ())
    rated = [_rated(each, neutral) for number, each in completions if number != step.chosen_completion]
    return [each for each in rated if each is not None]


def _chosen(step: _Step, neutral: bool) -> _Rated | None:
    if step.chosen_completion is not None:
        if not 0 <= step.chosen_completion < len(step.completions or ()):
            raise BadRow(f"label.steps: chosen_completion {step.chosen_completion} is none of the completions")
        return _rated((step.completions or [])[step.chosen_completion], neutral)
    if step.human_completion is None:
        return None
    human = step.human_completion
    return _Rated(human if isinstance(human, str) else human.text, True, 1.0)  # labelers wrote right steps alone


def _rated(completion: _Completion, neutral: bool) -> _Rated | None:
    if completion.rating is None:
        return None
    right = neutral if completion.rating == 0 else completion.rating > 0
    worth = WORTH[completion.rating] if completion.value is None else completion.value
    return _Rated(completion.text, right, worth)


def write(solution: Solution) -> Row:
    """`solution` as a row, with all columns of the data set."""
    steps = [_step(solution, number) for number in range(len(solution.steps))]
    ended = "solution" if solution.labels[-1] else "found_error"
    return {
        "labeler": "selftaught",
        "timestamp": None,
        "generation": None,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {"problem": solution.prompt, "ground_truth_solution": None, "ground_truth_answer": None},
        "label": {"steps": steps, "total_time": None, "finish_reason": ended, "ended": solution.ended},
    }


def _step(solution: Solution, number: int) -> Row:
    rating, worth = 1 if solution.labels[number] else -1, solution.worth(number)
    completion = {"text": solution.steps[number], "rating": rating, "value": worth, "flagged": None}
    return {"completions": [completion], "human_completion": None, "chosen_completion": 0}
