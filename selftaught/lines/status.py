"""The status of a line: its champion, served versions, traffic, last rounds, runs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from selftaught.campaign.runs import runs
from selftaught.core.errors import SelftaughtError
from selftaught.lines.versions import known
from selftaught.platform import Platform
from selftaught.round.controls import stopped

P = TypeVar("P", list[dict[str, str]], dict[str, float], dict[str, str])

SHOWN = 5
"""Rounds and runs that are listed."""


@dataclass(frozen=True, slots=True)
class LineStatus:
    """One line as it is now. `served` are digests with their ages (s); `runs` those of the pipeline, here and on KFP.

    `stopped` says of campaigns why a control has ended them, `unknown` why a part could not be asked for: it is empty
    then.
    """

    line: str
    aliases: dict[str, str]
    served: dict[str, float]
    rounds: list[dict[str, Any]]
    runs: list[dict[str, str]]
    stopped: dict[str, str] = field(default_factory=dict[str, str])
    unknown: dict[str, str] = field(default_factory=dict[str, str])

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        pointers = [f"  {alias}: {version}" for alias, version in sorted(self.aliases.items())]
        served = [f"  {digest[:8]}, for {age / 60:.0f} min" for digest, age in self.served.items()]
        rounds = [f"  {_summary(round)}" for round in self.rounds]
        rounds += [f"  {campaign}: stopped early: {why}" for campaign, why in self.stopped.items()]
        runs = [
            f"  {run['created']} {run['state'].lower()}: {run['name']}, {run['version']} ({run['id']})"
            for run in self.runs
        ]
        parts = {self.line: pointers, "served": served, "rounds": rounds, "runs": runs}
        parts |= {name: [f"  not known: {why}"] for name, why in self.unknown.items()}
        return "\n".join("\n".join([name, *(lines or ["  none"])]) for name, lines in parts.items())


def status_of(platform: Platform, line: str) -> LineStatus:
    """The status of `line`. Raises BadInput when there is no such line, Unavailable when MLflow does not answer."""
    tracker, unknown = platform.tracker, dict[str, str]()
    known(tracker, line)

    def asked(part: str, ask: Callable[[], P], nothing: P) -> P:
        try:
            return ask()
        except SelftaughtError as error:
            unknown[part] = str(error)
            return nothing

    return LineStatus(
        line=line,
        aliases={a: f"version {v.version} ({v.digest[:8]})" for a, v in tracker.aliases(line).items()},
        served=asked("served", lambda: platform.serving().served(line), {}),
        rounds=[
            {
                "campaign": campaign,
                "round": run.key.number,
                "attempt": run.key.attempt,
                "outcome": run.outcome,
                "failure": run.failure,
            }
            for campaign in tracker.campaigns(line)
            for run in tracker.rounds(line, campaign)[-SHOWN:]
        ],
        runs=asked("runs", lambda: [run.row() for run in runs(platform, line)[:SHOWN]], []),
        stopped=asked("stopped", lambda: _stopped(platform, line), {}),
        unknown=unknown,
    )


def _stopped(platform: Platform, line: str) -> dict[str, str]:
    """The campaigns that a control has ended, and why."""
    found = {campaign: stopped(platform, line, campaign) for campaign in platform.tracker.campaigns(line)}
    return {campaign: why for campaign, why in found.items() if why}


def _summary(round: dict[str, Any]) -> str:
    """A round in one line, with the first line of what ended it."""
    why = round["failure"].partition("\n")[0]
    return f"{round['campaign']} round {round['round']}: {round['outcome'] or 'not finished'}{why and f': {why}'}"
