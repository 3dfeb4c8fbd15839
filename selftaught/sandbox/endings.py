"""How a program ended, in words that a model may read. Whether it was right is not said here."""

from selftaught.sandbox.protocol import Outcome, Termination

MAX_SHOWN = 200

_ENDED = {
    Termination.CPU: "took longer than it may",
    Termination.WALL: "took longer than it may",
    Termination.OUTPUT: "wrote more than it may",
    Termination.DISK: "wrote more than it may",
    Termination.SIGNALLED: "crashed",
}


def ending(outcome: Outcome) -> str:
    """How a program ended that did not come to its end; of a traceback the last line."""
    if outcome.ended != Termination.EXITED:
        return f"the program {_ENDED[outcome.ended]}"
    lines = outcome.stderr.decode("utf-8", "replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return cut(said) if outcome.exit and said else f"the program ended itself with status {outcome.exit}"


def cut(text: str, most: int = MAX_SHOWN) -> str:
    """`text` as Unicode, of `most` characters and how many there were."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
