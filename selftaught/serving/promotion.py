"""Moving the champion: promotion, roll-back, and recovery after a kill.

The truth is the registry's `champion` alias, and the line's stable address follows it; where the route keeps a record
of its own, that is the truth and the alias follows. A version is served and answers before anything leads to it, so
users notice nothing: `ready`, then, under the line's lease, the route's introduction, `previous`, `champion`, the
address. Killed between any two of these, the same call ends what was begun, and so does `reconcile`. Whether a
challenger deserves it is the gate's business.
"""

import time
from collections.abc import Callable, Generator, Iterator, Set
from contextlib import contextmanager, suppress

from selftaught.core.errors import RoundFailed, SelftaughtError
from selftaught.serving.backend import Backend, Route
from selftaught.state.tracking import Tracker, Version

REPLACED = "selftaught.replaced"
"""Tag of a version: when it stopped being the champion (seconds since the epoch)."""


def move(
    tracker: Tracker,
    backend: Backend,
    new: Version,
    expected: str | None = None,
    begun: Callable[[], object] = lambda: None,
    sure: Callable[[], object] = lambda: None,
    *,
    again: bool = True,
) -> Version | None:
    """Make `new` the champion of its line and have users reach it; returns the champion before it.

    With `expected`, a champion of another digest is not replaced: RoundFailed. Unless `again`, a version that stopped
    being the champion does not become it. Both are asked under the lease, and then `begun` is called, before users are
    led anywhere; `sure` raises what speaks against it once they were. Raises what `Backend.ready` and
    `Route.introduce` raise, too, and then the champion is who it was.
    """
    backend.ready(new.line, new.digest)
    with backend.lease(new.line) as require_held:
        backend.ready(new.line, new.digest)  # it may have been removed before
        old = _champion(tracker, backend.route, new.line)
        if old != new:
            if not again and REPLACED in tracker.version_tags(new):
                return old
            _require(new.line, old, expected)
            begun()
            backend.route.introduce(new.line, new.digest, _beside(tracker, old, new))
            if backend.route.recorded(new.line) != new.digest:  # else the truth has moved by now
                with _leading_back(tracker, backend, new.line):
                    require_held()
                    _require(new.line, tracker.resolve(new.line, "champion"), old and old.digest)
                    sure()
            _replace(tracker, old, new)
        backend.route.point(new.line, new.digest)
    return old


@contextmanager
def _leading_back(tracker: Tracker, backend: Backend, line: str) -> Generator[None]:
    """Lead users to whoever is the champion where the block raises: they may have been shared out."""
    try:
        yield
    except SelftaughtError:
        champion = tracker.resolve(line, "champion")
        if champion is not None:
            with suppress(SelftaughtError):  # which hides nothing of why it has to be
                backend.route.point(line, champion.digest)
        raise


def _champion(tracker: Tracker, route: Route, line: str) -> Version | None:
    """The line's champion; the alias is brought into line with the route's record, where that is the truth.

    Raises RoundFailed when the record names a version that the registry does not know.
    """
    champion, recorded = tracker.resolve(line, "champion"), route.recorded(line)
    if recorded is None or (champion is not None and champion.digest == recorded):
        return champion
    known = next((version for version in tracker.versions(line) if version.digest == recorded), None)
    if known is None:
        raise RoundFailed(
            f"{line}: its pointer names {recorded}, which the registry does not know. Correct the pointer."
        )
    _replace(tracker, champion, known)
    return known


def _require(line: str, old: Version | None, expected: str | None) -> None:
    if expected is not None and (old is None or old.digest != expected):
        raise RoundFailed(
            f"{line}: the champion is now {old.digest[:8] if old else 'no version'}, but the challenger was measured "
            f"against {expected[:8]}. Run the round again."
        )


def _beside(tracker: Tracker, old: Version | None, new: Version) -> str | None:
    """The champion that `new` is tried beside; none where all users have had `new` before."""
    return None if old is None or REPLACED in tracker.version_tags(new) else old.digest


def _replace(tracker: Tracker, old: Version | None, new: Version) -> None:
    if old is not None:
        tracker.tag_version(old, {REPLACED: f"{time.time():.0f}"})
        tracker.point("previous", old)
    tracker.point("champion", new)


def reconcile(tracker: Tracker, backend: Backend, line: str, grace: float, used: Callable[[], Set[str]]) -> list[str]:
    """Bring what is served into line with the alias; returns what it did, a sentence each.

    The stable address leads to the champion. Versions that nobody is led to, that are not `used` (digests that
    unfinished rounds ask for, when it comes to that) and were replaced more than `grace` seconds ago, or never were
    champion, are removed.
    """
    with backend.lease(line):
        champion = _champion(tracker, backend.route, line)
    if champion is None:
        return []
    backend.ready(line, champion.digest)
    with backend.lease(line):
        if _champion(tracker, backend.route, line) != champion:
            return []  # moved meanwhile, and the address with it
        backend.route.point(line, champion.digest)
        surplus = list(_surplus(tracker, backend, line, grace, {champion.digest, *used()}))
        for digest in surplus:
            backend.remove(line, digest)
    return [f"{line}: {digest[:8]} is not served any more" for digest in surplus]


def _surplus(tracker: Tracker, backend: Backend, line: str, grace: float, kept: Set[str]) -> Iterator[str]:
    versions = {version.digest: version for version in tracker.versions(line)}
    for digest, age in backend.served(line).items():
        if digest in kept:
            continue
        replaced = tracker.version_tags(versions[digest]).get(REPLACED) if digest in versions else None
        idle = min(age, time.time() - float(replaced)) if replaced else age  # brought up again, it is young
        if idle > grace:
            yield digest
