"""What commands are to run: a recipe with options, or a campaign's file (`-f`) with options over it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from typer import BadParameter

from selftaught.campaign.kfp.schedules import Clock
from selftaught.campaign.order import CampaignOrder
from selftaught.campaign.spec import CampaignFile
from selftaught.core.errors import BadInput
from selftaught.recipe import Recipe


@dataclass(frozen=True, slots=True)
class OrderOptions:
    """The options of a command that runs rounds; empty is what was left out."""

    recipe: Path | None
    file: Path | None
    overrides: Sequence[str] = ()
    profile: str = ""
    line: str = ""
    campaign: str = ""
    shards: int | None = None

    def order(self, shards: int) -> CampaignOrder:
        """The order that it comes to, in `shards` where nothing says otherwise.

        Raises BadParameter where there is neither recipe nor file, or both; BadRecipe for a mistake in them.
        """
        order = self._of_file() or self._of_recipe(shards)
        return replace(
            order,
            line=self.line or order.line,
            campaign=self.campaign or order.campaign,
            shards=self.shards or order.shards,
        )

    def clock(self, cron: str, zone: str, abandon_after: int) -> Clock:
        """When the order's rounds begin: `cron` and `zone`, or what the campaign's file says where they are empty.

        Raises BadInput where neither says when.
        """
        spec = CampaignFile.load(self.file).spec if self.file else None
        schedule = spec.schedule if spec else None
        cron = cron or (schedule.cron if schedule else "")
        if not cron:
            raise BadInput("no cron. Give --cron '0 3 * * 1' for Mondays at 3, or a schedule in the campaign's file.")
        zone = zone or (schedule.time_zone if schedule else "Etc/UTC")
        return Clock(cron, zone, abandon_after, suspended=spec.suspend if spec else False)

    def _of_file(self) -> CampaignOrder | None:
        if self.file and self.recipe:
            raise BadParameter(f"{self.recipe}: -f {self.file} has a recipe already. Leave one of them out.")
        return CampaignFile.load(self.file).order(self.overrides, self.profile) if self.file else None

    def _of_recipe(self, shards: int) -> CampaignOrder:
        if not self.recipe:
            raise BadParameter("no recipe. Name one, such as rft, or a campaign's file: -f campaign.yaml.")
        recipe = Recipe.load(self.recipe, self.overrides, self.profile)
        return CampaignOrder(recipe, recipe.name, recipe.name, shards=shards)
