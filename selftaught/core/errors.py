"""Errors for users.

Every failure that a person can fix is raised as a `SelftaughtError` whose message names the value, the location and
the fix. The command line and the components print that message alone; anything else is a bug and keeps its traceback.
It does not cover what the standard library already says well (`OSError` with a path).
"""

import difflib
import re
from collections.abc import Iterable


class SelftaughtError(Exception):
    """Something a user can fix. The message names the value, the location and the fix, and no password of a URL."""

    def __init__(self, message: str = "") -> None:
        super().__init__(without_credentials(message))


class BadInput(SelftaughtError):
    """A file, value or model that was given is not what it has to be."""


class BadRecipe(BadInput):
    """A recipe, or an override of it, does not say what it means."""


class Unavailable(SelftaughtError):
    """A server did not answer (dead endpoint, refused connection, timeout): trying again later may help."""


class Away(Unavailable):
    """A server is away and may be back within minutes: it is restarted, moved, or cannot be reached for now."""


class Busy(Unavailable):
    """Another process moves the line, and does not give its lease back in time."""


class NoAnswer(BadInput):
    """A model's server gave no answer that can be used to one request: it may well answer the others."""


class WrongModel(SelftaughtError):
    """An endpoint serves another model than the one that was asked for."""


class StoreError(SelftaughtError):
    """The store refused, lost or corrupted something, or could not be written."""


class RoundFailed(SelftaughtError):
    """A round came to an end that repeating the same draw would not change (too few examples, overlapping data)."""


class UnderWay(BadInput):
    """A run of the line has not ended: what a person asked for waits for it, and a schedule does without this time."""


class NothingNew(SelftaughtError):
    """There are not enough new tasks for a round: a normal outcome, which trains nothing and is not a failure."""


class EarlyStop(SelftaughtError):
    """A control of the stage has ended the campaign: a normal outcome, and not a failure."""


def without_credentials(text: str) -> str:
    """`text`, the URLs in it without user and password.

    >>> without_credentials("https://me:secret@example.com/x does not answer")
    'https://example.com/x does not answer'
    """
    return re.sub(r"(?<=://)\S*@\S*", lambda found: _bare(found[0]), text)


def _bare(address: str) -> str:
    """What follows the last @ where user and password stand before it: a password may hold an @ or a / by mistake."""
    before, _, host = address.rpartition("@")
    first = address.partition("/")[0]
    return host if "@" in first or re.match(r"[^\[/:]*:(?!\d*(?:/|$))", before) else address


def did_you_mean(value: str, accepted: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest accepted word, or an empty string.

    >>> did_you_mean("answer_macth", ["answer_match", "rules"])
    " Did you mean 'answer_match'?"
    """
    close = difflib.get_close_matches(value, list(accepted), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
