"""`--set` overrides: fields of a recipe's plain data, replaced before anything is made of them.

What the values mean, and whether they are accepted, is `selftaught.recipe`'s business.
"""

from typing import Any, cast

from selftaught.core.errors import BadRecipe, did_you_mean
from selftaught.recipe.text import NOTHING, Locations, Path, read, value_at

UNNAMED = "main"
"""What a stage is called that has no name; blocks have types, and other lists hold no mappings."""


def set_field(data: dict[str, Any], override: str) -> Path:
    """Apply `a.b=c` in place; lists are entered by index, by `name` or by `type`. Keys below mappings may be new.

    Returns the path that was set.
    """
    location, equals, value = override.partition("=")
    if not equals or not location:
        raise BadRecipe(f"--set {override}: not of the form path.to.field=value.")
    path = path_to(data, location, f"--set {override}")
    put(data, path, _value(value, override))
    return path


def path_to(data: dict[str, Any], location: str, named: str) -> Path:
    """Where the field `a.b` of `data` is. Raises BadRecipe, whose text begins with `named`.

    The last key may be new; so may others of a mapping, which are made, unless they are nearly one that is there.
    """
    *parents, last = location.split(".")
    target: Any = data
    path: list[str | int] = []
    for depth, key in enumerate(parents):
        path.append(_entry(target, key, named, ".".join(parents[:depth])))
        target = target[path[-1]]
    if not isinstance(target, dict | list):
        raise BadRecipe(f"{named}: {'.'.join(parents)} is {target!r}, which has no fields.")
    return (*path, last if isinstance(target, dict) else _entry(target, last, named, ".".join(parents)))


def put(data: dict[str, Any], path: Path, value: Any) -> None:
    """Set the field at `path` of `data` in place."""
    *above, key = path
    target: Any = data
    for each in above:
        target = target[each]
    target[key] = value


def relocate(locations: Locations, path: Path, where: str) -> None:
    """Say of `path`, and of all below it, that it stands at `where`."""
    for old in [location for location in locations if location[: len(path)] == path]:
        del locations[old]
    locations[path] = where
    for depth in range(1, len(path)):
        locations.setdefault(path[:depth], where)  # mappings that were made for it


def _value(text: str, override: str) -> Any:
    value, locations = read(text, lambda _: f"--set {override}")
    if not locations:
        raise BadRecipe(f"--set {override}: {NOTHING}")
    return value


def _entry(target: Any, key: str, named: str, location: str) -> str | int:
    if isinstance(target, dict) and key in target:
        return key
    known = _keys(target)
    if isinstance(target, list) and key in known:
        return known[key]
    if isinstance(target, dict) and not did_you_mean(key, known):
        cast(dict[str, Any], target)[key] = {}
        return key
    raise BadRecipe(
        f"{named}: '{key}' is not in {location or 'the recipe'}.{did_you_mean(key, known)}\n"
        f"  accepted: {', '.join(known) or 'nothing'}"
    )


def _keys(target: Any) -> dict[str, Any]:
    if isinstance(target, dict):
        return {str(key): key for key in cast(dict[Any, Any], target)}
    if not isinstance(target, list):
        return {}
    keys: dict[str, Any] = {}
    for index, entry in enumerate(cast(list[Any], target)):
        names = [str(named) for k in ("name", "type") if (named := value_at(entry, (k,))) is not None]
        if not names and isinstance(entry, dict):
            names = [UNNAMED]
        keys.update({name: index for name in [*names, str(index)] if name not in keys})
    return keys
