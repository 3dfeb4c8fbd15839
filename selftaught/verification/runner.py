"""Drives verifiers over many groups, and says where one could not run at all.

What becomes of one verifier's crash is the verifier's own to say (`Verifier.judge`).
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, Sequence
from dataclasses import dataclass

from selftaught.blocks import Context, ProgressSink, Verifier
from selftaught.core.computing_time import ROLLOUT_S, STEP_S, Share, share
from selftaught.core.errors import BadInput
from selftaught.records import Group, Verdict

IN_FLIGHT = 32
"""Groups that are verified at once: a judge's engine is kept full, and so many are in memory."""


async def verify(
    groups: Sequence[Group], verifiers: Sequence[Verifier], context: Context, report: ProgressSink
) -> list[Group]:
    """The groups that `verified` gives, all at once."""
    return [group async for group in verified(groups, len(groups), verifiers, context, report)]


async def verified(
    groups: Iterable[Group], total: int, verifiers: Sequence[Verifier], context: Context, report: ProgressSink
) -> AsyncGenerator[Group]:
    """`groups`, of which there are `total`, in their order, each rollout with one verdict a verifier, in their order.

    Groups are taken as they are needed, `IN_FLIGHT` at a time. Verdicts that a group already had are replaced; a
    control's answers are verified as a group of their own. Raises
    BadInput at the end when a verifier could not run on a single rollout, and any SelftaughtError of a verifier as it
    is. All of them share the step's time for comparing formulas.
    """
    ran = [_Ran(verifier.name) for verifier in verifiers]
    with share(STEP_S) as left:
        works = (_verified(group, verifiers, context, left) for group in groups)
        for done, waiting in enumerate(_ahead(works), 1):
            group = await waiting
            for position, each in enumerate(ran):
                each.see([on_one[position] for on_one in group.verdicts])
            report(done, total)
            yield group
    for each in ran:
        each.check()


async def _verified(group: Group, verifiers: Sequence[Verifier], context: Context, left: Share) -> Group:
    left.seconds += ROLLOUT_S * len(group.rollouts)
    judged = group.model_copy(update={"verdicts": await _judged(group, verifiers, context)})
    if (control := group.control) is None:
        return judged
    left.seconds += ROLLOUT_S * len(control.rollouts)
    apart = Group(task=group.task, rollouts=control.rollouts)  # so that no vote is taken among both
    said = await _judged(apart, verifiers, context)
    return judged.model_copy(update={"control": control.model_copy(update={"verdicts": said})})


async def _judged(group: Group, verifiers: Sequence[Verifier], context: Context) -> tuple[tuple[Verdict, ...], ...]:
    """The verdicts on each rollout of `group`, one a verifier."""
    columns = [await verifier.judge(group, context) for verifier in verifiers]
    return tuple(zip(*columns, strict=True))


def _ahead(works: Iterable[Coroutine[None, None, Group]]) -> Generator[asyncio.Task[Group]]:
    """`works` in their order, `IN_FLIGHT` of them begun; what has begun is cancelled when nobody waits any more."""
    begun: deque[asyncio.Task[Group]] = deque()
    try:
        for work in works:
            begun.append(asyncio.ensure_future(work))
            if len(begun) == IN_FLIGHT:
                yield begun.popleft()
        while begun:
            yield begun.popleft()
    finally:
        for each in begun:
            each.cancel()


@dataclass(slots=True)
class _Ran:
    """Whether a verifier could run, and what it said where it could not."""

    verifier: str
    ran: bool = False
    errors: int = 0
    first: str = ""

    def see(self, said: Sequence[Verdict]) -> None:
        """Look at its verdicts on one group."""
        errors = [verdict.error for verdict in said if verdict.error is not None]
        self.ran |= len(errors) < len(said)
        self.first = self.first or next(iter(errors), "")
        self.errors += len(errors)

    def check(self) -> None:
        """Raise BadInput when it could not run on any rollout."""
        if self.errors and not self.ran:
            raise BadInput(
                f"verify: '{self.verifier}' could not run on any of {self.errors} rollouts. The first error: "
                f"{self.first}. Mend the verifier or its input, or take it out of the recipe's verify."
            )


@dataclass(frozen=True, slots=True)
class Funnel:
    """What became of tasks and rollouts, as counts.

    `solved` tasks have a passed rollout; `errors` are rollouts that some verifier could not judge; `truncated` ones
    ran into max_tokens.
    """

    tasks: int
    rollouts: int
    passed: int
    solved: int
    errors: int
    truncated: int


def funnel(groups: Iterable[Group]) -> Funnel:
    """The funnel of verified `groups`."""
    groups = list(groups)
    passed = [sum(1 for _ in group.accepted()) for group in groups]
    verdicts = [on_one for group in groups for on_one in group.verdicts]
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    return Funnel(
        tasks=len(groups),
        rollouts=len(rollouts),
        passed=sum(passed),
        solved=sum(count > 0 for count in passed),
        errors=sum(any(verdict.error is not None for verdict in on_one) for on_one in verdicts),
        truncated=sum(rollout.finish_reason == "length" for rollout in rollouts),
    )
