"""The key of a round: its model line, campaign, number and attempt.

Everything that is kept or shown of a round goes by this: its claims in the store, its runs in MLflow and Kubeflow
Pipelines, its folder on this machine, and the seeds that its tasks are drawn by. Which round is due is for
`selftaught.round.history` to say.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Self

_NAME = re.compile(r"(?P<line>[^/]+)/(?P<campaign>[^/]+)/(?P<number>[1-9][0-9]*)-(?P<attempt>0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True, order=True)
class RoundKey:
    """One attempt at one round of a campaign; a campaign's first round unless numbers are given.

    `number` counts from 1, `attempt` from 0. A round that failed or was abandoned is redrawn as its next attempt.
    Keys of one campaign sort in the order in which the rounds are run.
    """

    line: str
    campaign: str
    number: int = 1
    attempt: int = 0

    @property
    def name(self) -> str:
        """`<line>/<campaign>/<number>-<attempt>`: what the claims of the round are kept under."""
        return f"{self.line}/{self.campaign}/{self.number}-{self.attempt}"

    @property
    def title(self) -> str:
        """What the round is called where people read it, beside its line; a first attempt is not named."""
        return f"{self.campaign} round {self.number}" + (f" attempt {self.attempt}" if self.attempt else "")

    @property
    def seed(self) -> int:
        """The seed of this attempt's draws: 63 bits, equal on every machine, and of another attempt others."""
        return _seed(self.campaign, self.number, self.attempt)

    @property
    def campaign_seed(self) -> int:
        """The seed of what all rounds of the campaign share, such as the report set."""
        return _seed(self.campaign)

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """The round of this name; None where none is called so."""
        found = _NAME.fullmatch(name)
        return cls(found["line"], found["campaign"], int(found["number"]), int(found["attempt"])) if found else None

    def next(self) -> Self:
        """The round after this one."""
        return replace(self, number=self.number + 1, attempt=0)

    def retry(self) -> Self:
        """The next attempt at this round."""
        return replace(self, attempt=self.attempt + 1)


def _seed(*parts: str | int) -> int:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
