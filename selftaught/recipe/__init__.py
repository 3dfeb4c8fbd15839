"""Recipes: one self-training method as one YAML file, resolved into blocks here and nowhere else.

Reads YAML, applies `--set` overrides, and gives a frozen `Recipe` whose axes hold the blocks themselves. Every mistake
is reported with file and line, field, value and what would have been accepted. Running a recipe is
`selftaught.campaign`'s business; what a block does is the block's.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from selftaught import __version__
from selftaught.blocks import (
    Block,
    Curator,
    Gate,
    Metric,
    Objective,
    OneOf,
    Sampler,
    TaskSource,
    Verifier,
    current,
    registered,
)
from selftaught.blocks.loading import OnAxis, OneOrMore, load_blocks
from selftaught.core import shipped
from selftaught.core.canonical import canonical
from selftaught.core.errors import BadInput, BadRecipe, did_you_mean
from selftaught.recipe.about import About
from selftaught.recipe.text import NOTHING, Locations, read
from selftaught.recipe.text import Path as Path_

AXES: Mapping[str, str] = {
    "tasks": "task source",
    "sample": "sampler",
    "verify": "verifier",
    "curate": "curator",
    "train": "objective",
    "evaluate": "metric",
    "gate": "gate",
    "select": "selection",
    "expand": "expansion",
    "value": "node value",
    "backup": "back-up",
    "merge": "rule for duplicates",
}
"""Every axis of a recipe, and what one block on it is called."""

ARGUMENT = 100_000
"""Bytes of a recipe in a pipeline's arguments: with everything else, one has less than 131,072 on Linux."""

NOT_THE_TEMPLATES = frozenset(
    {"add_generation_prompt", "chat_template", "continue_final_message", "conversation", "documents", "max_length"}
    | {"messages", "padding", "return_dict", "return_tensors", "tokenize", "tokenizer_kwargs", "tools", "truncation"}
)
"""What servers and transformers decide when they render a chat: arguments of theirs, which no recipe may set."""

Iterate = Literal["base", "head", "champion"]

FORMATS = (1, 2)
"""The formats of recipes that are read."""

NAME = r"^[a-z0-9][a-z0-9-]*$"
"""What a recipe and a stage may be called."""
ROLE = r"^[a-z0-9][a-z0-9_-]*$"
"""What a role may be called: its models' line is called by it too."""


def blocks(axis: str) -> Mapping[str, type[Block]]:
    """Every block on `axis` by type, plug-ins included. Raises BadInput for an axis that does not exist."""
    if axis not in AXES:
        raise BadInput(f"unknown axis '{axis}'.{did_you_mean(axis, AXES)}\n  accepted: {', '.join(AXES)}")
    load_blocks()
    return registered(axis)


