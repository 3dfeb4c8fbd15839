"""The runs of a line, wherever they run: submit one, list them, stop them, give their round up.

At most one run of a line is active: Kubeflow Pipelines has no key by which it would take a run once, so who submits has
the line's turn (`selftaught.state.turns`) from before it looks at the runs until its own is made. How runs are started
and stopped is the runners' business, and when one is submitted `selftaught.campaign.kfp.schedules`'s.
"""

import time
from dataclasses import dataclass

from selftaught.campaign.kfp.runner import KfpRunner
from selftaught.campaign.local import locked_line
from selftaught.campaign.local_runner import LocalRunner
from selftaught.campaign.order import CampaignOrder
from selftaught.campaign.runner import Runner, RunRef, RunStatus, require_idle
from selftaught.core.errors import EarlyStop, NothingNew
from selftaught.platform import Platform
from selftaught.round.abandon import abandon as give_up
from selftaught.round.abandon import abandon_old
from selftaught.round.controls import stopped_early
from selftaught.round.history import next_round
from selftaught.round.intake import nothing_new
from selftaught.round.job import begun
from selftaught.state.tracking import RoundRun
from selftaught.state.turns import turn


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run that was taken, and the rounds of the line that were given up before."""

    run: RunRef
    abandoned: tuple[str, ...] = ()


def runners(platform: Platform) -> tuple[Runner, ...]:
    """What may run rounds of a line: this machine, and the Kubeflow Pipelines that the settings name, if they do."""
    return (LocalRunner(platform), *((KfpRunner(platform),) if platform.settings.kfp else ()))


def submit(platform: Platform, runner: Runner, order: CampaignOrder, abandon_after: float = 0.0) -> Submitted:
    """Have `runner` start the round of the order's campaign that is due.

    One that was begun with another recipe has failed, and is redrawn, as `selftaught run` does it. Rounds of the
    line that began more than `abandon_after` seconds ago (0: none) and did not end are given up before.

    Raises BadInput when the line has no champion yet, UnderWay when a run of it is active, NothingNew when there are no
    fresh tasks for it, EarlyStop when a control has ended the campaign, Busy while another process submits to the line,
    Unavailable when the runner does not answer.
    """
    order.require_champion(platform)
    with turn(platform.store, f"submit/{order.line}", f"submitting to {order.line}"):
        require_idle(order.line, runs(platform, order.line))
        abandoned = abandon_old(platform, order.line, time.time() - abandon_after) if abandon_after else ()
        key = next_round(platform, order.recipe, order.line, order.campaign)
        if begun(platform, key) is None:  # one that was begun has its tasks, and is to end
            if reason := stopped_early(platform, order.recipe, key):
                raise EarlyStop(reason)
            if reason := nothing_new(platform, order.recipe, key):
                raise NothingNew(reason)
        return Submitted(runner.start(key, order), tuple(abandoned))


def runs(platform: Platform, line: str) -> list[RunStatus]:
    """The runs of the line that are known, newest first."""
    found = (run for runner in runners(platform) for run in runner.runs(line))
    return sorted(found, key=lambda run: run.created, reverse=True)


def stop(platform: Platform, line: str) -> list[RunRef]:
    """Stop the runs of the line that are active; their rounds stay due. Returns which they were."""
    active = [(runner, run.run) for runner in runners(platform) for run in runner.runs(line) if run.active]
    for runner, run in active:
        runner.stop(run)
    return [run for _, run in active]


def abandon(platform: Platform, line: str, campaign: str) -> RoundRun:
    """Give up the round of `campaign` that is not finished.

    Raises BadInput as `round.abandon` does, and while this machine runs the line, UnderWay while a run of it is active,
    Busy while another process submits to the line.
    """
    lock = platform.settings.home / "campaigns" / line / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with locked_line(lock, line), turn(platform.store, f"submit/{line}", f"abandoning a round of {line}"):
        require_idle(line, runs(platform, line))
        return give_up(platform, line, campaign)
