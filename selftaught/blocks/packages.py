"""The packages that blocks come from: what a block does depends on their versions too.

A package brings blocks by the entry-point group `selftaught.blocks`. Selftaught's own are part of its release, and a
block that no package brings (from a notebook, or a script) has no version.
"""

from functools import cache
from importlib.metadata import EntryPoint, entry_points

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
    return (entry.dist.name, entry.dist.version) if entry.dist else None


def _common(one: str, other: str) -> int:
    """How many names two modules begin with in common."""
    pairs = zip(one.split("."), other.split("."), strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(one.count("."), other.count(".")) + 1)
