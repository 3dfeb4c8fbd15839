"""The base class of every block, the registry, and the pydantic schema of an axis."""

import inspect
import sys
from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from selftaught.core.errors import BadInput

_REGISTRY: dict[str, dict[str, type["Block"]]] = {}
_FORMER: dict[str, dict[str, str]] = {}
"""The types that blocks of an axis had in earlier versions, and the ones that they have now."""


class Block(BaseModel, ABC):
    """One choice on an axis. Subclass the axis and name a type: `class Mine(Verifier, type="mine")`.

    A block that is renamed keeps reading its earlier type: `class Mine(Verifier, type="mine", formerly="my_old")`.
    """

    # Deferred: a block may hold blocks of other axes, and what is registered there is known when it is first used.
    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    axis: ClassVar[str]
    needs_tokens: ClassVar[bool] = False
    """Whether it needs the policy's token ids or log-probabilities, which a model behind a URL is not asked for."""

    def __init_subclass__(
        cls, *, type: str | None = None, formerly: str | None = None, axis: str | None = None, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if axis:
            cls.axis = axis
        if type:
            # pydantic reads the annotations after this: `type` becomes the tag of the axis's union
            tag = Annotated[Literal[type], BeforeValidator(partial(current, cls.axis))] if formerly else Literal[type]
            cls.__annotations__ = {"type": tag, **inspect.get_annotations(cls)}
            cls.type = type
            _require_free(cls, {type, formerly or type})
            _REGISTRY.setdefault(cls.axis, {})[type] = cls
            if formerly:
                _FORMER.setdefault(cls.axis, {})[formerly] = type

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """`type` is required: it tells an editor which block a mistake is one of."""
        resolved = handler.resolve_ref_schema(handler(schema))
        if "type" in resolved.get("properties", {}):
            resolved["required"] = ["type", *resolved.get("required", [])]
        return resolved

    @property
    def name(self) -> str:
        """The block's `type`, as verdicts, metrics and reports name it."""
        return str(self.model_dump(include={"type"})["type"])

    def roles(self) -> frozenset[str]:
        """The roles whose models this block asks (an objective: trains), those of the blocks in its fields included.

        A field called `role` names one. A block that asks a model which no such field names has to say so here: what a
        step opens, what its output is kept under and what a plan says go by this.
        """
        named = getattr(self, "role", None)
        own = frozenset({named} if isinstance(named, str) else ())
        return own.union(*(block.roles() for block in _in_fields(self)))


def _require_free(cls: type[Block], types: set[str]) -> None:
    """Raise BadInput where a block of Selftaught's own has one of `types` on the axis, or had it, and `cls` is none."""
    blocks, former = _REGISTRY.get(cls.axis, {}), _FORMER.get(cls.axis, {})
    for type in sorted(types):
        found = blocks.get(former.get(type, type))
        if found and _is_own(found) and not _is_own(cls):
            raise BadInput(
                f"{cls.__module__}.{cls.__qualname__}: '{type}' is a built-in block of {cls.axis}, which is not "
                "replaced. Give yours another type."
            )


def _is_own(cls: type[Block]) -> bool:
    return cls.__module__.partition(".")[0] == "selftaught"


@dataclass(frozen=True, slots=True)
class Registered:
    """The blocks that were registered at one time."""

    blocks: Mapping[str, Mapping[str, type[Block]]]
    former: Mapping[str, Mapping[str, str]]

    def require_kept(self) -> None:
        """Raise BadInput where a block has been replaced since by one of another package."""
        for axis, blocks in self.blocks.items():
            for type, block in blocks.items():
                now = _REGISTRY[axis][type]
                if now.__module__.partition(".")[0] != block.__module__.partition(".")[0]:
                    raise BadInput(
                        f"{now.__module__}.{now.__qualname__}: '{type}' is a block of {axis} in {block.__module__} "
                        "already. Give one of them another type."
                    )

    def require_complete(self) -> None:
        """Raise BadInput where a block that has been registered since lacks a method of its axis."""
        for axis, blocks in _REGISTRY.items():
            for block in (each for type, each in blocks.items() if type not in self.blocks.get(axis, {})):
                if lacking := sorted(block.__abstractmethods__):
                    named = f"{block.__module__}.{block.__qualname__}"
                    raise BadInput(
                        f"{named}: has no {' and no '.join(lacking)}, which is what {axis} asks a block for."
                    )

    def restore(self) -> None:
        """Have the blocks registered that were, and no others."""
        for registry, kept in ((_REGISTRY, self.blocks), (_FORMER, self.former)):
            registry.clear()
            registry.update({axis: dict(types) for axis, types in kept.items()})  # pyright: ignore[reportArgumentType, reportCallIssue]


def snapshot() -> Registered:
    """The blocks that are registered."""
    return Registered(
        {axis: dict(blocks) for axis, blocks in _REGISTRY.items()},
        {axis: dict(types) for axis, types in _FORMER.items()},
    )


def shown(value: object) -> str:
    """What a block has returned and may not, for a message."""
    return "None" if value is None else f"{type(value).__name__} {value!r:.60}"


def file_of(kind: type) -> str | None:
    """The file of the class; of a notebook's cell that of one of its methods."""
    codes = (getattr(value, "__code__", None) for value in vars(kind).values())
    named = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return named or next((code.co_filename for code in codes if code), None)


def within(*values: object) -> Iterator[Block]:
    """Every block in `values`, at any depth: in fields, sequences and mappings, and the values themselves."""
    for block in _in(values):
        yield block
        yield from within(*_in_fields(block))


def _in(value: object) -> Iterator[Block]:
    """The outermost blocks in `value`."""
    if isinstance(value, Block):
        yield value
    elif isinstance(value, BaseModel):
        yield from _in_fields(value)
    elif isinstance(value, Mapping):
        yield from _in(tuple(cast(Mapping[object, object], value).values()))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in cast(Sequence[object], value):
            yield from _in(each)


def _in_fields(model: BaseModel) -> Iterator[Block]:
    for name in type(model).model_fields:
        yield from _in(getattr(model, name))


def registered(axis: str) -> Mapping[str, type[Block]]:
    """Every block on `axis` that has been imported, by type. `selftaught.blocks.loading` imports them all."""
    return dict(sorted(_REGISTRY.get(axis, {}).items()))


def current(axis: str, type: Any) -> Any:
    """The type that a block of `axis` has now, of the one that it has or had."""
    return _FORMER.get(axis, {}).get(type, type) if isinstance(type, str) else type


def present(type: Any) -> Any:
    """The same of a block whose axis is not known: of any of them."""
    return next((found for axis in _FORMER if (found := current(axis, type)) != type), type)


class OneOf:
    """The pydantic schema of an axis: a union of its blocks, distinguished by `type`."""

    def __init__(self, axis: str) -> None:
        self.axis = axis

    def choices(self) -> Mapping[str, type[Block]]:
        """The blocks that may stand there."""
        return registered(self.axis)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        blocks = self.choices()
        former = {old: blocks[new] for old, new in _FORMER.get(self.axis, {}).items() if new in blocks}
        choices = {name: handler.generate_schema(block) for name, block in {**blocks, **former}.items()}
        one = core_schema.tagged_union_schema(cast(dict[Any, CoreSchema], choices), discriminator="type")
        return core_schema.nullable_schema(one) if type(None) in get_args(source) else one


class OnlyFor:
    """A source of tasks of which one set is used: the sizes of the others may be left out, and are 1 then."""

    def __init__(self, split: str) -> None:
        self.split = split

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._filled, handler(source))

    def _filled(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        given = cast(Mapping[str, Any], value)
        block = registered("tasks").get(given.get("type", ""))
        fields = block.model_fields if block else {}
        needed = (name for name in ("train", "gate", "report") if name in fields and fields[name].is_required())
        return {**{name: 1 for name in needed if name != self.split}, **given}
