"""The packages that blocks come from: what a block does depends on their versions too.

A package brings blocks by the entry-point group `selftaught.blocks`. One that is installed to be edited in place (`pip
install -e`) has another version with every edit of a source file: a digest of them follows its own. Selftaught's blocks
are part of its release, and a block that no package brings (from a notebook, or a script) has no version.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from selftaught.blocks.block import within

GROUP = "selftaught.blocks"


def package_of(entry: EntryPoint) -> str:
    """The name of the package that has `entry`."""
    return entry.dist.name if entry.dist else "?"


def packages(*values: object) -> dict[str, str]:
    """The version of every package that brought a block in `values`, at any depth, by name; none of Selftaught's."""
    found = (package_that_brought(type(block).__module__) for block in within(*values))
    return dict(sorted(package for package in found if package))


@cache
def package_that_brought(module: str) -> tuple[str, str] | None:
    """The package, by name and version, that brought the blocks of `module`; None where none did."""
    near = [entry for entry in entry_points(group=GROUP) if entry.dist and _common(entry.module, module)]
    if not near:
        return None
    entry = max(near, key=lambda entry: _common(entry.module, module))
    return (entry.dist.name, _version(entry.dist)) if entry.dist else None


def _version(package: Distribution) -> str:
    """Of one that is edited in place as PEP 440 has it for builds of one's own: `0.1+3f9ac2d1`."""
    sources = sorted(set(_sources(package))) if _is_editable(package) else []
    if not sources:
        return package.version
    digest = hashlib.sha256()
    for file in sources:
        text = file.read_bytes()
        digest.update(f"{file.name} {len(text)}\n".encode() + text)
    return f"{package.version}{'.' if '+' in package.version else '+'}{digest.hexdigest()[:8]}"


def _is_editable(package: Distribution) -> bool:
    """As installers note it (PEP 610)."""
    noted = json.loads(package.read_text("direct_url.json") or "{}")
    return bool(noted.get("dir_info", {}).get("editable"))


def _sources(package: Distribution) -> Iterator[Path]:
    """The source files of the modules and packages that its blocks are in."""
    for name in {entry.module.partition(".")[0] for entry in package.entry_points if entry.group == GROUP}:
        spec = find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            yield from (file for file in Path(folder).rglob("*.py") if file.is_file())
        if spec and spec.origin and Path(spec.origin).is_file():
            yield Path(spec.origin)


def _common(one: str, other: str) -> int:
    """How many names two modules begin with in common."""
    pairs = zip(one.split("."), other.split("."), strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(one.count("."), other.count(".")) + 1)
