"""Math-Shepherd (Wang et al. 2024, arXiv 2312.08935): `input` with the tag ки after each step, `label` with + or -.

The question ends where `Step 1:` begins. `Step 1:`, `Step 2:`, … are the format's numbering and no part of a step where
every step has its own. A text that itself holds the tag or a `Step 1:` cannot be distinguished from the format. `task`
says where a question came from. What steps are worth stands in `values`, and where the answer goes on after them
`ended: false`, which are ours.
"""

import re
from collections.abc import Iterator, Sequence

from selftaught.stepwise.solution import BadRow, Row, Shape, Solution

TAG = "ки"
FIRST = re.compile(r"step 1:", re.IGNORECASE)


class _Row(Shape):
    input: str
    label: str
    values: list[float] | None = None
    ended: bool = True


def read(row: object) -> Sequence[Solution]:
    """The solution of `row`. Raises BadRow."""
    parsed = _Row.of(row)
    *parts, rest = parsed.input.split(TAG)
    if rest.strip():
        raise BadRow(f"input: text after the last {TAG}" if parts else f"input: no {TAG}")
    if not parts:
        raise BadRow(f"input: no {TAG}")
    begins = [found.start() for found in FIRST.finditer(parts[0])]
    if len(begins) != 1:
        raise BadRow(
            f"input: 'Step 1:' stands {len(begins)} times before the first {TAG}: where does the question end?"
        )
    steps = [parts[0][begins[0] :], *parts[1:]]
    signs = list(_signs(parts, parsed.label))
    return [Solution.bare(parts[0][: begins[0]], _unnumbered(steps), signs, parsed.values, parsed.ended)]


def _signs(parts: Sequence[str], label: str) -> Iterator[bool]:
    """What stands in `label` after each of `parts`, which it has to repeat: + is right."""
    for number, part in enumerate(parts, 1):
        if not label.startswith(part):
            raise BadRow(f"label: is another text than input before tag {number}")
        sign, label = label[len(part) : len(part) + 1], label[len(part) + 1 :]
        if sign not in ("+", "-"):
            raise BadRow(f"label: neither + nor - where input has tag {number}")
        yield sign == "+"
    if label.strip():
        raise BadRow("label: is longer than input")


def _unnumbered(steps: Sequence[str]) -> list[str]:
    numbers = [re.match(rf"\s*step {number}:", step, re.IGNORECASE) for number, step in enumerate(steps, 1)]
    if not all(numbers):
        return list(steps)
    return [step[found.end() :] for step, found in zip(steps, numbers, strict=True) if found]


def write(solution: Solution) -> Row:
    """`solution` as a row."""
    signs = ["+" if label else "-" for label in solution.labels]
    row: Row = {"input": _text(solution, [TAG] * len(signs)), "label": _text(solution, signs), "task": ""}
    row |= {"values": list(solution.values)} if solution.values else {}
    return row if solution.ended else {**row, "ended": False}


def _text(solution: Solution, ends: Sequence[str]) -> str:
    steps = zip(solution.steps, ends, strict=True)
    lines = "\n".join(f"Step {number}: {step} {end}" for number, (step, end) in enumerate(steps, 1))
    return f"{solution.prompt} {lines}"
