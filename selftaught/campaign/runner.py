"""Runs of the pipeline, wherever they run: what starts one, says how it is, and stops it.

A run is one attempt at one round. `local_runner` runs it on this machine, `kfp.runner` on Kubeflow Pipelines;
`selftaught.campaign.runs` asks both. Which round is due, and whether it may begin, is for who starts it to say.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from selftaught.campaign.order import CampaignOrder
from selftaught.core.errors import UnderWay
from selftaught.state.round_key import RoundKey

ACTIVE = frozenset({"PENDING", "RUNNING", "PAUSED", "CANCELING"})
"""The states of a run that has not ended, of those that Kubeflow Pipelines has; others are SUCCEEDED, FAILED …"""


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run that was started: its id where it runs, what it is called, and the version of the pipeline that it is of.

    `experiment` is what the line's runs are listed in: KFP's id of it, or a folder of this machine.
    """

    id: str
    name: str
    experiment: str
    version: str


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run is, when it was created (UTC), and why one failed, where that is known."""

    run: RunRef
    state: str
    created: str
    reason: str = ""

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ACTIVE

    def row(self) -> dict[str, str]:
        """For machines."""
        own = {"id": self.run.id, "name": self.run.name, "version": self.run.version}
        return own | {"state": self.state, "created": self.created}


def require_idle(line: str, runs: Iterable[RunStatus]) -> None:
    """Raise UnderWay when one of `runs` of the line has not ended."""
    for run in runs:
        if run.active:
            words = f"{line}: run {run.run.id} is {run.state.lower()}. Wait for it, or stop it: selftaught stop {line}."
            raise UnderWay(words)


class Runner(Protocol):
    """Where runs run. Each raises Unavailable where that does not answer, and BadInput for what it refuses."""

    def start(self, key: RoundKey, order: CampaignOrder) -> RunRef:
        """Start a run of the round `key`, with what `order` says, and return at once."""
        ...

    def status(self, run: RunRef) -> RunStatus:
        """How `run` is now."""
        ...

    def stop(self, run: RunRef) -> None:
        """Stop `run`; one that has ended is left as it is. Its round stays due, and another run resumes it."""
        ...

    def runs(self, line: str) -> list[RunStatus]:
        """The runs of `line` that are known, in any order."""
        ...
