r"""Answer match: does the rollout's final answer equal the task's gold answer?

Mathematical equality (1/2 = 0.5 = \frac12), units and thousands separators ignored. It does not look at the
reasoning: a right answer from wrong steps passes. Empty, echoed, unfinished and several different boxed answers fail,
and so does an answer that is too much to compare.
"""

from typing import Annotated

from pydantic import Field

from selftaught.blocks import RolloutVerifier
from selftaught.core.computing_time import ANSWER_S, share
from selftaught.records import Rollout, Task, Verdict
from selftaught.verification.answers import TOLERANCE, compared, final_answer, says

MAX_SHOWN = 200


class AnswerMatch(RolloutVerifier, type="answer_match"):
    """Pass a rollout whose final answer equals `task.answer`.

    Source: math-verify's equality, as in Open-R1's accuracy reward.
    """

    tolerance: Annotated[float, Field(ge=0, description="tolerance on numbers, absolute and relative")] = TOLERANCE

    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        """Passed or failed with both answers as the reason; an error where the task has no gold answer."""
        if task.answer is None:
            own = f"; its own check is {task.check['type']}: verify with task_check" if task.check else ""
            return Verdict.errored(self.name, f"task {task.id} ({task.source}) has no answer to compare with{own}")
        # A question that is only repeated must not pass on a number of its own.
        text, finished = rollout.text.lstrip().removeprefix(task.question.strip()), rollout.finish_reason == "stop"
        with share(ANSWER_S):
            answer = final_answer(text, finished=finished)
            if answer is None:
                unfinished = "" if finished else f", ended by {rollout.finish_reason}"
                return Verdict.of(self.name, False, f"no single final answer{unfinished}")
            said = compared(answer, task.answer, self.tolerance)
        passed = said == "equal" or (finished and says(text, task.answer))
        slow = " (too much to compare)" if said == "too slow" else ""
        return Verdict.of(self.name, passed, f"{_shown(answer)} against {_shown(task.answer)}{slow}")


def _shown(text: str) -> str:
    """`text` for a reason: a model that loops writes thousands of digits."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text):,} characters)"
