"""Arguments and options that several commands take, with their help and completion."""

from pathlib import Path
from typing import Annotated

import typer

from selftaught.cli.completion import complete_line, complete_profile, complete_recipe
from selftaught.core import shipped

RecipePath = Annotated[
    Path,
    typer.Argument(help="a recipe file, or the name of a shipped recipe, such as rft", autocompletion=complete_recipe),
]
OptionalRecipe = Annotated[
    Path | None,
    typer.Argument(help="a recipe file, or the name of a shipped recipe, such as rft", autocompletion=complete_recipe),
]
CampaignYaml = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="a campaign's file in place of a recipe; options override what it says"),
]
Line = Annotated[str, typer.Argument(help="the model line", autocompletion=complete_line)]
LineOrAll = Annotated[str, typer.Argument(help="one line; all of them unless given", autocompletion=complete_line)]
LineOrModel = Annotated[
    str,
    typer.Argument(help="the model line; or a folder, a starter model, a hub id", autocompletion=complete_line),
]
LineName = Annotated[
    str,
    typer.Option("--line", help="model line; the recipe's name unless given", autocompletion=complete_line),
]
CampaignName = Annotated[str, typer.Option(help="name of the campaign; the recipe's name unless given")]
OfCampaign = Annotated[str, typer.Option("--campaign", help="the campaign; the line's only one unless given")]
Overrides = Annotated[
    list[str], typer.Option("--set", help="override a field: stages.main.sample.k=4 (may be repeated)")
]
Profile = Annotated[
    str,
    typer.Option("--profile", help="a profile of the recipe, merged over it", autocompletion=complete_profile),
]
Shards = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="sampling tasks that run in parallel (default 1, or the campaign file's); a round that has started keeps "
        "its own",
    ),
]
AbandonAfter = Annotated[
    int, typer.Option(min=0, help="give up rounds of the line that began so many hours ago and did not end (0: none)")
]
COMPILED = shipped.pipelines()
Pipelines = Annotated[Path, typer.Option(help="folder of compiled pipelines", show_default="those that are shipped")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for machines")]
