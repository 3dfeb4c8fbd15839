"""An order: which rounds of a campaign are to be run now, with what.

It is what a command line or a campaign's document (`selftaught.campaign.spec`) comes to. Running it is `local`'s
business, on this machine, or `kfp`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from selftaught.campaign.limits import Limits
from selftaught.core import shipped
from selftaught.core.errors import BadInput
from selftaught.core.names import named
from selftaught.platform import Platform
from selftaught.recipe import Recipe, Stage
from selftaught.round.intake import stage_of
from selftaught.round.job import begun
from selftaught.state.round_key import RoundKey


@dataclass(frozen=True, slots=True)
class CampaignOrder:
    """What to run: a recipe on a line, for `rounds` (0: as many as its stages say), sampling in `shards` tasks.

    A round that was begun keeps the shards that its plan has. None begins once the campaign's have reached `limits`.
    """

    recipe: Recipe
    line: str
    campaign: str
    rounds: int = 0
    shards: int = 1
    pipelines: Path = field(default_factory=shipped.pipelines)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Raise BadInput when the line or the campaign cannot be called that."""
        named(self.line, "--line")
        named(self.campaign, "--campaign")

    def require_champion(self, platform: Platform) -> None:
        """Raise BadInput when the line has no champion."""
        if platform.tracker.resolve(self.line, "champion") is None:
            raise BadInput(f"{self.line}: has no champion yet. Bring the recipe's model in first: `selftaught adopt`.")

    def pipeline(self, number: int) -> Path:
        """The compiled pipeline that round `number` (from 1) runs."""
        return self.pipeline_of(stage_of(self.recipe, number))

    def pipeline_of(self, stage: Stage) -> Path:
        """The compiled pipeline of the rounds of `stage`: one without a loop where there is one shard.

        An online stage has no shards.
        """
        if stage.online:
            return self.pipelines / "online-round.yaml"
        file = stage.sample.pipeline
        return self.pipelines / (file if self.shards > 1 else f"one-shard-{file}")

    def resumed(self, platform: Platform, key: RoundKey) -> "CampaignOrder":
        """The order with the shards of the round `key` if that was begun: its tasks are shared out already."""
        plan = begun(platform, key)
        return replace(self, shards=plan.shards) if plan else self

    def arguments(self, key: RoundKey, recipe: str) -> Mapping[str, Any]:
        """The parameters of the pipeline for the very round `key`, whatever is due when its first task starts.

        `recipe` is the order's, as its runner passes it on.
        """
        return {
            "recipe": recipe,
            "line": key.line,
            "campaign": key.campaign,
            "number": key.number,
            "attempt": key.attempt,
            "shards": list(range(self.shards)),
        }
