"""Words: names and phrases that were replaced by the field's own do not come back.

Checked are the sources, tests and documents of the checkout, except the changelog, which has to name what was renamed,
and generated files.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FOLDERS = "benchmarks charts components docs effects infra manifests pipelines recipes scripts selftaught tests".split()
SUFFIXES = {".html", ".js", ".md", ".py", ".sh", ".tf", ".toml", ".tpl", ".txt", ".yaml"}
EXCLUDED = ("CHANGELOG.md", "pipelines/compiled", "manifests/overlays", "tests/test_words.py")

FORMER = frozenset(
    "Counted Detours Dropped EngineOwner Nursery OwnedEngines Places Telling Workplace as_a_process flying hear lately "
    "learns make_whole nursery place remedy tidy tidy_all told told_last told_rounds understood whole workplace "
    "write_whole".split()
)
"""Identifiers that have better names; the commits that renamed them have the tables."""

PHRASES = (
    "are told",
    "by the clock",
    "drawn anew",
    "gone on with",
    "has its way",
    "is no axis",
    "is told",
    "made anew",
    "stands twice",
    "was told",
    "whole or absent",
    "whole or not at all",
)


@cache
def texts() -> dict[str, str]:
    """The text of every checked file, by its path."""
    files = [*REPOSITORY.glob("*.md"), *(file for folder in FOLDERS for file in (REPOSITORY / folder).rglob("*"))]
    named = {file.relative_to(REPOSITORY).as_posix(): file for file in files if file.suffix in SUFFIXES}
    return {
        name: file.read_text(encoding="utf-8")
        for name, file in named.items()
        if not name.startswith(EXCLUDED) and not re.search(r"/\.|node_modules", name)
    }


def identifiers(source: str) -> Iterator[str]:
    """Every name that a Python source binds, reads or imports, attributes and keywords included."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.alias(name=name):
                yield name
            case ast.keyword(arg=str(name)) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case _:
                pass


def test_no_identifier_has_a_name_that_was_replaced() -> None:
    found = {
        name: former
        for name, text in texts().items()
        if name.endswith(".py") and (former := FORMER & set(identifiers(text)))
    }
    assert found == {}


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_has_a_phrase_that_was_replaced(phrase: str) -> None:
    assert [name for name, text in texts().items() if phrase in " ".join(text.lower().split())] == []
