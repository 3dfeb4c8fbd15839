"""Write recipes/README.md from the recipes, the effects and their results: `python scripts/recipes_page.py`.

A test compares them. What a recipe says of itself is in its `about`; nothing is written here that is not there, in its
stages, or in the effects.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from selftaught.blocks import Block
from selftaught.effects.comparison import comparisons
from selftaught.effects.effect import Effect
from selftaught.effects.results import Results
from selftaught.effects.table import difference, few_seeds, stored, table
from selftaught.recipe import Recipe, Stage
from selftaught.recipe.about import FAMILIES, Paper

REPOSITORY = Path(__file__).parents[1]
RECIPES, EFFECTS = REPOSITORY / "recipes", REPOSITORY / "effects"
PAGE = RECIPES / "README.md"

HEAD = """\
# Recipes

One published method a file. `python scripts/recipes_page.py` writes this page from the files, and a test compares them.
[docs/recipes.md](../docs/recipes.md) is the guide: how to run a recipe, what its parts are, how to write your own.

```bash
selftaught run rft --dry-run                    # the plan of a recipe, by its name
selftaught run rft                              # on a laptop's CPU
selftaught run rft --profile paper --dry-run    # with the paper's model, data and numbers: for GPUs
selftaught compare effects/rft.yaml             # in a checkout: what it claims, against its control
make recipes NAMES="rft star"                   # in a checkout: a short round of every stage; without NAMES, of all
```

What was measured is in [docs/effects.md](../docs/effects.md), with intervals; here, *shown* and *not shown* are its
verdicts. What a recipe does otherwise than its paper, and why, is under `differs` in its file.
"""

AXES = ("sample", "verify", "curate", "train", "evaluate", "gate", "control")


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(page(shipped(), effects(), stored(EFFECTS / "results")), encoding="utf-8")


def shipped() -> list[Recipe]:
    """The recipes of the folder, by name."""
    return [Recipe.load(path) for path in sorted(RECIPES.glob("*.yaml"))]


def effects() -> list[Effect]:
    """The effects of the folder, by file."""
    return [Effect.load(path) for path in sorted(EFFECTS.glob("*.yaml"))]


def page(recipes: Sequence[Recipe], claimed: Sequence[Effect], measured: Sequence[Results]) -> str:
    """The page of `recipes`, with the effects `claimed` of them and the results of those that were measured."""
    sections = [section(family, recipes, claimed, measured) for family in FAMILIES]
    head = [HEAD, *(f"{line}\n" for line in few_seeds(measured))]
    return "\n".join([*head, *filter(None, sections), *blocks_table(recipes), ""])


# Systems --------------------------------------------------------------------------------------------------------------


def section(family: str, recipes: Iterable[Recipe], claimed: Sequence[Effect], measured: Sequence[Results]) -> str:
    """The table of one family, or nothing."""
    rows = [
        [link(recipe), recipe.description, paper(recipe), ", ".join(recipe.profiles), effect(recipe, claimed, measured)]
        for recipe in recipes
        if recipe.about and recipe.about.family == family
    ]
    head = ("recipe", "what it does", "paper", "profiles", "effect")
    return "\n".join([f"## {family.capitalize()}", "", *table(head, rows), ""]) if rows else ""


def link(recipe: Recipe) -> str:
    """The recipe's name, as a link to its file."""
    return f"[{recipe.name}]({recipe.name}.yaml)"


def paper(recipe: Recipe) -> str:
    """Title, first author and year of the paper, as a link to it."""
    found = recipe.about and recipe.about.paper
    return f"[{found.title}]({address(found)}), {first_author(found)} {found.year}" if found else ""


def address(found: Paper) -> str:
    """Where the paper can be read."""
    return f"https://arxiv.org/abs/{found.arxiv}" if found.arxiv else f"https://doi.org/{found.doi}"


def first_author(found: Paper) -> str:
    """`Yuan et al.`"""
    return found.authors[0].split()[-1] + (" et al." if len(found.authors) > 1 else "")


def effect(recipe: Recipe, claimed: Iterable[Effect], measured: Sequence[Results]) -> str:
    """What the recipe's effects claim, and what came of them; its own words where there is no effect of it."""
    found = [each for each in claimed if recipe.name in {arm.name for arm in each.recipes.values()}]
    if found:
        return " ".join(
            f"{each.claim} [{each.system}](../effects/{each.system}.yaml): {verdicts(each, measured)}."
            for each in found
        )
    return f"{recipe.about.effect} No effect file." if recipe.about and recipe.about.effect else "no effect file"


def verdicts(claim: Effect, measured: Iterable[Results]) -> str:
    """The verdict on each arm of `claim` with its difference and interval, or that it was not measured."""
    found = [
        f"{each.arm.arm}{profile(results)} {each.verdict}, {difference(each)}"
        for results in measured
        if results.effect.system == claim.system
        for each in comparisons(results)
    ]
    return "; ".join(found) or "not measured yet"


def profile(results: Results) -> str:
    """In which profile of the recipes these were measured."""
    return f" ({results.effect.profile})" if results.effect.profile else ""


# Blocks ---------------------------------------------------------------------------------------------------------------


def blocks_table(recipes: Iterable[Recipe]) -> Iterator[str]:
    """What stands on every axis, over all stages, and the roles that are asked or trained."""
    head = ("recipe", "tasks", *AXES, "roles")
    rows = [
        [link(each), each.tasks.name, *(types(each.stages, axis) for axis in AXES), roles(each)] for each in recipes
    ]
    yield from ("## Blocks", "", "Of all stages, in their order; `selftaught recipes blocks` says what each does.", "")
    yield from table(head, rows)


def types(stages: Iterable[Stage], axis: str) -> str:
    """The types of the blocks on `axis`, each once."""
    return ", ".join(dict.fromkeys(str(block.type) for stage in stages for block in on(stage, axis)))


def on(stage: Stage, axis: str) -> Sequence[Block]:
    """The blocks of `stage` on `axis`."""
    found: Any = getattr(stage, axis)
    return cast(Sequence[Block], found if isinstance(found, tuple) else [found] if found else [])


def roles(recipe: Recipe) -> str:
    """The roles that blocks ask or train."""
    asked = {role for stage in recipe.stages for axis in AXES for block in on(stage, axis) for role in block.roles()}
    trained = {role for stage in recipe.stages for role in stage.trained_roles}
    return ", ".join(sorted({"policy", *recipe.models, *asked, *trained}))


if __name__ == "__main__":
    main()
