"""Drives verifiers over many groups, and is the one place where a verifier's crash becomes a verdict.

A crash in third-party code is a fact about the verifier, not about the model: it becomes an error verdict, which is
neither a pass nor a failure. Dead endpoints and wrong models (`SelftaughtError`) stop the step, which may be repeated.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selftaught.blocks import Context, ProgressSink, Verifier
from selftaught.errors import BadInput, SelftaughtError
from selftaught.records import Group, Verdict
from selftaught.verification.budget import of_step, share


async def verify(
    groups: Sequence[Group], verifiers: Sequence[Verifier], context: Context, report: ProgressSink
) -> list[Group]:
    """`groups` in their order, each rollout with one verdict a verifier, in the order of `verifiers`.

    Verdicts that a group already had are replaced. Raises BadInput when a verifier could not run on a single rollout,
    and any SelftaughtError of a verifier as it is. All of them share the step's time for comparing formulas.
    """
    verified: list[Group] = []
    with share(of_step(sum(len(group.rollouts) for group in groups))):
        for group in groups:
            columns = [await verdicts(verifier, group, context) for verifier in verifiers]
            verified.append(group.model_copy(update={"verdicts": tuple(zip(*columns, strict=True))}))
            report(len(verified), len(groups))
    for position, verifier in enumerate(verifiers):
        _check_ran(verifier, [on_one[position] for group in verified for on_one in group.verdicts])
    return verified


async def verdicts(verifier: Verifier, group: Group, context: Context) -> list[Verdict]:
    """One verdict of `verifier` a rollout of `group`: errors where it crashed. Raises its SelftaughtErrors."""
    try:
        said = await verifier.verify(group, context)
    except SelftaughtError:
        raise
    # Whatever a verifier may raise is attributed here, once, so that no verifier has to catch anything broad itself.
    except Exception as error:  # noqa: BLE001
        return _errored(verifier, group, f"{type(error).__name__}: {error}")
    if len(said) != len(group.rollouts):
        return _errored(verifier, group, f"gave {len(said)} verdicts on {len(group.rollouts)} rollouts")
    return said


def _errored(verifier: Verifier, group: Group, error: str) -> list[Verdict]:
    return [Verdict.errored(verifier.name, error) for _ in group.rollouts]


def _check_ran(verifier: Verifier, said: Sequence[Verdict]) -> None:
    if said and all(verdict.error is not None for verdict in said):
        raise BadInput(
            f"verify: '{verifier.name}' could not run on any of {len(said)} rollouts. The first error: "
            f"{said[0].error}. Mend the verifier or its input, or take it out of the recipe's verify."
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
