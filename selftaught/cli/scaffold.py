"""`selftaught init`: scaffolds of a recipe, a block and a plug-in, each complete and valid.

What is written is an example to be changed: a recipe that validates, a block with a test that passes, a package with
both whose entry point makes its block known. A block is a verifier, a control or an objective. Nothing that is there is
written over. What blocks and recipes may say is in docs/recipes.md and docs/blocks.md.
"""

import keyword
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Literal

from selftaught import __version__
from selftaught.core.errors import BadInput

RECIPE = re.compile(r"[a-z0-9][a-z0-9-]*")
BLOCK = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
PLUGIN = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
RULES = {
    RECIPE: "lower case, digits and dashes, such as my-recipe",
    BLOCK: "lower case, digits and underscores, such as short_answer",
    PLUGIN: "lower case, digits and dashes, such as my-blocks",
}


Axis = Literal["verify", "control", "train"]
"""The axes whose blocks are scaffolded."""


@dataclass(frozen=True, slots=True)
class Example:
    """What the block of an axis is called, what the one that is written does, and how a recipe has it."""

    noun: str
    does: str
    example: str


EXAMPLES: Mapping[Axis, Example] = {
    "verify": Example(
        "verifier",
        "passes answers of at most `words` words",
        "verify: [{type: answer_match}, {type: $kind, words: 20}]",
    ),
    "control": Example("control", "samples each round a little warmer", "control: {type: $kind, step: 0.1}"),
    "train": Example(
        "objective", "learns least from what the model is sure of already", "train: {type: $kind, focus: 1}"
    ),
}


def recipe(name: str, folder: Path) -> list[Path]:
    """Write `<name>.yaml`, a recipe whose every axis says what it is for. Returns what was written."""
    _require_name(name, RECIPE)
    return _write(folder, {f"{name}.yaml": _filled("recipe.yaml", name=name)})


def block(name: str, folder: Path, axis: Axis = "verify") -> list[Path]:
    """Write `<name>.py` and `test_<name>.py`, a block of `axis` and its test. Returns what was written."""
    _require_block(name, axis)
    return _write(folder, _block(name, axis, module=name, where=""))


def plugin(name: str, folder: Path, axis: Axis = "verify") -> list[Path]:
    """Write the folder `<name>`, a package with a block of `axis` of that name. Returns what was written."""
    _require_name(name, PLUGIN)
    kind = name.replace("-", "_")
    _require_block(kind, axis)
    words = {"name": name, "package": kind, "kind": kind, "version": __version__, **_described(kind, axis)}
    return _write(
        folder,
        {
            f"{name}/pyproject.toml": _filled("plugin.toml", **words),
            f"{name}/README.md": _filled("plugin.md", **words),
            f"{name}/{kind}/__init__.py": f'"""Blocks for Selftaught: `{kind}`."""\n',
            **_block(
                "blocks", axis, module=f"{kind}.blocks", where=f"{name}/", kind=kind, package=f"{kind}/", tests="tests/"
            ),
        },
    )


def _described(kind: str, axis: Axis) -> dict[str, str]:
    about = EXAMPLES[axis]
    example = Template(about.example).substitute(kind=kind)
    return {"axis": axis, "noun": about.noun, "does": about.does, "example": example}


def _block(
    file: str, axis: Axis, *, module: str, where: str, kind: str = "", package: str = "", tests: str = ""
) -> dict[str, str]:
    kind = kind or file
    words = {"kind": kind, "module": module, "Class": "".join(map(str.capitalize, kind.split("_")))}
    return {
        f"{where}{package}{file}.py": _filled(f"{axis}.py", **words),
        f"{where}{tests}test_{kind}.py": _filled(f"test_{axis}.py", **words),
    }


def _require_name(name: str, rule: re.Pattern[str]) -> None:
    if not rule.fullmatch(name):
        raise BadInput(f"{name}: cannot be called that. Take {RULES[rule]}.")


def _require_block(name: str, axis: Axis) -> None:
    from selftaught.recipe import blocks

    _require_name(name, BLOCK)
    if keyword.iskeyword(name) or name in {*sys.stdlib_module_names, "selftaught"}:
        raise BadInput(f"{name}: Python has a module or keyword by that name. Take another.")
    if name in blocks(axis):
        noun = EXAMPLES[axis].noun
        article = "an" if noun[0] in "aeiou" else "a"
        raise BadInput(f"{name}: is {article} {noun} already (selftaught recipes blocks {axis}). Take another name.")


def _filled(template: str, **words: str) -> str:
    source = files("selftaught.cli") / "templates" / f"{template}.txt"
    return Template(source.read_text(encoding="utf-8")).substitute(words)


def _write(folder: Path, contents: Mapping[str, str]) -> list[Path]:
    """Write all `contents` below `folder`, or where one is there already, none."""
    paths = {folder / name: content for name, content in contents.items()}
    if there := [path for path in paths if path.exists()]:
        raise BadInput(f"{there[0]}: is there already. Take another name, or another folder (--into).")
    for path, content in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return list(paths)
