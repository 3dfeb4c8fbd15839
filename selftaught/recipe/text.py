"""Parses a recipe's YAML to plain data, with the line of each value.

What comes out is text, finite numbers, true, false, null, lists and mappings with text for keys, not deeper than
DEEPEST and, aliases spelt out, not more than MOST values. A key that is defined twice and a value that a comment has
swallowed are mistakes here. What the values mean is `selftaught.recipe`'s business.
"""

import math
import pathlib
from collections.abc import Callable
from typing import Any, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import ParserError
from yaml.scanner import ScannerError

from selftaught.core import shipped
from selftaught.core.errors import BadRecipe, did_you_mean
from selftaught.records import encodable

Path = tuple[str | int, ...]
Locations = dict[Path, str]
"""Where each value stands: `file:line`, or the override that set it."""

At = Callable[[int], str]
"""What messages call a line, counted from 1."""

DEEPEST = 20
"""Levels below which only an alias of itself, or something that is no recipe, goes."""

MOST = 10_000
"""Values of a recipe, aliases spelt out: fifty times those of the longest that is shipped."""

MOST_CHARACTERS = 1_000_000
"""Of a file: two hundred times those of the longest that is shipped."""

_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
_KEYS = {f"{_TAG}str", f"{_TAG}merge"}


class _Loader(yaml.SafeLoader):
    """YAML without dates: `2026-11-28` is a text, as it is in JSON."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own way of saying it)
        first: [(tag, looks) for tag, looks in resolvers if tag != f"{_TAG}timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def contents(path: pathlib.Path, kind: str, others: pathlib.Path) -> str:
    """The text of the file `path`, which is a `kind`; its neighbours and those in `others` are what may be meant.

    Raises BadRecipe where there is none, or no text, or one without an end.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except FileNotFoundError:
        near = did_you_mean(path.name, [each.name for each in path.parent.glob("*.yaml")])
        near = near or did_you_mean(path.stem, [each.stem for each in others.glob("*.yaml")])
        named = kind != "recipe" and (shipped.recipes() / f"{path}.yaml").is_file()
        hint = f" A recipe has that name: give the {kind}'s own file, such as {kind}.yaml." if named else near
        raise BadRecipe(f"{path}: no such {kind}.{hint}") from None
    except IsADirectoryError:
        raise BadRecipe(f"{path}: is a folder. Name a file.") from None
    except (OSError, ValueError) as error:
        raise BadRecipe(f"{path}: cannot be read as text ({error}).") from None
    if len(text) > MOST_CHARACTERS:
        raise BadRecipe(f"{path}: has more than {MOST_CHARACTERS:,} characters, so it is no {kind}.")
    return text


def mapping(text: str, name: str, form: str) -> tuple[dict[str, Any], Locations]:
    """The mapping that `text` is, with where its values stand; `form` says what a mapping of what it should be.

    Raises BadRecipe where it is none, as `read` does.
    """
    data, locations = read(text, lambda line: f"{name}:{line}")
    if not isinstance(data, dict):
        raise BadRecipe(f"{name}: {form}, not {_kind(data)}.")
    return cast(dict[str, Any], data), locations


def _kind(data: Any) -> str:
    words = {"list": "a list", "str": "text", "NoneType": "an empty file"}
    return words.get(type(data).__name__, f"one {type(data).__name__}")


def read(text: str, at: At) -> tuple[Any, Locations]:
    """What `text` says (None where it says nothing), and where its values stand.

    Raises BadRecipe with the location where it is not YAML, or not a recipe.
    """
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line, letter = text.count("\n", 0, error.position) + 1, text[error.position]
        raise BadRecipe(f"{at(line)}: not valid YAML (it holds the control character {letter!a}). Remove it.") from None
    try:
        node = loader.get_single_node()
        return (None, {}) if node is None else _Reading(loader, at).document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise BadRecipe(
            f"{at(mark.line + 1 if mark else 1)}: not valid YAML ({error.problem}).{_advice(error)}"
        ) from None
    except RecursionError:
        raise BadRecipe(f"{at(1)}: nested more than {DEEPEST} deep. Take the brackets out.") from None
    finally:
        loader.dispose()


