"""Extras: libraries that some sources need and the base installation does not have."""

from importlib.util import find_spec

from selftaught.core.errors import BadInput


def require(package: str, what: str) -> None:
    """Raise BadInput, with the command that installs it, where `package` is missing that `what` needs."""
    if find_spec(package) is None:
        raise BadInput(f"{what} needs {package}, which is not installed here. Run: pip install 'selftaught[tasks]'")
