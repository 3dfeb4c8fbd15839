"""Loading blocks: from the folders of the steps, and from packages with the entry-point group `selftaught.blocks`.

Nothing here knows a concrete block: modules are imported by name when an axis is first asked what may stand on it.
"""

import importlib
import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from selftaught.blocks.block import Block, OneOf, registered
from selftaught.core.errors import BadInput

STEPS = (
    "tasks.sources",
    "tasks.inbox",
    "environments",
    "sampling",
    "search",
    "verification",
    "curation",
    "controls",
    "training",
    "evaluation",
)


@cache
def load_blocks() -> None:
    """Import every module that may define a block: the steps' folders and the `selftaught.blocks` entry points."""
    for step in STEPS:
        package = importlib.import_module(f"selftaught.{step}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for entry in entry_points(group="selftaught.blocks"):
        _load(entry)


def _load(entry: EntryPoint) -> None:
    """Import a plug-in. Raises BadInput, naming it, for whatever is wrong with it."""
    try:
        entry.load()
    except Exception as error:
        package = entry.dist.name if entry.dist else "?"
        raise BadInput(
            f"package {package}: its blocks cannot be loaded ({entry.name} = {entry.value}: {type(error).__name__}: "
            f"{error}). Fix it, or remove it: {sys.executable} -m pip uninstall {package}"
        ) from error


class OnAxis(OneOf):
    """The union of an axis's blocks, plug-ins included."""

    def choices(self) -> Mapping[str, type[Block]]:
        load_blocks()
        return registered(self.axis)


class OneOrMore:
    """The pydantic schema of a list in which one entry may stand for a list of one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_listed, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        listed = handler(schema)
        return {"anyOf": [listed["items"], listed]}


def _listed(value: Any) -> Any:
    return cast(list[Any], value) if isinstance(value, list | tuple) else [value]
