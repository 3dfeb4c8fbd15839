"""Task check: judges an answer by what its task says of right answers.

A task names its verifier with `check.type`: unit tests, constraints, what a package of one's own adds. One that names
none is checked against its gold answer, by `answer_match`. It adds no judgement of its own, and asks no model.
"""

from functools import lru_cache
from typing import cast

from typing_extensions import override

from selftaught.blocks import Context, Verifier, registered
from selftaught.core.errors import BadInput, did_you_mean
from selftaught.records import Group, Task, Verdict

GOLD = "answer_match"


class TaskCheck(Verifier, type="task_check"):
    """Pass a rollout that passes the check of its task. It is what metrics measure by unless they name verifiers."""

    @property
    @override
    def verdict_name(self) -> str | None:
        """What the tasks' own checks are is not known before."""
        return None

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        """The verdicts of the verifier that the task names. Raises BadInput for one that is not installed."""
        return await checking(group.task).judge(group, context)


def checking(task: Task) -> Verifier:
    """The verifier of the check of `task`. Raises BadInput for one that is not installed, or that asks a model."""
    named = str(task.check.get("type", GOLD))
    if named not in registered("verify"):
        raise BadInput(
            f"task {task.id} ({task.source}): its check is of type '{named}', and no such verifier is installed."
            f"{did_you_mean(named, registered('verify'))} Install the package that has it, or correct the task."
        )
    return _verifier(named)


@lru_cache(maxsize=32)
def _verifier(named: str) -> Verifier:
    made = cast(Verifier, registered("verify")[named].model_validate({}))
    if made.roles():
        raise BadInput(
            f"a task's check is of type '{named}', which asks the {min(made.roles())} model. Name the verifier under "
            "verify, with its model under models; a task's own check decides without one."
        )
    return made
