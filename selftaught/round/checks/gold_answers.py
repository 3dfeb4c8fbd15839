"""Whether verifiers pass the gold answers of the tasks that they judge, found out before a round spends anything.

A stage's verifiers are tried on the recipe's own tasks, and those of a named set's metrics on that set's.
"""

import asyncio
from collections.abc import Sequence

from selftaught.blocks import Verifier
from selftaught.evaluation.checks import measured_by
from selftaught.recipe import Recipe, Stage
from selftaught.records import Task, named_set, set_name
from selftaught.round.inputs import all_verifiers
from selftaught.verification.gold import gold_checks, require_gold


def require_passed(tasks: Sequence[Task], recipe: Recipe, stages: Sequence[Stage]) -> tuple[str, ...]:
    """What the verifiers of `stages` make of the gold answers, in words.

    Raises BadInput where one of them fails too many.
    """
    tried = _each_once(stages)
    said = list(_said([task for task in tasks if not set_name(task.split)], tried, ""))
    for name, each in recipe.sets.items():
        own = [task for task in tasks if task.split == named_set(name)]
        metrics = [metric for stage in stages for metric in each.measured(stage)]
        said += _said(own, measured_by(metrics), f" of set {name}")
    return tuple(said)


def _each_once(stages: Sequence[Stage]) -> list[Verifier]:
    found = list[Verifier]()
    for verifier in (each for stage in stages for each in all_verifiers(stage)):
        found += [verifier] * (verifier not in found)
    return found


def _said(tasks: Sequence[Task], verifiers: Sequence[Verifier], whose: str) -> list[str]:
    checks = asyncio.run(gold_checks(tasks, verifiers))
    require_gold(checks)
    return [f"{check.text()}{whose}" for check in checks]
