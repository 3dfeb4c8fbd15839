"""Own tests: does the program in the rollout's last answer hold to the assertions that it makes itself?

For tasks that a model wrote, to which nobody has test cases (SelfCodeAlign, Wei et al. 2024, arXiv 2410.24198). It runs
in the sandbox. A pass is no proof: a model may assert what is easy, or nothing of what was asked; test cases of the
task are `tests`.
"""

from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from selftaught.blocks import Context, Verifier
from selftaught.records import Group, Verdict
from selftaught.sandbox import shared
from selftaught.sandbox.assertions import asserting, held
from selftaught.sandbox.code_blocks import script
from selftaught.sandbox.endings import ending
from selftaught.sandbox.protocol import MIB, Limits, Outcome, SandboxFailed


class OwnTests(Verifier, type="own_tests"):
    """Pass a rollout whose last answer has a program that comes to its end, with `at_least` assertions on its way.

    Counted are the assertions of the program itself, outside of functions, that call something.
    """

    reads_answer: ClassVar[bool] = False  # a task's own solution is written without assertions

    at_least: Annotated[PositiveInt, Field(description="assertions that the program has to make")] = 1
    timeout: Annotated[PositiveInt, Field(description="seconds of computing that a program may take")] = 2
    memory_mb: Annotated[int, Field(ge=64, description="MiB of memory that it may take, Python's included")] = 256

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        """The verdicts; equal programs run once."""
        sources = [script(rollout.text) for rollout in group.rollouts]
        distinct = list(dict.fromkeys(sources))
        limits = Limits(cpu_s=self.timeout, wall_s=10.0 * self.timeout, memory=self.memory_mb * MIB)
        outcomes = await shared.run_all([asserting(source, limits) for source in distinct])
        verdicts = dict(zip(distinct, map(self._verdict, outcomes), strict=True))
        return [verdicts[source] for source in sources]

    def _verdict(self, outcome: Outcome | SandboxFailed) -> Verdict:
        if isinstance(outcome, SandboxFailed):
            return Verdict.errored(self.name, str(outcome))
        if (made := held(outcome)) is None:
            return Verdict.of(self.name, False, ending(outcome))
        return Verdict.of(self.name, made >= self.at_least, f"holds to {made} assertions of its own")
