"""Runs verifiers over many groups, and reports where one could not run.

What becomes of one verifier's crash is the verifier's own to say (`Verifier.judge`).
"""

import itertools
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from selftaught.blocks import Context, ProgressSink, Verifier, judged
from selftaught.core.computing_time import ROLLOUT_S, STEP_S, Share, share
from selftaught.core.errors import BadInput
from selftaught.core.runner import Forgetful, Journal, drive
from selftaught.records import Group, Judged, Rollout, Verdict

IN_FLIGHT = 32
"""Groups that are verified at once."""
ASKED, AHEAD = 64, 256
"""Groups that models are asked about at once, and groups in memory, so that a slow answer does not keep the next ones
waiting."""


async def verify(
    groups: Sequence[Group],
    verifiers: Sequence[Verifier],
    context: Context,
    report: ProgressSink,
    journal: Journal[Judged] = Forgetful[Judged](),  # noqa: B008 (it has no state)
) -> list[Group]:
    """The groups that `verified` gives, all at once."""
    return [group async for group in verified(groups, len(groups), verifiers, context, report, journal)]


async def verified(
    groups: Iterable[Group],
    total: int,
    verifiers: Sequence[Verifier],
    context: Context,
    report: ProgressSink,
    journal: Journal[Judged] = Forgetful[Judged](),  # noqa: B008 (it has no state)
) -> AsyncGenerator[Group]:
    """`groups`, of which there are `total`, in their order, each rollout with one verdict a verifier, in their order.

    A rollout that answers several times has verdicts on its earlier answers behind these, one a verifier and answer:
    all rollouts up to their answer in one turn are judged as a group, each once where they share it. A verifier that
    reads a later turn gives none.

    Groups are taken as they are needed: `IN_FLIGHT` at once, or where a verifier asks a model, `ASKED` at once of
    `AHEAD`. Those whose verdicts `journal` has are not verified again; verdicts that a group already had are replaced;
    a control's answers are verified as a group of their own. Raises BadInput at the end when a required verifier could
    not run on a single rollout, and any SelftaughtError of a verifier as it is. All of them share the step's time for
    comparing formulas.
    """
    ran = [_Ran(verifier.name, not verifier.required) for verifier in verifiers]
    asks = any(verifier.roles() for verifier in verifiers)
    with share(STEP_S) as left:

        async def judge(group: Group) -> Judged:
            return await _all_judged(group, verifiers, context, left)

        pool = (ASKED, AHEAD) if asks else (IN_FLIGHT, IN_FLIGHT)
        named = ((group.id, group) for group in groups)
        made = drive(named, judge, _WithoutErrors(journal), _counted(report, total, len(journal.read())), *pool)
        async with aclosing(made):
            async for group, judged in made:
                assert judged is not None
                for position, each in enumerate(ran):
                    each.see([on_one[position] for on_one in judged.verdicts])
                yield judged.on(group)
    for each in ran:
        each.check()


def _counted(report: ProgressSink, total: int, done: int) -> Callable[[Judged], None]:
    """Says how many of `total` groups are verified, of which `done` were before."""
    count = itertools.count(done + 1)
    return lambda _: report(next(count), total)


@dataclass(frozen=True, slots=True)
class _WithoutErrors:
    """A journal of verdicts that leaves errors out: the verifier may be fixed by the next attempt."""

    journal: Journal[Judged]

    def read(self) -> Mapping[str, Judged]:
        return self.journal.read()

    def append(self, record: Judged, /) -> None:
        if not record.errors:
            self.journal.append(record)


async def _all_judged(group: Group, verifiers: Sequence[Verifier], context: Context, left: Share) -> Judged:
    left.seconds += ROLLOUT_S * len(group.rollouts)
    verdicts = await _judged(group, verifiers, context)
    if (control := group.control) is None:
        return Judged(task=group.id, verdicts=verdicts)
    left.seconds += ROLLOUT_S * len(control.rollouts)
    apart = Group(task=group.task, rollouts=control.rollouts)  # so that no vote is taken among both
    return Judged(task=group.id, verdicts=verdicts, control=await _judged(apart, verifiers, context))


async def _judged(group: Group, verifiers: Sequence[Verifier], context: Context) -> tuple[tuple[Verdict, ...], ...]:
    """The verdicts on each rollout of `group`, one a verifier, then those on its earlier answers."""
    found: dict[int, tuple[Verdict, ...]] = {}
    for positions, part in group.parts():
        if part.rollouts:
            found.update(zip(positions, await _of_one_task(part, verifiers, context), strict=True))
    return tuple(found[at] for at in range(len(group.rollouts)))


async def _of_one_task(
    group: Group, verifiers: Sequence[Verifier], context: Context
) -> tuple[tuple[Verdict, ...], ...]:
    found = await judged(group, verifiers, context)
    for turn, begun in _earlier(group).items():
        distinct = {rollout.path: rollout for rollout in reversed(begun.values())}
        part = Group(task=group.task, rollouts=tuple(distinct.values()))
        said = await judged(part, [each for each in verifiers if _can_judge(each, part)], context)
        of = {path: [v.model_copy(update={"turn": turn}) for v in on] for path, on in zip(distinct, said, strict=True)}
        found = [(*on, *(of[begun[at].path] if at in begun else ())) for at, on in enumerate(found)]
    return tuple(found)


def _can_judge(verifier: Verifier, group: Group) -> bool:
    """Whether the turns that it reads have been said: one that comes later says nothing to an earlier answer."""
    return all({*verifier.turn_names} <= {turn.name for turn in rollout.turns} for rollout in group.rollouts)


def _earlier(group: Group) -> dict[str, dict[int, Rollout]]:
    """The rollouts of `group` as they were after each answer but their last, by the turn's name and their place."""
    found = dict[str, dict[int, Rollout]]()
    for at, rollout in enumerate(group.rollouts):
        for position in rollout.answers[:-1]:
            found.setdefault(rollout.turns[position].name, {})[at] = rollout.until(position)
    return found


@dataclass(slots=True)
class _Ran:
    """Whether a verifier could run, if it has to, and what it said where it could not."""

    verifier: str
    ran: bool
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
                f"{self.first}. Fix the verifier or its input, or remove it from the recipe's verify."
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
        errors=sum(any(verdict.is_missing for verdict in on_one) for on_one in verdicts),
        truncated=sum(rollout.finish_reason == "length" for rollout in rollouts),
    )
