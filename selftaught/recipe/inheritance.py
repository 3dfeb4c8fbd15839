"""`extends` and `profiles`: a recipe's plain data merged from all that it builds on, with where each value stands.

A recipe extends another one, and a stage a stage of the stage library (`recipes/stages`) or of a file. A name is that
of a shipped file; a path starts at the folder of the file that names it. Mappings are merged field by field. Anything
else replaces what is inherited, and so does a block of another `type`. Stages are merged by name. A recipe does not
inherit a `name`, nor one of a profile. What the values mean is `selftaught.recipe`'s business, and `--set` comes after.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from selftaught.blocks import present
from selftaught.core import shipped
from selftaught.core.errors import BadRecipe, did_you_mean
from selftaught.recipe.text import Locations, contents, mapping
from selftaught.recipe.text import Path as Keys

Plain = str | int | float | bool | None


@dataclass(frozen=True)
class Node:
    """A value, and where it stands."""

    value: "Plain | Fields | list[Node]"
    where: str

    @property
    def fields(self) -> "Fields":
        """The fields of a mapping; none of anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def entries(self) -> "list[Node]":
        """The entries of a list; none of anything else."""
        return self.value if isinstance(self.value, list) else []


Fields = dict[str, Node]


@dataclass(frozen=True)
class Source:
    """A file that is read, and the files whose `extends` led to it."""

    path: Path
    before: tuple[Path, ...] = ()

    def followed(self, path: Path, extends: Node) -> "Source":
        """`path` as what this file `extends`. Raises BadRecipe where it is one of those that led here."""
        chain = (*self.before, self.path)
        if path.resolve() in [each.resolve() for each in chain]:
            names = " → ".join(each.name for each in (*chain, path))
            raise BadRecipe(f"{extends.where}: extends: {extends.value} leads back to itself ({names}). Remove one.")
        return Source(path, chain)


def resolved(text: str, path: Path, profile: str = "") -> tuple[dict[str, Any], Locations]:
    """The recipe in `text` with all that it extends, and with `profile` of its profiles merged over it.

    `path` is what errors call it. Raises BadRecipe.
    """
    node = _recipe(_mapping(text, path, RECIPE), Source(path))
    if profile:
        changes = _profile(node, profile, path)
        _require_stages(node, changes)
        node = _merged_recipes(node, changes)
    locations: Locations = {}
    return _data(node, (), locations), locations


RECIPE = "a recipe is a mapping with name, models, tasks and stages"
STAGE = "a stage is a mapping with sample, verify, train and the like"


def _mapping(text: str, path: Path, form: str) -> Node:
    data, locations = mapping(text, str(path), form)
    return _node(data, (), locations, f"{path}:1")


# What a file extends --------------------------------------------------------------------------------------------------


def _recipe(node: Node, source: Source) -> Node:
    """A recipe with all that it and its stages extend."""
    own = _with_stages(node, source)
    profiles = own.fields.get("profiles", Node(None, ""))
    if profiles.fields:
        merged = {name: _with_stages(profile, source) for name, profile in profiles.fields.items()}
        own = _with(own, "profiles", Node(merged, profiles.where))
    if "extends" not in own.fields:
        return own
    extends = own.fields["extends"]
    path = _found(extends, source, shipped.recipes(), "recipe")
    parent = _recipe(_mapping(contents(path, "recipe", path.parent), path, RECIPE), source.followed(path, extends))
    _require_inherited(parent, own)
    _require_stages(parent, own)
    return _without_dropped(_merged_recipes(_nameless(parent), _without(own, "extends")))


def _require_inherited(parent: Node, own: Node) -> None:
    """Raise BadRecipe where a profile that is to be left out is none of `parent`'s."""
    given, known = (each.fields.get("profiles", Node(None, "")).fields for each in (own, parent))
    for name, profile in given.items():
        if profile.value is None and name not in known:
            near = did_you_mean(name, known)
            raise BadRecipe(f"{profile.where}: profiles.{name}: null leaves out no inherited profile.{near}")


def _require_stages(base: Node, over: Node) -> None:
    """Raise BadRecipe where `over` has part of a stage that `base` does not have, but one of nearly that name."""
    ours, theirs = (each.fields.get("stages", Node(None, "")).entries for each in (over, base))
    names = [_name(each) for each in theirs]
    for stage in ours:
        name = str(_name(stage))
        near = did_you_mean(name, map(str, names))
        if name not in names and near and "verify" not in stage.fields:
            raise BadRecipe(
                f"{stage.where}: stages.{name}: there is no such stage to change, and a new one has sample, verify and "
                f"more.{near}"
            )


def _without_dropped(node: Node) -> Node:
    """`node` without profiles that are null: a recipe that inherits them has none, or not these."""
    profiles = node.fields.get("profiles")
    if profiles is None or not isinstance(profiles.value, dict | None):
        return node
    kept = {name: profile for name, profile in profiles.fields.items() if profile.value is not None}
    return _with(node, "profiles", Node(kept, profiles.where)) if kept else _without(node, "profiles")


def _nameless(parent: Node) -> Node:
    """`parent` without its name, and those of its profiles: they are names of its lines."""
    profiles = parent.fields.get("profiles", Node(None, ""))
    unnamed = {name: _without(profile, "name") for name, profile in profiles.fields.items()}
    bare = _without(parent, "name")
    return _with(bare, "profiles", Node(unnamed, profiles.where)) if unnamed else bare


def _with_stages(node: Node, source: Source) -> Node:
    stages = node.fields.get("stages", Node(None, ""))
    if not stages.entries:
        return node
    return _with(node, "stages", Node([_stage(each, source) for each in stages.entries], stages.where))


