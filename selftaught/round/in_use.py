"""Which models the unfinished rounds of a line ask for, and what is served brought into line with that."""

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from selftaught.core.errors import Busy, SelftaughtError
from selftaught.platform import Platform
from selftaught.round.history import unfinished
from selftaught.serving.promotion import reconcile
from selftaught.state.tracking import Version


def reconcile_line(platform: Platform, line: str) -> list[str]:
    """Reconcile what is served for `line`; returns what was done.

    It is left alone where its models are in another store, so that whoever keeps that one serves them, where its round
    has the only engine, and while somebody moves it, which ends in order or is healed by the next call.
    """
    try:
        return _tidied(platform, line)
    except Busy:
        return [f"{line}: left alone, it is being moved"]


def tidy_when_free(platform: Platform, line: str) -> list[str]:
    """As `reconcile_line`, once nobody moves the line, however long that takes."""
    while True:
        try:
            return _tidied(platform, line)
        except Busy as busy:  # it has waited for the lease already
            print(f"{line}: waiting until no other process is using it ({busy})", file=sys.stderr, flush=True)


def _tidied(platform: Platform, line: str) -> list[str]:
    champion = platform.tracker.resolve(line, "champion")
    if champion is not None and elsewhere(platform, champion):
        return [f"{line}: left alone, its models are in another store ({champion.uri})"]
    if platform.settings.one_engine and in_use(platform, line):
        return [f"{line}: left alone, an unfinished round has the only engine"]
    return reconcile(
        platform.tracker, platform.serving(), line, platform.settings.grace, partial(in_use, platform, line)
    )


def reconcile_lines(
    platform: Platform, lines: Iterable[str], one: Callable[[Platform, str], list[str]] = reconcile_line
) -> Iterator[str]:
    """Have `one` reconcile every line, so that what is wrong with one keeps no other from it; gives what was done.

    Raises SelftaughtError at the end, with what is wrong with which.
    """
    wrong: list[str] = []
    for line in lines:
        try:
            yield "\n".join(one(platform, line)) or f"{line}: as it has to be"
        except SelftaughtError as error:
            wrong.append(str(error) if str(error).startswith(line) else f"{line}: {error}")
    if wrong:
        raise SelftaughtError("\n".join(wrong))


def elsewhere(platform: Platform, version: Version) -> bool:
    """Whether the files of `version` are in another bucket or below another prefix than this platform's.

    A registry may be several teams'. A folder may have been moved since, so folders are not checked.
    """
    expected = platform.store.uri("models", version.digest)
    return expected.startswith("s3://") and version.uri != expected


def in_use(platform: Platform, line: str) -> set[str]:
    """The digests that the unfinished rounds of `line` name, and those of the challengers that they have made."""
    plans = list(unfinished(platform, line))
    refs = [
        ref for plan in plans for ref in (plan.champion, plan.anchor, plan.sampler, plan.trainee, *plan.roles.values())
    ]
    runs = {plan.run for plan in plans}
    made = [version for version in platform.tracker.versions(line) if version.run in runs] if plans else []
    return {each.digest for each in (*refs, *made) if each}
