"""Run each recipe for a short round of every stage, with the model that it names: `make recipes`, or name some of them.

Whether its blocks fit, from the first sample to the gate, with real weights: some minutes each. A recipe whose
rounds have ended is passed over until it changes, and one that was killed resumes. Whether a method works is what
`make effects` says.
"""

import json
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from rich.console import Console

from selftaught.blocks import Draw
from selftaught.campaign.local import Campaign, RoundResult, Watcher
from selftaught.campaign.order import CampaignOrder
from selftaught.cli.live import watcher
from selftaught.core.errors import SelftaughtError
from selftaught.lines.evaluation import evaluate_model
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round.history import ended
from selftaught.tasks.inbox import batches
from selftaught.tasks.inbox.source import Inbox
from selftaught.tasks.sources.word_problems import WordProblems
from selftaught.testing.shortening import SMALLER, shortened

REPOSITORY = Path(__file__).parents[1]
BOUNDS = {**SMALLER, "train": 64}
"""A real model is right now and then: of fewer tasks some recipe has nothing to learn."""
DROPPED = 90
"""Rows in the drop of a recipe whose tasks are uploaded."""


def main(names: list[str]) -> int:
    """Run the recipes `names`, or all; 1 if one of them failed."""
    platform, console, failed = Platform.open(), Console(stderr=True), list[str]()
    for path in sorted((REPOSITORY / "recipes").glob("*.yaml")):
        if names and path.stem not in names:
            continue
        try:
            with watcher(console, None) as watch:
                outcomes = list(_run(platform, path, watch))
        except SelftaughtError as error:
            failed.append(path.stem)
            outcomes = [f"failed: {error}"]
        console.print(f"{path.stem}: {', '.join(outcomes)}", highlight=False, soft_wrap=True)
    console.print(f"{len(failed)} failed. {' '.join(failed)}", highlight=False, soft_wrap=True)
    return 1 if failed else 0


def _run(platform: Platform, path: Path, watch: Watcher) -> Iterator[str]:
    """What each round of the recipe in `path` came to; of one that trains nothing, what its metrics did."""
    recipe = Recipe.load(path)
    dropped = {"tasks": _dropped(platform, recipe.tasks)} if isinstance(recipe.tasks, Inbox) else {}
    recipe = shortened(recipe, BOUNDS, **dropped)
    line = f"short-{recipe.name}-{recipe.digest[:8]}"
    if not recipe.stages[-1].train:
        for each in evaluate_model(platform, recipe, line, recipe.policy, "report"):
            yield f"{each.metric} {each.mean:.2f}"
    elif len(ended(platform, line, line)) == len(recipe.stages):
        yield "ran before"
    else:
        for result in Campaign(platform, CampaignOrder(recipe, line, line), watch).run():
            yield result.report.last.outcome if isinstance(result, RoundResult) else result.reason


def _dropped(platform: Platform, tasks: Inbox) -> Inbox:
    """`tasks` from a folder with a drop of word problems."""
    bucket = platform.settings.home / "short-rounds" / "inbox"
    if not bucket.exists():
        drawn = WordProblems(train=DROPPED, gate=1, report=1, instruction="").draw(Draw(1, 1))
        rows = [{"question": task.question, "answer": task.answer} for task in drawn if task.split == "train"]
        file = bucket.with_name("drop.jsonl")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        batches.write([file], str(bucket), date(2026, 1, 5))
    return tasks.model_copy(update={"path": str(bucket)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