def _stage(node: Node, source: Source) -> Node:
    """A stage with all that it extends."""
    if "extends" not in node.fields:
        return node
    extends = node.fields["extends"]
    path = _found(extends, source, shipped.stages(), "stage")
    parent = _stage(_mapping(contents(path, "stage", path.parent), path, STAGE), source.followed(path, extends))
    return _merged(parent, _without(node, "extends"))


def _found(extends: Node, source: Source, library: Path, kind: str) -> Path:
    """The file that `extends` names. Raises BadRecipe where there is none."""
    name = extends.value
    if not isinstance(name, str) or not name:
        raise BadRecipe(f"{extends.where}: extends: {_data(extends)!r}: should be a shipped {kind}'s name, or a path.")
    is_path = "/" in name or name.endswith(".yaml")
    path = source.path.parent / name if is_path else library / f"{name}.yaml"
    if not _is_file(path):
        known = sorted(each.name if is_path else each.stem for each in path.parent.glob("*.yaml"))
        near = did_you_mean(path.name if is_path else name, known)
        accepted = "" if is_path else f"\n  accepted: {', '.join(known)}; or a path, such as ./{name}.yaml"
        raise BadRecipe(f"{extends.where}: extends: '{name}': no such {kind}.{near}{accepted}")
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file system has a name so long
        return False


def _profile(node: Node, name: str, path: Path) -> Node:
    profiles = node.fields.get("profiles", Node(None, "")).fields
    if not profiles:
        raise BadRecipe(f"--profile {name}: {path} has no profiles. Leave --profile out.")
    if name not in profiles:
        near = did_you_mean(name, profiles)
        raise BadRecipe(f"--profile {name}: no such profile of {path}.{near}\n  accepted: {', '.join(profiles)}")
    if not isinstance(profiles[name].value, dict):
        shown = repr(_data(profiles[name]))
        raise BadRecipe(f"{profiles[name].where}: profiles.{name}: {shown}: should be a mapping.")
    return profiles[name]


# Merging ------------------------------------------------------------------------------------------------------------


def _merged_recipes(base: Node, over: Node) -> Node:
    merged = _merged(base, over)
    stages = [each.fields.get("stages", Node(None, "")) for each in (base, over)]
    if all(each.entries for each in stages):
        merged = _with(merged, "stages", _merged_stages(*stages))
    profiles = [each.fields.get("profiles", Node(None, "")) for each in (base, over)]
    if all(each.fields for each in profiles):
        merged = _with(merged, "profiles", _merged_profiles(*profiles))
    return merged


def _merged_profiles(base: Node, over: Node) -> Node:
    both = {name: _merged_recipes(base.fields[name], over.fields[name]) for name in base.fields.keys() & over.fields}
    return Node({**base.fields, **over.fields, **both}, over.where)


def _merged_stages(base: Node, over: Node) -> Node:
    """The stages of both by name, in the order of `base`; a new one precedes the inherited one that follows it."""
    _require_names_differ(over)
    merged, index = list(base.entries), len(base.entries)
    for stage in reversed(over.entries):
        names = [_name(each) for each in merged]
        if _name(stage) in names:
            index = names.index(_name(stage))
            merged[index] = _merged(merged[index], stage)
        else:
            merged.insert(index, stage)
    return Node(merged, over.where)


def _require_names_differ(stages: Node) -> None:
    names = [_name(each) for each in stages.entries]
    for stage, name in zip(stages.entries, names, strict=True):
        if names.count(name) > 1:
            raise BadRecipe(f"{stage.where}: stages.{name}: two stages share this name. Name each stage once.")


def _name(stage: Node) -> Any:
    name = stage.fields.get("name", Node("main", ""))
    return _data(name)


def _merged(base: Node, over: Node) -> Node:
    """`over`, and the fields of `base` that it does not set, if both are mappings and no blocks of different types."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)) or _another_type(base, over):
        return over
    both = {key: _merged(base.value[key], over.value[key]) for key in base.value.keys() & over.value}
    return Node({**base.value, **over.value, **both}, over.where)


def _another_type(base: Node, over: Node) -> bool:
    """Whether both are blocks, or both refer to models, and not of one type."""
    types = [present(each.fields["type"].value) for each in (base, over) if "type" in each.fields]
    refers = [kind for each in (base, over) if (kind := each.fields.keys() & {"iterate", "url"})]
    return any(len(kinds) > 1 and kinds[0] != kinds[1] for kinds in (types, refers))


def _with(node: Node, key: str, value: Node) -> Node:
    return Node({**node.fields, key: value}, node.where)


def _without(node: Node, key: str) -> Node:
    return Node({name: value for name, value in node.fields.items() if name != key}, node.where)


# Nodes and plain data -------------------------------------------------------------------------------------------------


def _node(value: Any, path: Keys, locations: Locations, where: str) -> Node:
    """`value` with the place of each part; what YAML merged in (`<<`) stands where the mapping does."""
    where = locations.get(path, where)
    if isinstance(value, dict):
        fields = cast(dict[str, Any], value).items()
        return Node({key: _node(each, (*path, key), locations, where) for key, each in fields}, where)
    if isinstance(value, list):
        entries = enumerate(cast(list[Any], value))
        return Node([_node(each, (*path, index), locations, where) for index, each in entries], where)
    return Node(value, where)


def _data(node: Node, path: Keys = (), locations: Locations | None = None) -> Any:
    """The plain data of `node`; says in `locations` where each value stands."""
    if locations is not None:
        locations[path] = node.where
    if isinstance(node.value, dict):
        return {key: _data(each, (*path, key), locations) for key, each in node.value.items()}
    if isinstance(node.value, list):
        return [_data(each, (*path, index), locations) for index, each in enumerate(node.value)]
    return node.value