def _advice(error: yaml.MarkedYAMLError) -> str:
    """What to do where YAML's own words leave it open: most often a question or a template stands without quotes."""
    began = f"line {error.context_mark.line + 1}" if error.context_mark else "a line above"
    found = next((advice for said, advice in _ADVICE.items() if said in str(error.problem)), "")
    if not found and isinstance(error, (ParserError, ScannerError)):
        found = "Put text with any of : ? # , { } [ ] @ % in quotes."
    return f" {found.replace('{}', began)}".rstrip()


_ADVICE = {
    "'\\t'": "Indent with spaces.",
    "<block mapping start>": "Indent it like what stands beside it.",
    "<block sequence start>": "Indent it like what stands beside it.",
    "not allowed here": "Put text with a colon in quotes, or indent the line like what stands beside it.",
    "end of stream": "The quote of {} is not closed.",
    "stream end": "The bracket of {} is not closed, or a # without quotes hides its end.",
}
"""By what YAML's words of the mistake hold; {} is the line where what is not closed began."""


def value_at(data: Any, path: Path) -> Any:
    """The value at `path` of plain data; None where there is none."""
    for key in path:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            return None
    return data


class _Reading:
    """The values of one text, checked one by one before anything is made of them."""

    def __init__(self, loader: _Loader, at: At) -> None:
        self._loader = loader
        self._at = at
        self._locations: Locations = {}

    def document(self, node: Node) -> tuple[Any, Locations]:
        self._look(node, ())
        return cast(Any, self._loader).construct_document(node), self._locations

    def _look(self, node: Node, path: Path) -> None:
        self._locations.setdefault(path, self._where(node))
        if len(path) > DEEPEST:
            raise self._bad(node, path[:3], f" contains itself, or goes more than {DEEPEST} deep. Remove the alias.")
        if len(self._locations) > MOST:
            raise self._bad(node, path[:3], f" is more than {MOST:,} values, aliases spelt out. Remove the aliases.")
        if node.tag not in _PLAIN:
            raise self._bad(node, path, f": {node.tag.replace(_TAG, '!!')} is nothing that a recipe holds.")
        if isinstance(node, MappingNode):
            self._fields(node, path)
        elif isinstance(node, SequenceNode):
            for index, value in enumerate(cast(list[Node], node.value)):
                self._look(value, (*path, index))
        else:
            self._scalar(cast(ScalarNode, node), path)

    def _fields(self, node: MappingNode, path: Path) -> None:
        for key, value in cast(list[tuple[Node, Node]], node.value):
            if not isinstance(key, ScalarNode) or key.tag not in _KEYS:
                raise self._bad(key, path, ": has a key that is not text. Quote the key.")
            location = (*path, str(key.value))
            if location in self._locations:
                raise self._bad(key, location, " is defined twice. Remove one.")
            self._locations[location] = self._where(key)
            self._look(value, location)

    def _scalar(self, node: ScalarNode, path: Path) -> None:
        if node.tag == f"{_TAG}null" and not node.value:
            raise self._bad(node, path, f": {NOTHING}")
        try:
            value = cast(Any, self._loader).construct_object(node)
        except (ValueError, KeyError):
            raise self._bad(
                node, path, f": {node.value[:40]!r} starts like a number but is not one. Quote it."
            ) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._bad(node, path, f": {node.value}: should be a finite number.")
        if isinstance(value, str) and not encodable(value):
            raise self._bad(node, path, f": {value[:40]!a}: holds half a character (\\ud800 to \\udfff). Remove it.")

    def _where(self, node: Node) -> str:
        return self._at(node.start_mark.line + 1)

    def _bad(self, node: Node, path: Path, message: str) -> BadRecipe:
        return BadRecipe(f"{self._where(node)}: {'.'.join(map(str, path)) or 'recipe'}{message}")


NOTHING = "no value. Did # start a comment? Quote the value, or write null or ''."
"""What is said where a value has to stand and none does."""
