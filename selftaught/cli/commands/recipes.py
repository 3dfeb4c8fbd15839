"""The recipes that are shipped or in a folder, and the blocks that they are made of."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from selftaught.cli.completion import complete_axis, complete_family
from selftaught.cli.options import AsJson, Overrides, Profile, RecipePath
from selftaught.cli.printing import errors_printed, new_table, out, print_json
from selftaught.core import shipped
from selftaught.core.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="The recipes: list, show, validate, schema, blocks.")


@app.command("list")
def recipes_list(
    folder: Annotated[
        Path, typer.Argument(help="a folder of recipes", show_default="those that are shipped")
    ] = shipped.recipes(),  # noqa: B008
    family: Annotated[str, typer.Option(help="only those of this family", autocompletion=complete_family)] = "",
    paper: Annotated[str, typer.Option(help="only those whose paper has this title, author or number")] = "",
    bibtex: Annotated[bool, typer.Option("--bibtex", help="their papers as BibTeX instead")] = False,
    as_json: AsJson = False,
) -> None:
    """The recipes that are shipped, or every recipe in a folder, with what they do."""
    with errors_printed():
        from selftaught.recipe import Recipe
        from selftaught.recipe.about import references, require_family

        require_family(family)
        found = {path: Recipe.load(path) for path in sorted(folder.glob("*.yaml"))}
        if not found:
            raise BadInput(f"{folder}: no recipes (*.yaml) here. Name no folder for those that are shipped.")
        found = {path: recipe for path, recipe in found.items() if recipe.follows(family, paper)}
        if not found:
            raise BadInput(
                f"{folder}: none of its recipes has such a family or paper. List them without --family and --paper."
            )
        if bibtex:
            out.file.write(references(recipe.about for recipe in found.values()))
        elif as_json:
            print_json([_listed(path, recipe) for path, recipe in found.items()])
        else:
            shown = [[r.name, *_origin(r), str(_from_here(path)), r.description] for path, r in found.items()]
            out.print_rows(("recipe", "family", "paper", "file", "what it does"), *shown)


def _listed(path: Path, recipe: Any) -> dict[str, Any]:
    about = recipe.about and recipe.about.model_dump(mode="json")
    said = {"name": recipe.name, "description": recipe.description, "digest": recipe.digest}
    return {"path": str(path), **said, "about": about}


def _origin(recipe: Any) -> tuple[str, str]:
    """The family and the paper of `recipe`, as far as it says them."""
    paper = recipe.about and recipe.about.paper
    return (recipe.about.family if recipe.about else ""), (paper.where if paper else "")


def _from_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


@app.command("show")
def recipes_show(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
) -> None:
    """A recipe with every default spelt out."""
    with errors_printed():
        import yaml

        from selftaught.recipe import Recipe

        parsed = Recipe.load(recipe, overrides, profile)
        spelt = yaml.safe_dump(parsed.model_dump(mode="json"), sort_keys=False).rstrip()
        out.print(spelt, highlight=False, soft_wrap=True)


@app.command("validate")
def recipes_validate(
    recipes: Annotated[list[Path], typer.Argument(help="recipe files")],
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
) -> None:
    """Check recipes, with their profiles; the first mistake ends with 1 and says what to write instead."""
    with errors_printed():
        from selftaught.recipe import Recipe
        from selftaught.round.checks.context_length import require_room
        from selftaught.round.checks.external import require_asked_in_words
        from selftaught.round.checks.roles import require_named
        from selftaught.settings import Settings

        settings = Settings.load()
        for path in recipes:
            recipe = Recipe.load(path, overrides, profile)
            others = () if profile else recipe.profiles
            for each in (recipe, *(_in_profile(path, overrides, other) for other in others)):
                require_room(each, settings)
                require_named(each)
                require_asked_in_words(each)
            out.print(f"{path}: ok ({recipe.digest[:12]})", highlight=False)


def _in_profile(path: Path, overrides: list[str], profile: str) -> Any:
    from selftaught.core.errors import BadRecipe
    from selftaught.recipe import Recipe

    try:
        return Recipe.load(path, overrides, profile)
    except BadRecipe as error:
        inherited = str(path) not in str(error)
        how = f"\n  it is inherited: `profiles: {{{profile}: null}}` leaves it out" if inherited else ""
        raise BadRecipe(f"profile {profile} of {path}: {error}{how}") from None


@app.command("schema")
def recipes_schema() -> None:
    """The JSON Schema of a recipe, for editors."""
    with errors_printed():
        from selftaught.recipe import schema

        out.file.write(json.dumps(schema(), indent=2) + "\n")


@app.command("blocks")
def recipes_blocks(
    axis: Annotated[str, typer.Argument(help="an axis; all of them unless given", autocompletion=complete_axis)] = "",
    as_json: AsJson = False,
) -> None:
    """The blocks on an axis, with their fields; of one axis each field with its type, default and meaning."""
    with errors_printed():
        from selftaught.cli.block_fields import fields
        from selftaught.recipe import AXES, blocks

        found = {(name, kind): block for name in ([axis] if axis else AXES) for kind, block in blocks(name).items()}
        if as_json:
            print_json(
                [{"axis": a, "type": t, "fields": [asdict(f) for f in fields(b)]} for (a, t), b in found.items()]
            )
            return
        if axis:
            for (_, kind), block in found.items():
                _print_fields(kind, block, fields(block))
            return
        table = new_table("axis", "type", "what it does", "fields")
        for (name, kind), block in found.items():
            table.add_row(name, kind, _summary(block), ", ".join(f for f in block.model_fields if f != "type"))
        out.print(table)


def _summary(block: Any) -> str:
    """The first paragraph of what it says of itself."""
    return " ".join((block.__doc__ or "").split("\n\n")[0].split())


def _print_fields(kind: str, block: Any, fields: Any) -> None:
    out.print(f"{kind}: {_summary(block)}", soft_wrap=True, highlight=False)
    table = new_table("field", "type", "default", "meaning")
    for each in fields:
        table.add_row(each.name, each.type, each.default, each.meaning)
    out.print(table)
