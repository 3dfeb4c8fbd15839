r"""Answer match: does the rollout's final answer equal the task's gold answer?

Mathematical equality (1/2 = 0.5 = \frac12), units and thousands separators ignored. It does not look at the
reasoning: a right answer from wrong steps passes. Empty, echoed and several different boxed answers fail.
"""

from typing import Annotated

from pydantic import Field

from selftaught.blocks import RolloutVerifier
from selftaught.records import Rollout, Task, Verdict
from selftaught.verification.answers import TOLERANCE, equal, final_answer


class AnswerMatch(RolloutVerifier, type="answer_match"):
    """Pass a rollout whose final answer equals `task.answer`.

    Source: math-verify's equality, as in Open-R1's accuracy reward.
    """

    tolerance: Annotated[float, Field(ge=0, description="absolute tolerance on numbers")] = TOLERANCE

    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        """Passed or failed with both answers as the reason; an error where the task has no gold answer."""
        if task.answer is None:
            return Verdict.errored(self.name, f"task {task.id} ({task.source}) has no answer to compare with")
        # A question that is only repeated must not pass on a number of its own.
        answer = final_answer(rollout.text.strip().removeprefix(task.question.strip()))
        if answer is None:
            return Verdict.of(self.name, False, "no single final answer")
        return Verdict.of(self.name, equal(answer, task.answer, self.tolerance), f"{answer} against {task.answer}")
