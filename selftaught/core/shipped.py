"""Files shipped with the package: the compiled pipelines, the recipes by name, and the stages that they extend.

In a checkout they are the checkout's own folders; a wheel holds copies of them (`force-include` in pyproject.toml).
What they say is not checked here.
"""

from importlib.resources import files
from pathlib import Path

_PACKAGE = Path(str(files("selftaught")))


def pipelines() -> Path:
    """The folder of the compiled pipelines."""
    return _folder("pipelines", "pipelines/compiled")


def recipes() -> Path:
    """The folder of the recipes."""
    return _folder("recipes", "recipes")


def stages() -> Path:
    """The folder of the stage library: stages that recipes extend."""
    return recipes() / "stages"


def recipe(named: Path) -> Path:
    """The file `named`; where there is none, the recipe that is shipped under that name (`rft`), if there is one."""
    ours = recipes() / f"{named}.yaml"
    return ours if not named.is_file() and named.name == str(named) and ours.is_file() else named


def _folder(in_wheel: str, in_checkout: str) -> Path:
    packed = _PACKAGE / "shipped" / in_wheel
    return packed if packed.is_dir() else _PACKAGE.parent / in_checkout
