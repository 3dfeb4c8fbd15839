"""Recipes: one self-training method as one YAML file, resolved into blocks here and nowhere else.

Reads YAML, applies `--set` overrides, and gives a frozen `Recipe` whose axes hold the blocks themselves. Every mistake
is reported with file and line, field, value and what would have been accepted. Running a recipe is
`selftaught.campaign`'s business; what a block does is the block's.
"""

import hashlib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PositiveInt,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from selftaught.blocks import Block, Curator, Gate, Metric, Objective, Sampler, TaskSource, Verifier, registered
from selftaught.errors import BadInput, BadRecipe, did_you_mean
from selftaught.records import canonical

STEPS = ("tasks", "sampling", "verification", "curation", "training", "evaluation")
AXES: Mapping[str, str] = {
    "tasks": "task source",
    "sample": "sampler",
    "verify": "verifier",
    "curate": "curator",
    "train": "objective",
    "evaluate": "metric",
    "gate": "gate",
}
"""Every axis of a recipe, and what one block on it is called."""

Iterate = Literal["base", "head", "champion"]


@cache
def load_blocks() -> None:
    """Import every module that may define a block: the steps' folders and the `selftaught.blocks` entry points."""
    for step in STEPS:
        package = importlib.import_module(f"selftaught.{step}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for entry in entry_points(group="selftaught.blocks"):
        entry.load()


def blocks(axis: str) -> Mapping[str, type[Block]]:
    """Every block on `axis` by type, plug-ins included. Raises BadInput for an axis that does not exist."""
    if axis not in AXES:
        raise BadInput(f"'{axis}' is no axis.{did_you_mean(axis, AXES)}\n  accepted: {', '.join(AXES)}")
    load_blocks()
    return registered(axis)


class OneOf:
    """The pydantic schema of an axis: a union of its blocks, told apart by `type`."""

    def __init__(self, axis: str) -> None:
        self.axis = axis

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(block) for name, block in blocks(self.axis).items()}
        return core_schema.tagged_union_schema(cast(dict[Any, CoreSchema], choices), discriminator="type")


def _listed(value: Any) -> Any:
    return cast(list[Any], value) if isinstance(value, list | tuple) else [value]


Listed = BeforeValidator(_listed)


