"""Loading blocks: from the folders of the steps, and from packages with the entry-point group `selftaught.blocks`.

Nothing here knows a concrete block: modules are imported by name when an axis is first asked what may stand on it.
"""

import importlib
import logging
import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from selftaught.blocks.block import Block, OneOf, registered, snapshot
from selftaught.blocks.packages import GROUP, package_of

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
    """Import every module that may define a block: the steps' folders and the `selftaught.blocks` entry points.

    A package that cannot be imported, or that would replace a block of another one, is left out with a warning.
    """
    for step in STEPS:
        package = importlib.import_module(f"selftaught.{step}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (package_of(entry), entry.name)):
        _load(entry)


def _load(entry: EntryPoint) -> None:
    """Import a plug-in; where anything is wrong with it, none of its blocks is registered."""
    before = snapshot()
    try:
        entry.load()
        before.require_kept()
        before.require_complete()
    except Exception as error:  # noqa: BLE001 (whatever another's module raises is theirs, and takes nothing with it)
        before.restore()
        _FAILURES.append(_failure(entry, error))
        logging.getLogger(__name__).warning("warning: %s", _FAILURES[-1])


def _failure(entry: EntryPoint, error: Exception) -> str:
    package, why = package_of(entry), f"{type(error).__name__}: {error}"
    return (
        f"package {package}: its blocks cannot be loaded ({entry.name} = {entry.value}: {why}). Fix it, or remove it: "
        f"{sys.executable} -m pip uninstall {package}"
    )


_FAILURES: list[str] = []


def failures() -> tuple[str, ...]:
    """Why packages with blocks are left out, one sentence a package: a block that a recipe names may be theirs."""
    load_blocks()
    return tuple(_FAILURES)


class OnAxis(OneOf):
    """The union of an axis's blocks, plug-ins included."""

    def choices(self) -> Mapping[str, type[Block]]:
        load_blocks()
        return registered(self.axis)


class OneOrMore:
    """The pydantic schema of a list in which one entry may stand for a list of one, and null for an empty one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_listed, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        listed = handler(schema)
        nothing = [] if "minItems" in listed else [{"type": "null"}]
        return {"anyOf": [listed["items"], listed, *nothing]}


def _listed(value: Any) -> Any:
    """`value` as a list: null, which unsets what is inherited, is an empty one."""
    if value is None:
        return []
    return cast(list[Any], value) if isinstance(value, list | tuple) else [value]
