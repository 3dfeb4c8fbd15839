"""Own tests: does the program in the rollout's last answer hold to the assertions that it makes itself?

For tasks that a model wrote, to which nobody has test cases (SelfCodeAlign, Wei et al. 2024, arXiv 2410.24198). It runs
in the sandbox. A pass is no proof: a model may assert what is easy, or nothing of what was asked; test cases of the
task are `tests`.
"""

from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from selftaught.blocks import Context
from selftaught.records import Group, Verdict
from selftaught.sandbox import shared
from selftaught.sandbox.assertions import asserting, held
from selftaught.sandbox.code_blocks import script
from selftaught.sandbox.endings import ending
from selftaught.sandbox.protocol import Outcome, SandboxFailed
from selftaught.verification.sandboxed import Sandboxed


class OwnTests(Sandboxed, type="own_tests"):
    """Pass a rollout whose last answer has a program that comes to its end, with `at_least` assertions on its way.

    Counted are the assertions of the program itself, outside of functions, that call something.
    """

    reads_answer: ClassVar[bool] = False  # a task's own solution is written without assertions

    at_least: Annotated[PositiveInt, Field(description="assertions that the program has to make")] = 1

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        """The verdicts; equal programs run once."""
        sources = [script(rollout.text) for rollout in group.rollouts]
        outcomes = await shared.outcomes(sources, lambda source: asserting(source, self.limits))
        return [self._verdict(outcomes[source]) for source in sources]

    def _verdict(self, outcome: Outcome | SandboxFailed) -> Verdict:
        if isinstance(outcome, SandboxFailed):
            return Verdict.errored(self.name, str(outcome))
        if (made := held(outcome)) is None:
            return Verdict.of(self.name, False, ending(outcome))
        return Verdict.of(self.name, made >= self.at_least, f"holds to {made} assertions of its own")
