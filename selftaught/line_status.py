"""How a line is: its champion, what is served and where users are led, its last rounds, its runs on the cluster."""

from dataclasses import asdict, dataclass
from typing import Any

from selftaught.lines import known
from selftaught.round.job import Workplace
from selftaught.submission import runs

SHOWN = 5
"""Rounds and runs that are told of."""


@dataclass(frozen=True, slots=True)
class LineStatus:
    """One line as it is now. `served` are digests with their ages (s); `runs` are those of Kubeflow Pipelines."""

    line: str
    aliases: dict[str, str]
    served: dict[str, float]
    rounds: list[dict[str, Any]]
    runs: list[dict[str, str]]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        pointers = [f"  {alias}: {version}" for alias, version in sorted(self.aliases.items())]
        served = [f"  {digest[:8]}, for {age / 60:.0f} min" for digest, age in self.served.items()]
        rounds = [f"  {r['campaign']} round {r['round']}: {r['outcome'] or 'not finished'}" for r in self.rounds]
        runs = [f"  {run['created']} {run['state'].lower()}: {run['name']} ({run['id']})" for run in self.runs]
        parts = {self.line: pointers, "served": served, "rounds": rounds, "runs": runs}
        return "\n".join("\n".join([name, *(lines or ["  none"])]) for name, lines in parts.items())


def status_of(place: Workplace, line: str) -> LineStatus:
    """The status of `line`. Raises BadInput when there is no such line, Unavailable when a server does not answer."""
    tracker = place.tracker
    known(tracker, line)
    return LineStatus(
        line=line,
        aliases={a: f"version {v.version} ({v.digest[:8]})" for a, v in tracker.aliases(line).items()},
        served=place.serving().served(line),
        rounds=[
            {"campaign": campaign, "round": run.round, "attempt": run.attempt, "outcome": run.outcome}
            for campaign in tracker.campaigns(line)
            for run in tracker.rounds(line, campaign)[-SHOWN:]
        ],
        runs=runs(place, line)[:SHOWN] if place.settings.kfp else [],
    )
