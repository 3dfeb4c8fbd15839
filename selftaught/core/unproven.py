"""The identity of a model whose weights nobody has proven: its name at a server that this platform did not start.

It stands wherever a digest does, so whatever keeps, shows or compares models says so by itself.
"""

UNPROVEN = "unproven:"
"""What such an identity begins with."""


def unproven(model: str, url: str) -> str:
    """The identity of `model` at the server `url` (`unproven:gpt-x@https://api.example.com/v1`)."""
    return f"{UNPROVEN}{model}@{url.rstrip('/')}"


def is_unproven(digest: str) -> bool:
    """Whether `digest` is such an identity."""
    return digest.startswith(UNPROVEN)