class Stage(BaseModel):
    """One stage of a recipe: a block or a list of blocks on every axis, repeated for `rounds`.

    A stage that trains without a `gate` is a warm-up: what it trains is the head, for later stages to sample and train
    from, and no version is promoted. One without `train` is an inference strategy: it is measured (`selftaught
    evaluate`), and has no round to run.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    name: Annotated[str, Field(pattern=NAME)] = "main"
    """What overrides and reports call it: lower case, digits and dashes."""
    rounds: PositiveInt = 1
    """Rounds before the next stage begins; the last stage continues after its own."""
    sample: Annotated[Sampler, OnAxis("sample")]
    """How the training tasks are attempted."""
    verify: Annotated[tuple[Annotated[Verifier, OnAxis("verify")], ...], Field(min_length=1), OneOrMore()]
    """What says whether a rollout is right to train on: each of them has to pass it. Metrics never go by it."""
    curate: Annotated[tuple[Annotated[Curator, OnAxis("curate")], ...], OneOrMore()] = ()
    """How verified rollouts become training examples: those of all curators are trained on."""
    train: Annotated[tuple[Annotated[Objective, OnAxis("train")], ...], OneOrMore()] = ()
    """How models learn from the examples; objectives of one role follow one another."""
    evaluate: Annotated[tuple[Annotated[Metric, OnAxis("evaluate")], ...], OneOrMore()] = ()
    """What is measured of champion and challenger on held-out tasks; without a gate, on the report set alone."""
    gate: Annotated[Gate | None, OnAxis("gate")] = None
    """What decides whether the challenger becomes the champion; without one nobody does."""
    sample_from: Iterate = "champion"
    """The policy that answers the training tasks: `champion` is what users get, `head` the latest iterate, promoted or
    not, `base` where the line began."""
    train_from: Iterate = "champion"
    """The policy that training starts from; see `sample_from`."""
    replay: NonNegativeInt = 0
    """Examples of each kind from earlier rounds to train on again, at most."""

    @property
    def trained_roles(self) -> frozenset[str]:
        """The roles other than policy that the stage trains."""
        return frozenset(objective.role for objective in self.train) - {"policy"}

    @property
    def trains_policy(self) -> bool:
        """Whether the policy is trained, so that there is a challenger."""
        return any(objective.role == "policy" for objective in self.train)

    @model_validator(mode="after")
    def _what_training_needs(self) -> Self:
        given = {"train": self.train, "curate": self.curate}
        missing = [axis for axis, blocks in given.items() if not blocks]
        if missing and (self.gate or len(missing) == 1):
            types = ", ".join(registered(missing[0]))
            raise ValueError(
                f"{missing[0]} is missing: a stage has train and curate, and a gate if it is to promote, or none of "
                f"them and is measured only.\n  accepted: {types}"
            )
        return self

    @model_validator(mode="after")
    def _what_is_measured(self) -> Self:
        if not self.evaluate and (self.gate or not self.train):
            purpose = "a gate decides by metrics" if self.gate else "what trains nothing is there to be measured"
            raise ValueError(f"evaluate is missing: {purpose}.\n  accepted: {', '.join(registered('evaluate'))}")
        if self.train and not self.trains_policy and (self.gate or self.evaluate):
            named = "gate" if self.gate else "evaluate"
            raise ValueError(
                f"{named} is about the policy, and train has objectives of {', '.join(sorted(self.trained_roles))} "
                "alone. Leave gate and evaluate out, or train the policy too."
            )
        return self

    @model_validator(mode="after")
    def _metrics_differ(self) -> Self:
        names = [block.name for block in self.evaluate]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"evaluate lists {', '.join(twice)} twice. Keep one, or give it another k.")
        return self

    @model_validator(mode="after")
    def _gate_metrics_are_measured(self) -> Self:
        metric = getattr(self.gate, "metric", None)
        if metric is not None:
            self._require_merit("gate.metric is", metric)
        for guarding in sorted(self.gate.anchored - {metric}) if self.gate else ():
            self._require_merit("gate.guard names", guarding)
        return self

    def _require_merit(self, named: str, metric: str) -> None:
        """Raise ValueError where `metric` is not measured, or says nothing of which model is better."""
        measured = {block.name: block for block in self.evaluate}
        if metric not in measured:
            raise ValueError(
                f"{named} '{metric}', but evaluate measures {', '.join(measured)}. "
                f"Add it to evaluate, or name one of these."
            )
        if not measured[metric].higher_is_better:
            better = ", ".join(name for name, block in measured.items() if block.higher_is_better)
            raise ValueError(
                f"{named} '{metric}', of which more is not better: a gate would promote what is merely longer or "
                f"dearer. Name another of those that evaluate measures ({better or 'none yet; add accuracy'})."
            )


class Recipe(BaseModel):
    """One self-training method: the models of its roles, its tasks, and its stages in order."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    format: Annotated[
        int,
        Field(
            description="of the file: 2 has `about`; files that do not say are of format 1",
            json_schema_extra={"enum": [1, 2]},
        ),
    ] = 1
    name: Annotated[str, Field(pattern=NAME, description="lower case, digits and dashes")]
    description: Annotated[str, Field(description="what it does, for `selftaught recipes list`")] = ""
    about: Annotated[About | None, Field(description="the paper, what it published, what differs, the effect")] = None
    models: Annotated[
        dict[Annotated[str, Field(pattern=ROLE)], str],
        Field(description="role to starter model, folder or hub id; others fall back to policy"),
    ]
    chat_template: Annotated[
        dict[str, bool | int | float | str],
        Field(description="variables of the models' chat templates (enable_thinking: false), in training too"),
    ] = {}
    tasks: Annotated[TaskSource, OnAxis("tasks"), Field(description="where tasks come from, and how many of them")]
    stages: Annotated[
        tuple[Stage, ...], Field(min_length=1, description="in order; the last one is used for all further rounds")
    ]

    @field_validator("format")
    @classmethod
    def _is_known(cls, number: int) -> int:
        if number not in FORMATS:
            raise ValueError(
                f"{number} is a format that Selftaught {__version__} does not read: {', '.join(map(str, FORMATS))}. "
                "Install a newer Selftaught, or write the recipe in one of these."
            )
        return number

    @model_validator(mode="after")
    def _about_has_its_format(self) -> Self:
        if self.about is not None and self.format < 2:
            raise ValueError("about is of format 2. Add `format: 2`.")
        return self

    @field_validator("models")
    @classmethod
    def _has_policy(cls, models: dict[str, str]) -> dict[str, str]:
        if "policy" not in models:
            raise ValueError("names no policy. Add `policy: <model>`.")
        return models

    @field_validator("chat_template")
    @classmethod
    def _are_the_templates_own(cls, variables: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(variables.keys() & NOT_THE_TEMPLATES):
            raise ValueError(f"{taken[0]} is not a template variable: it controls rendering. Remove it.")
        return variables

    @field_validator("stages")
    @classmethod
    def _stage_names_differ(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages share a name ({', '.join(names)}). Name each stage once.")
        return stages

    @model_validator(mode="after")
    def _guard_or_none(self) -> Self:
        unguarded = [stage.name for stage in self.stages if stage.gate and stage.gate.anchored]
        if unguarded and not self.tasks.guard:
            raise ValueError(
                f"there are no guard tasks, so the gate of {', '.join(unguarded)} cannot see what is lost elsewhere. "
                "Ask for some (`guard: 96` in tasks), or set `guard: none` in the gate."
            )
        return self

    @model_validator(mode="after")
    def _gate_is_not_the_policys_opinion(self) -> Self:
        for stage in self.stages:
            deciding = {getattr(stage.gate, "metric", None), *(stage.gate.anchored if stage.gate else ())}
            for metric in (metric for metric in stage.evaluate if metric.name in deciding):
                for verifier in metric.verify:
                    self._require_judges(f"stages.{stage.name}.evaluate.{metric.name}", verifier)
        return self

    def _require_judges(self, location: str, verifier: Verifier) -> None:
        """Raise ValueError where `verifier`, by which a gate decides, asks a role that the recipe gives no model."""
        if unnamed := sorted(verifier.roles() - (self.models.keys() - {"policy"})):
            raise ValueError(
                f"{location}.verify: '{verifier.name}' asks the {unnamed[0]} model, which is the one that is measured, "
                "so the gate would go by a model's opinion of itself. Assign another model to the role (models: "
                "{judge: …}, role: judge), or leave verify out, and the tasks' gold answers decide."
            )

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> Self:
        """The recipe in `path`, or shipped under that name, with `--set` overrides (`stages.main.sample.k=4`) applied.

        Raises BadRecipe: file and line, field, value, and the accepted ones.
        """
        path = shipped.recipe(path)
        return cls.parse(_read(path), str(path), overrides)

    @classmethod
    def parse(cls, text: str, name: str = "recipe", overrides: Sequence[str] = ()) -> Self:
        """The recipe in `text` (YAML or JSON); `name` is what errors call it. Raises BadRecipe."""
        data, locations = _parse_yaml(text, name)
        for override in overrides:
            _replace(locations, _override(data, override), f"--set {override}")
        try:
            recipe = cls.model_validate(data)
        except ValidationError as error:
            raise BadRecipe("\n".join(_explain(detail, data, locations) for detail in _causes(error))) from None
        for path, value in _truths_as_numbers(data, recipe.model_dump(mode="json")):
            raise BadRecipe(f"{_where(path, locations)}: {_dotted(path, data)}: {value}: should be a number.")
        return recipe

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the recipe with every default spelt out; what it says of itself (`about`) does not count."""
        method = self.model_dump(mode="json", exclude={"format", "about"})
        return hashlib.sha256(canonical(method)).hexdigest()

    def as_argument(self) -> str:
        """The recipe as JSON that comes through Kubeflow Pipelines as it is.

        Argo takes `{{` in a run's parameters for a variable of its own, and Kubernetes makes `$` of `$$` and values of
        `$(NAME)` in a container's arguments. Both can stand in JSON in its strings alone, which may write them as
        `\\u007b` and `\\u0024`.

        Raises BadInput when it is longer than an argument of a process may be.
        """
        text = self.model_dump_json().replace("{{", "{\\u007b").replace("$", "\\u0024")
        size = len(json.dumps(text).encode())  # it travels in JSON
        if size > ARGUMENT:
            raise BadInput(
                f"{self.name}: the recipe is {size:,} bytes, and a pipeline takes {ARGUMENT:,}. Shorten its texts."
            )
        return text

    def follows(self, family: str, paper: str) -> bool:
        """Whether it is of that `family` and follows a paper that `paper` matches; empty is any, or none at all."""
        about, found = self.about, self.about and self.about.paper
        return (not family or (about is not None and about.family == family)) and (
            not paper or (found is not None and found.matches(paper))
        )

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


# Reading ------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = did_you_mean(path.name, [each.name for each in path.parent.glob("*.yaml")])
        near = near or did_you_mean(path.stem, [each.stem for each in shipped.recipes().glob("*.yaml")])
        raise BadRecipe(f"{path}: no such recipe.{near}") from None
    except (OSError, ValueError) as error:
        raise BadRecipe(f"{path}: cannot be read as text ({error}).") from None


def _parse_yaml(text: str, name: str) -> tuple[dict[str, Any], Locations]:
    data, locations = read(text, lambda line: f"{name}:{line}")
    if not isinstance(data, dict):
        raise BadRecipe(f"{name}: a recipe is a mapping with name, models, tasks and stages, not {_kind(data)}.")
    return cast(dict[str, Any], data), locations


def _kind(data: Any) -> str:
    words = {"list": "a list", "str": "text", "NoneType": "an empty file"}
    return words.get(type(data).__name__, f"one {type(data).__name__}")


# Overrides ----------------------------------------------------------------------------------------------------------


def _override(data: dict[str, Any], override: str) -> Path_:
    """Apply `a.b=c` in place; lists are entered by index, by `name` or by `type`. The last key may be new.

    Returns the path that was set.
    """
    location, equals, value = override.partition("=")
    if not equals or not location:
        raise BadRecipe(f"--set {override}: not of the form path.to.field=value.")
    *parents, last = location.split(".")
    target: Any = data
    path: list[str | int] = []
    for depth, key in enumerate(parents):
        path.append(_entry(target, key, override, ".".join(parents[:depth])))
        target = target[path[-1]]
    if not isinstance(target, dict | list):
        raise BadRecipe(f"--set {override}: {'.'.join(parents)} is {target!r}, which has no fields.")
    key = last if isinstance(target, dict) else _entry(target, last, override, ".".join(parents))
    cast(dict[Any, Any], target)[key] = _value(value, override)
    return (*path, key)


def _replace(locations: Locations, path: Path_, where: str) -> None:
    """Say of `path`, and of all below it, that it stands at `where`."""
    for old in [location for location in locations if location[: len(path)] == path]:
        del locations[old]
    locations[path] = where


def _value(text: str, override: str) -> Any:
    value, locations = read(text, lambda _: f"--set {override}")
    if not locations:
        raise BadRecipe(f"--set {override}: {NOTHING}")
    return value


def _entry(target: Any, key: str, override: str, location: str) -> str | int:
    if isinstance(target, dict) and key in target:
        return key
    known = _keys(target)
    if isinstance(target, list) and key in known:
        return known[key]
    raise BadRecipe(
        f"--set {override}: '{key}' is not in {location or 'the recipe'}.{did_you_mean(key, known)}\n"
        f"  accepted: {', '.join(known) or 'nothing'}"
    )


def _keys(target: Any) -> dict[str, Any]:
    if isinstance(target, dict):
        return {str(key): key for key in cast(dict[Any, Any], target)}
    if not isinstance(target, list):
        return {}
    keys: dict[str, Any] = {}
    for index, entry in enumerate(cast(list[Any], target)):
        names = [str(named) for k in ("name", "type") if (named := _at(entry, (k,))) is not None]
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


def _explain(detail: ErrorDetails, data: Any, locations: Locations) -> str:
    """One validation error as `file:line: field: what is wrong, and what would be accepted`."""
    path = _plain_path(detail["loc"], data)
    return f"{_where(path, locations)}: {_dotted(path, data)}{_sentence(detail, path, data)}"


def _where(path: Path_, locations: Locations) -> str:
    return next(locations[path[:n]] for n in range(len(path), -1, -1) if path[:n] in locations)


def _truths_as_numbers(node: Any, made: Any, path: Path_ = ()) -> Iterator[tuple[Path_, bool]]:
    """Every true, yes, off … of `node` that `made` a number of, as pydantic does: `temperature: off` would be 0."""
    if isinstance(node, bool) and isinstance(made, int | float) and not isinstance(made, bool):
        yield path, node
    fields = cast(dict[str, Any], node) if isinstance(node, dict) else {}
    entries = cast(list[Any], made) if isinstance(made, list) else []
    become: Any = entries[0] if fields and entries else cast(Any, made)  # a lone block
    for key, value in fields.items():
        yield from _truths_as_numbers(value, _at(become, (key,)), (*path, key))
    for key, pair in enumerate(zip(cast(list[Any], node), entries, strict=False) if isinstance(node, list) else ()):
        yield from _truths_as_numbers(*pair, (*path, key))


def _sentence(detail: ErrorDetails, path: Path_, data: Any) -> str:
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        known = _fields(path, data)
        return f": no such field.{did_you_mean(str(path[-1]), known)}\n  accepted: {', '.join(known)}"
    if kind in _NO_BLOCK and (axis := _axis(path, data)):
        return _no_block(kind, axis, value)
    if kind == "missing":
        return ": is missing."
    if kind == "value_error":
        return f": {detail['msg'].removeprefix('Value error, ')}"
    return f": {_shown(value)}: {_plain(detail)}."


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


SHOWN = 80
"""Characters of a wrong value that its message shows."""


def _plain(detail: ErrorDetails) -> str:
    """What pydantic says, in plain words."""
    kind, context = detail["type"], detail.get("ctx", {})
    if context.get("pattern") == NAME:
        return "should be lower case letters, digits and dashes, the first no dash"
    if context.get("pattern") == ROLE:
        return "should be lower case letters, digits, dashes and underscores, the first a letter or digit"
    if kind == "too_short" and context["min_length"] == 1:
        return "should not be empty"
    message = PLAIN.get(kind.partition("_")[0]) if kind.endswith(("_type", "_parsing", "_from_float")) else None
    return message or detail["msg"].replace("Input should", "should").replace("valid ", "")


PLAIN = {
    "int": "should be an integer",
    "float": "should be a number",
    "bool": "should be true or false",
    "string": "should be text",
    "dict": "should be a mapping",
    "tuple": "should be a list",
}
"""What a value should be, by the first word of pydantic's error types."""


def _no_block(kind: str, axis: str, value: Any) -> str:
    """What to write where a block of `axis` has to stand and none does."""
    types, word = list(blocks(axis)), AXES[axis]
    accepted = f"\n  accepted: {', '.join(types)}  (selftaught recipes blocks {axis})"
    if kind == "missing":
        return f": is missing.{accepted}"
    if kind == "union_tag_not_found":
        return f": a {word} without a type.{accepted}"
    if kind == "union_tag_invalid":
        tag = str(value["type"])
        return f".type: unknown {word} '{tag}'.{did_you_mean(tag, types)}{accepted}"
    nearest = next(iter(difflib.get_close_matches(str(value), types, n=1)), types[0])
    return f": {_shown(value)}: should be a {word} such as {{type: {nearest}}}."


_NO_BLOCK = ("missing", "union_tag_not_found", "union_tag_invalid", "dict_type", "model_attributes_type")
"""pydantic's errors where a block has to stand and none does."""


def _fields(path: Path_, data: Any) -> list[str]:
    """The fields accepted where `path` ends: of the recipe, of a stage, of a block or of what a block holds."""
    return list(_model(path[:-1], data).model_fields)


def _axis(path: Path_, data: Any) -> str | None:
    """The axis whose block, or list of blocks, has to stand at `path`; None where no block has to."""
    *above, name = _without_index(path)
    field = _model(tuple(above), data).model_fields.get(str(name))
    found = _inside((*field.metadata, field.annotation)) if field else iter(())
    return next((each.axis for each in found if isinstance(each, OneOf)), None)


def _model(path: Path_, data: Any) -> type[BaseModel]:
    """The recipe, the stage or the block that stands at `path`, or the model that a field holds there."""
    if not path:
        return Recipe
    axis = _axis(path, data)
    kind = current(axis, _at(data, (*path, "type"))) if axis else ""
    if axis and kind in blocks(axis):
        return blocks(axis)[kind]
    *above, name = _without_index(path)
    annotation = _model(tuple(above), data).model_fields[str(name)].annotation
    return next(each for each in _inside((annotation,)) if isinstance(each, type) and issubclass(each, BaseModel))


def _without_index(path: Path_) -> Path_:
    """`path` up to the field that its last index counts in."""
    return path[:-1] if isinstance(path[-1], int) else path


def _inside(annotations: Iterable[Any]) -> Iterator[Any]:
    """`annotations` and all that they are made of."""
    for each in annotations:
        yield each
        yield from _inside(get_args(each))


def _plain_path(loc: tuple[str | int, ...], data: Any) -> Path_:
    """`loc` without the union tags that pydantic puts in, and without the index that a lone block did not need."""
    path: list[str | int] = []
    here = data
    for key in loc:
        if isinstance(here, dict) and key not in here and _at(cast(Any, here), ("type",)) == key:
            continue
        if key == "[key]" or (isinstance(key, int) and not isinstance(here, list)):
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
