"""Conditions as the driver evaluates them: CEL over a group's inputs (backend/src/v2/expression/expression.go).

kfp writes comparisons of an input with a literal or with another input, joined by && and ||. An input that the group is
not given ends the run in its driver ("no such key"); two types that are compared end it too ("no such overload"), or
are never equal.
"""

import re
from collections.abc import Iterator

from pipelines.back_end.ir import Compiled, Task
from pipelines.back_end.values import NUMBERS

_INPUT = r"(?:(?:int|double|bool)\()?inputs\.parameter_values\['[^']+'\]\)?"
_SIDE = rf"{_INPUT}|'[^']*'|true|false|-?\d+(?:\.\d+)?"
_COMPARISON = re.compile(rf"({_SIDE})\s*(?:==|!=|>=|<=|>|<)\s*({_SIDE})")
_CASTS = {"int(": "a number", "double(": "a number", "bool(": "BOOLEAN"}


def conditions_hold(pipeline: Compiled) -> Iterator[str]:
    """Both sides of every comparison are there, and of one type."""
    for task in pipeline.tasks():
        if _COMPARISON.sub("", task.condition).strip(" \n!()&|"):
            yield f"{task.location}: its condition does not compare inputs: {task.condition}"
        for left, right in _COMPARISON.findall(task.condition):
            kinds = [_kind(task, side) for side in (left, right)]
            if None in kinds:
                yield f"{task.location}: its condition asks for an input that it is not given: {left}, {right}"
            elif kinds[0] != kinds[1]:
                yield f"{task.location}: its condition compares {kinds[0]} with {kinds[1]}: {left}, {right}"


def _kind(task: Task, side: str) -> str | None:
    """What a side of a comparison is to CEL; None for an input that is not there."""
    if "inputs." not in side:
        return "STRING" if side[0] == "'" else "BOOLEAN" if side in ("true", "false") else "a number"
    name = side.split("'")[1]
    declared = task.takes("parameters").get(name)
    if declared is None or name not in task.given("parameters"):
        return None
    plain = "a number" if declared["parameterType"] in NUMBERS else declared["parameterType"]
    return next((kind for cast, kind in _CASTS.items() if side.startswith(cast)), plain)