class Stage(BaseModel):
    """One stage of a recipe: a block or a list of blocks on every axis, repeated for `rounds`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "main"
    rounds: PositiveInt = 1
    sample: Annotated[Sampler, OneOf("sample")]
    verify: Annotated[tuple[Annotated[Verifier, OneOf("verify")], ...], Listed, Field(min_length=1)]
    curate: Annotated[tuple[Annotated[Curator, OneOf("curate")], ...], Listed, Field(min_length=1)]
    train: Annotated[tuple[Annotated[Objective, OneOf("train")], ...], Listed, Field(min_length=1)]
    evaluate: Annotated[tuple[Annotated[Metric, OneOf("evaluate")], ...], Listed, Field(min_length=1)]
    gate: Annotated[Gate, OneOf("gate")]
    sample_from: Iterate = "champion"
    train_from: Iterate = "champion"

    @model_validator(mode="after")
    def _metrics_differ(self) -> Self:
        names = [block.name for block in self.evaluate]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"evaluate measures {', '.join(twice)} twice. Keep one, or give it another k.")
        return self

    @model_validator(mode="after")
    def _gate_metric_is_measured(self) -> Self:
        metric = getattr(self.gate, "metric", None)
        measured = [block.name for block in self.evaluate]
        if metric is not None and metric not in measured:
            raise ValueError(
                f"gate.metric is '{metric}', but evaluate measures {', '.join(measured)}. "
                f"Add it to evaluate, or name one of these."
            )
        return self


class Recipe(BaseModel):
    """One self-training method: the models of its roles, its tasks, and its stages in order."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="lower case, digits and dashes")]
    description: str = ""
    models: Annotated[
        dict[str, str], Field(description="role to starter model, local folder or hub id; others fall back to policy")
    ]
    tasks: Annotated[TaskSource, OneOf("tasks")]
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_policy(self) -> Self:
        if "policy" not in self.models:
            raise ValueError("models names no policy. Add `policy: <model>`.")
        return self

    @model_validator(mode="after")
    def _stage_names_differ(self) -> Self:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages share a name ({', '.join(names)}). Name each stage once.")
        return self

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> Self:
        """The recipe in `path` with `--set` overrides (`stages.main.sample.k=4`) applied.

        Raises BadRecipe: file and line, field, value, and the accepted ones.
        """
        return cls.parse(_read(path), str(path), overrides)

    @classmethod
    def parse(cls, text: str, name: str = "recipe", overrides: Sequence[str] = ()) -> Self:
        """The recipe in `text` (YAML or JSON); `name` is what errors call it. Raises BadRecipe."""
        data, lines = _parse_yaml(text, name)
        for override in overrides:
            _override(data, override)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise BadRecipe("\n".join(_explain(detail, data, name, lines) for detail in _causes(error))) from None

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe with every default spelt out."""
        return hashlib.sha256(canonical(self.model_dump(mode="json"))).hexdigest()

    def stage(self, name: str) -> Stage:
        """The stage called `name`."""
        return next(stage for stage in self.stages if stage.name == name)

    def rounds(self) -> Iterator[Stage]:
        """The stage of every round in order, the last stage for ever after its own rounds are done."""
        for stage in self.stages:
            yield from [stage] * stage.rounds
        while True:
            yield self.stages[-1]


def schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, for editors (`# yaml-language-server: $schema=…`)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


# YAML with line numbers ---------------------------------------------------------------------------------------------

Path_ = tuple[str | int, ...]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.yaml")])
        raise BadRecipe(f"{path}: no such recipe.{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path}: cannot be read as text ({error}).") from None


def _parse_yaml(text: str, name: str) -> tuple[dict[str, Any], dict[Path_, int]]:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise BadRecipe(f"{where}: not valid YAML ({getattr(error, 'problem', None) or error}).") from None
    if not isinstance(data, dict):
        raise BadRecipe(
            f"{name}: a recipe is a mapping with name, models, tasks and stages, not {type(data).__name__}."
        )
    lines: dict[Path_, int] = {}
    _number(node, (), lines, name)
    return cast(dict[str, Any], data), lines


def _number(node: Any, path: Path_, lines: dict[Path_, int], name: str) -> None:
    """Record the line of every value in `lines`; a key that stands twice is an error, not a silent overwrite."""
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*path, key.value)
            if place in lines:
                raise BadRecipe(f"{name}:{key.start_mark.line + 1}: {_dotted(place)}: the key stands twice.")
            lines[place] = key.start_mark.line + 1
            _number(value, place, lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _number(value, (*path, index), lines, name)


# Overrides ----------------------------------------------------------------------------------------------------------


def _override(data: dict[str, Any], override: str) -> None:
    """Apply `a.b=c` in place; lists are entered by index, by `name` or by `type`. The last key may be new."""
    place, equals, value = override.partition("=")
    if not equals or not place:
        raise BadRecipe(f"--set {override}: not of the form path.to.field=value.")
    *parents, last = place.split(".")
    target: Any = data
    for depth, key in enumerate(parents):
        target = target[_entry(target, key, override, ".".join(parents[:depth]))]
    if not isinstance(target, dict | list):
        raise BadRecipe(f"--set {override}: {'.'.join(parents)} is {target!r}, which has no fields.")
    key = last if isinstance(target, dict) else _entry(target, last, override, ".".join(parents))
    cast(dict[Any, Any], target)[key] = _value(value, override)


def _value(text: str, override: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise BadRecipe(f"--set {override}: '{text}' is not valid YAML. Quote it.") from None


def _entry(target: Any, key: str, override: str, place: str) -> str | int:
    if isinstance(target, dict) and key in target:
        return key
    known = _keys(target)
    if isinstance(target, list) and key in known:
        return known[key]
    raise BadRecipe(
        f"--set {override}: '{key}' is not in {place or 'the recipe'}.{did_you_mean(key, known)}\n"
        f"  accepted: {', '.join(known) or 'nothing'}"
    )


def _keys(target: Any) -> dict[str, Any]:
    if isinstance(target, dict):
        return {str(key): key for key in cast(dict[Any, Any], target)}
    if not isinstance(target, list):
        return {}
    keys: dict[str, Any] = {}
    for index, entry in enumerate(cast(list[dict[str, Any]], target)):
        names = [str(entry[k]) for k in ("name", "type") if k in entry]
        keys.update({name: index for name in [*names, str(index)] if name not in keys})
    return keys


# Errors that say what to write instead ------------------------------------------------------------------------------


def _causes(error: ValidationError) -> list[ErrorDetails]:
    """The errors that are not mere consequences of one inside them (a list is "too short" when its entry is wrong)."""
    details = error.errors()
    inner = [detail["loc"] for detail in details]
    return [
        d for d in details if not any(len(loc) > len(d["loc"]) and loc[: len(d["loc"])] == d["loc"] for loc in inner)
    ]


def _explain(detail: ErrorDetails, data: Any, name: str, lines: dict[Path_, int]) -> str:
    """One validation error as `file:line: field: what is wrong, and what would be accepted`."""
    path = _plain_path(detail["loc"], data)
    line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), 1)
    parent = _at(data, path[:-1])
    return f"{name}:{line}: {_dotted(path, data)}{_sentence(detail, path, parent)}"


def _sentence(detail: ErrorDetails, path: Path_, parent: Any) -> str:
    kind, value = detail["type"], detail["input"]
    last = str(path[-1]) if path else "recipe"
    if kind == "union_tag_invalid":
        return _unknown_block(path, str(value.get("type")))
    if kind == "union_tag_not_found":
        return f"{_axis(path)} without a type.\n  accepted: {_types(path)}"
    if kind == "extra_forbidden":
        known = _fields(path, parent)
        return f": no such field.{did_you_mean(last, known)}\n  accepted: {', '.join(known)}"
    if kind == "missing":
        return ": is missing."
    message = detail["msg"].removeprefix("Value error, ")
    return f": {message}" if kind == "value_error" else f": {value!r}: {message[0].lower()}{message[1:]}."


def _unknown_block(path: Path_, value: str) -> str:
    axis = _axis_name(path)
    near = did_you_mean(value, blocks(axis))
    return f".type: '{value}' is no {AXES[axis]}.{near}\n  accepted: {_types(path)}"


def _axis_name(path: Path_) -> str:
    return next(str(key) for key in reversed(path) if key in AXES)


def _axis(path: Path_) -> str:
    return f": a {AXES[_axis_name(path)]}"


def _types(path: Path_) -> str:
    axis = _axis_name(path)
    return f"{', '.join(blocks(axis))}  (selftaught recipes blocks {axis})"


def _fields(path: Path_, parent: Any) -> list[str]:
    """The fields accepted where `path` ends: of the block that stands there, of a stage, or of the recipe."""
    if len(path) == 1:
        return list(Recipe.model_fields)
    if len(path) == 3 and path[0] == "stages":
        return list(Stage.model_fields)
    return list(blocks(_axis_name(path[:-1]))[parent["type"]].model_fields)


def _plain_path(loc: tuple[str | int, ...], data: Any) -> Path_:
    """`loc` without the union tags that pydantic puts in, and without the index that a lone block did not need."""
    path: list[str | int] = []
    here = data
    for key in loc:
        if isinstance(here, dict) and key not in here and _at(cast(Any, here), ("type",)) == key:
            continue
        if isinstance(key, int) and not isinstance(here, list):
            continue
        path.append(key)
        here = _at(here, (key,))
    return tuple(path)


def _at(data: Any, path: Path_) -> Any:
    for key in path:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _dotted(path: Path_, data: Any = None) -> str:
    """`stages.main.verify.0`: a stage goes by its name."""
    shown = [str(key) for key in path]
    stage = _at(data, path[:2]) if len(path) > 1 and path[0] == "stages" else None
    if isinstance(stage, dict) and "name" in stage:
        shown[1] = str(cast(dict[str, Any], stage)["name"])
    return ".".join(shown) or "recipe"
