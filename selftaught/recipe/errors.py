"""What a mistake in a recipe is called: file and line, field, value, and what would have been accepted.

Turns pydantic's errors into those sentences, of recipes and of other files of the same form (`selftaught.effects`). It
validates nothing itself, but for numbers that are written as truths.
"""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from selftaught.blocks import OneOf, current
from selftaught.blocks.loading import failures
from selftaught.core.errors import BadRecipe, did_you_mean
from selftaught.core.validation import should, shown
from selftaught.recipe.axes import AXES, blocks
from selftaught.recipe.models import KINDS, reference_at
from selftaught.recipe.text import Locations, Path, value_at

NAME = r"^[a-z0-9][a-z0-9-]*$"
"""What a recipe and a stage may be called."""
ROLE = r"^[a-z0-9][a-z0-9_-]*$"
"""What a role may be called: its models' line is called by it too."""


M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Written(Generic[M]):
    """A recipe as it is written: plain data, where each value stands, and the model that it is read as."""

    data: Any
    locations: Locations
    model: type[M]

    def checked(self) -> M:
        """The model of the data. Raises BadRecipe with everything that is wrong."""
        try:
            made = self.model.model_validate(self.data)
        except ValidationError as error:
            raise BadRecipe(self.mistakes(error)) from None
        for path, value in truths_as_numbers(self.data, made.model_dump(mode="json")):
            raise BadRecipe(f"{self.at(path)}: {value}: should be a number.")
        return made

    def mistakes(self, error: ValidationError) -> str:
        """Every error on lines of its own: `file:line: field: what is wrong, and what would be accepted`."""
        return "\n".join(self._mistake(detail) for detail in _causes(error))

    def _mistake(self, detail: ErrorDetails) -> str:
        path = _plain_path(detail["loc"], self.data)
        return self.at(path) + self._sentence(detail, path)

    def at(self, path: Path) -> str:
        """`file:line: field` of `path`."""
        where = next(self.locations[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.locations)
        return f"{where}: {_dotted(path, self.data) or self.model.__name__.lower()}"

    def _sentence(self, detail: ErrorDetails, path: Path) -> str:
        kind, value = detail["type"], detail["input"]
        if kind == "extra_forbidden":
            known = [field.alias or name for name, field in self._model(path[:-1]).model_fields.items()]
            return f": no such field.{did_you_mean(str(path[-1]), known)}\n  accepted: {', '.join(known)}"
        if kind in _NO_BLOCK and (axis := self._axis(path)):
            return _no_block(kind, axis, value)
        if kind == "missing":
            return ": is missing."
        if kind == "value_error":
            return f": {detail['msg'].removeprefix('Value error, ')}"
        return f": {shown(value)}: {_plain(detail)}."

    def _axis(self, path: Path) -> str | None:
        """The axis whose block, or list of blocks, has to stand at `path`; None where no block has to."""
        *above, name = _without_index(path)
        field = self._model(tuple(above)).model_fields.get(str(name))
        found = _inside((*field.metadata, field.annotation)) if field else iter(())
        return next((each.axis for each in found if isinstance(each, OneOf)), None)

    def _model(self, path: Path) -> type[BaseModel]:
        """The recipe, the stage or the block that stands at `path`, or the model that a field holds there.

        BaseModel itself, which has no fields, stands for a mapping of free keys.
        """
        if not path:
            return self.model
        if len(path) == 2 and path[0] == "models" and (reference := reference_at(value_at(self.data, path))):
            return reference
        axis = self._axis(path)
        kind = current(axis, value_at(self.data, (*path, "type"))) if axis else ""
        if axis and kind in blocks(axis):
            return blocks(axis)[kind]
        *above, name = _without_index(path)
        holder = self._model(tuple(above))
        if str(name) not in holder.model_fields:  # a key of a mapping, of which `holder` is what each value is
            return holder
        annotation = holder.model_fields[str(name)].annotation
        held = (each for each in _inside((annotation,)) if isinstance(each, type) and issubclass(each, BaseModel))
        return next(held, BaseModel)


def truths_as_numbers(node: Any, made: Any, path: Path = ()) -> Iterator[tuple[Path, bool]]:
    """Every true, yes, off … of `node` that `made` a number of, as pydantic does: `temperature: off` would be 0."""
    if isinstance(node, bool) and isinstance(made, int | float) and not isinstance(made, bool):
        yield path, node
    fields = cast(dict[str, Any], node) if isinstance(node, dict) else {}
    entries = cast(list[Any], made) if isinstance(made, list) else []
    become: Any = entries[0] if fields and entries else cast(Any, made)  # a lone block
    for key, value in fields.items():
        yield from truths_as_numbers(value, value_at(become, (key,)), (*path, key))
    for key, pair in enumerate(zip(cast(list[Any], node), entries, strict=False) if isinstance(node, list) else ()):
        yield from truths_as_numbers(*pair, (*path, key))


def _causes(error: ValidationError) -> list[ErrorDetails]:
    """The errors that are not mere consequences of one inside them (a list is "too short" when its entry is wrong)."""
    details = error.errors()
    inner = [detail["loc"] for detail in details]
    return [
        d for d in details if not any(len(loc) > len(d["loc"]) and loc[: len(d["loc"])] == d["loc"] for loc in inner)
    ]


def _plain(detail: ErrorDetails) -> str:
    """What a value should be; of a name, which letters it may have."""
    pattern = detail.get("ctx", {}).get("pattern")
    if pattern == NAME:
        return "should be lower case letters, digits and dashes, the first no dash"
    if pattern == ROLE:
        return "should be lower case letters, digits, dashes and underscores, the first a letter or digit"
    return should(detail)


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
        lost = "".join(f"\n  or it is of a package that failed to load: {failure}" for failure in failures())
        near = did_you_mean(tag, types)
        own = "" if near or lost else "\n  or one of your own, once its package is installed (pip install -e FOLDER)"
        return f".type: unknown {word} '{tag}'.{near}{accepted}{lost}{own}"
    nearest = next(iter(difflib.get_close_matches(str(value), types, n=1)), types[0])
    return f": {shown(value)}: should be a {word} such as {{type: {nearest}}}."


_NO_BLOCK = ("missing", "union_tag_not_found", "union_tag_invalid", "dict_type", "model_attributes_type")
"""pydantic's errors where a block has to stand and none does."""


def _without_index(path: Path) -> Path:
    """`path` up to the field that its last index counts in."""
    return path[:-1] if isinstance(path[-1], int) else path


def _inside(annotations: Iterable[Any]) -> Iterator[Any]:
    """`annotations` and all that they are made of."""
    for each in annotations:
        yield each
        yield from _inside(get_args(each))


def _plain_path(loc: tuple[str | int, ...], data: Any) -> Path:
    """`loc` without the union tags that pydantic puts in, and without the index that a lone block did not need."""
    path: list[str | int] = []
    here = data
    for key in loc:
        if isinstance(here, dict) and key not in here and value_at(cast(Any, here), ("type",)) == key:
            continue
        if key in ("[key]", *KINDS) or (isinstance(key, int) and not isinstance(here, list)):
            continue
        path.append(key)
        here = value_at(here, (key,))
    return tuple(path)


def _dotted(path: Path, data: Any) -> str:
    """`stages.main.verify.0`: a stage goes by its name, as do other entries of a list that have one."""
    shown = [str(key) for key in path]
    if len(path) > 1 and isinstance(path[1], int) and (name := value_at(data, (*path[:2], "name"))) is not None:
        shown[1] = str(name)
    return ".".join(shown)
