"""Moving the champion: in the right order, and healed from a kill between any two of its moves. On a real registry."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from selftaught.core.errors import BadInput, Busy, RoundFailed, Unavailable
from selftaught.serving.backend import Served
from selftaught.serving.promotion import REPLACED, move, reconcile
from selftaught.state.tracking import Tracker, Version

LINE = "line"


class KilledError(Exception):
    """A kill -9, as far as a test can have one in its own process."""


@dataclass
class Address:
    """A backend that keeps what it is given in memory: what is served, a stable address, and, given one, a record."""

    tracker: Tracker
    leads_to: str = ""
    record: str | None = None
    unwelcome: frozenset[str] = frozenset()
    up: dict[str, float] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    held: bool = False
    lost: bool = False
    tried_beside: str | None = None
    moves: list[str] = field(default_factory=list)

    def deploy(self, line: str, digest: str) -> Served:
        self.ready(line, digest)
        return Served("http://nowhere/v1", line, digest)

    def ready(self, line: str, digest: str) -> None:
        if digest in self.broken:
            raise Unavailable(f"{digest}: crash loop")
        self.up.setdefault(digest, time.time())

    def remove(self, line: str, digest: str) -> None:
        assert self.held
        del self.up[digest]

    def served(self, line: str) -> dict[str, float]:
        return {digest: time.time() - since for digest, since in self.up.items()}

    @contextmanager
    def lease(self, line: str) -> Iterator[Callable[[], None]]:
        assert not self.held
        self.held = True
        try:
            yield self.require_held
        finally:
            self.held = False

    def require_held(self) -> None:
        if self.lost:
            raise Busy("lease line: another process has taken it meanwhile.")

    @property
    def route(self) -> "Address":
        return self

    def recorded(self, line: str) -> str | None:
        return self.record

    def introduce(self, line: str, digest: str, champion: str | None) -> None:
        assert self.held
        self.tried_beside = champion
        assert digest in self.up, "nobody may be led to what is not served"
        if digest in self.unwelcome:
            raise RoundFailed(f"{digest}: errors")
        if self.record is not None:
            self.record = digest

    def point(self, line: str, digest: str) -> None:
        assert self.held
        assert digest in self.up, "nothing may lead to what is not served"
        champion = self.tracker.resolve(line, "champion")
        assert champion is not None
        assert champion.digest == digest, "the alias is the truth"
        self.leads_to = digest

    def retire(self, line: str, digest: str) -> None:
        assert digest != self.leads_to


@pytest.fixture
def versions(tracker: Tracker) -> list[Version]:
    made = [tracker.register(LINE, letter * 64, "file:///nowhere", "", {}) for letter in "abc"]
    tracker.point("champion", made[0])
    return made


@pytest.fixture
def backend(tracker: Tracker, versions: list[Version]) -> Address:
    return Address(tracker, leads_to=versions[0].digest, up={versions[0].digest: time.time()})


def champion(tracker: Tracker) -> Version | None:
    return tracker.resolve(LINE, "champion")


def test_a_promotion_moves_both_aliases_and_the_address(tracker: Tracker, backend: Address, versions: list[Version]):
    assert move(tracker, backend, versions[1]) == versions[0]
    assert champion(tracker) == versions[1]
    assert tracker.resolve(LINE, "previous") == versions[0]
    assert backend.leads_to == versions[1].digest


def test_what_has_to_be_begun_is_while_the_line_is_held_and_users_are_where_they_were(
    tracker: Tracker, backend: Address, versions: list[Version]
):
    seen: list[tuple[bool, str, Version | None, str | None]] = []

    def begun() -> None:
        seen.append((backend.held, backend.leads_to, champion(tracker), backend.tried_beside))

    move(tracker, backend, versions[1], begun=begun)
    assert seen == [(True, versions[0].digest, versions[0], None)]


def test_a_version_that_does_not_come_up_moves_nothing(tracker: Tracker, backend: Address, versions: list[Version]):
    backend.broken = frozenset({versions[1].digest})
    with pytest.raises(Unavailable):
        move(tracker, backend, versions[1])
    assert champion(tracker) == versions[0]
    assert backend.leads_to == versions[0].digest


def test_a_version_that_its_first_users_do_not_like_is_not_promoted(
    tracker: Tracker, backend: Address, versions: list[Version]
):
    backend.unwelcome = frozenset({versions[1].digest})
    with pytest.raises(RoundFailed):
        move(tracker, backend, versions[1])
    assert champion(tracker) == versions[0]
    assert backend.leads_to == versions[0].digest


def test_a_new_version_is_tried_beside_the_champion_and_a_roll_back_is_not(
    tracker: Tracker, backend: Address, versions: list[Version]
):
    move(tracker, backend, versions[1])
    assert backend.tried_beside == versions[0].digest
    move(tracker, backend, versions[0])
    assert backend.tried_beside is None


def test_another_champion_than_the_measured_one_is_not_replaced(
    tracker: Tracker, backend: Address, versions: list[Version]
):
    with pytest.raises(RoundFailed, match="measured against cccccccc"):
        move(tracker, backend, versions[1], expected=versions[2].digest)
    assert champion(tracker) == versions[0]


def test_what_was_removed_before_the_line_was_held_is_served_again(
    tracker: Tracker, backend: Address, versions: list[Version], monkeypatch: pytest.MonkeyPatch
):
    lease = backend.lease

    def late(line: str):
        backend.up.pop(versions[1].digest)
        return lease(line)

    monkeypatch.setattr(backend, "lease", late)
    move(tracker, backend, versions[1])
    assert backend.leads_to == versions[1].digest


def introducing(backend: Address, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """While users try the new version something happens, and they are no longer led to the champion alone."""

    def introduce(line: str, digest: str, champion: str | None) -> None:
        backend.leads_to = "both"
        meanwhile()

    monkeypatch.setattr(backend, "introduce", introduce)


def test_a_promotion_that_lost_the_line_while_users_tried_it_moves_nothing(
    tracker: Tracker, backend: Address, versions: list[Version], monkeypatch: pytest.MonkeyPatch
):
    introducing(backend, monkeypatch, lambda: setattr(backend, "lost", True))
    with pytest.raises(Busy, match="another process has taken it"):
        move(tracker, backend, versions[1])
    assert champion(tracker) == versions[0]
    assert backend.leads_to == versions[0].digest


def test_a_champion_that_somebody_named_while_users_tried_another_stays(
    tracker: Tracker, backend: Address, versions: list[Version], monkeypatch: pytest.MonkeyPatch
):
    backend.ready(LINE, versions[2].digest)
    introducing(backend, monkeypatch, lambda: tracker.point("champion", versions[2]))
    with pytest.raises(RoundFailed, match="the champion is now cccccccc"):
        move(tracker, backend, versions[1])
    assert champion(tracker) == versions[2]
    assert backend.leads_to == versions[2].digest


def test_what_was_given_up_while_users_tried_it_is_no_champion(
    tracker: Tracker, backend: Address, versions: list[Version], monkeypatch: pytest.MonkeyPatch
):
    def sure() -> None:
        assert backend.held
        raise BadInput("has ended: abandoned")

    introducing(backend, monkeypatch, list)
    with pytest.raises(BadInput, match="abandoned"):
        move(tracker, backend, versions[1], sure=sure)
    assert champion(tracker) == versions[0]
    assert backend.leads_to == versions[0].digest


def test_a_promotion_that_was_reverted_in_the_record_is_not_made_again(
    tracker: Tracker, backend: Address, versions: list[Version]
):
    """The alias has not followed yet, so that only the record says so."""
    tracker.point("champion", versions[1])
    backend.record = versions[0].digest
    move(tracker, backend, versions[1], expected=versions[0].digest, again=False)
    assert champion(tracker) == versions[0]
    assert backend.record == versions[0].digest


@pytest.mark.parametrize("recorded", [False, True], ids=["alias", "record"])
@pytest.mark.parametrize("heal", ["the same call", "reconcile"])
@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
def test_a_kill_between_any_two_moves_heals(
    tracker: Tracker,
    backend: Address,
    versions: list[Version],
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    heal: str,
    recorded: bool,
):
    """The moves: the introduction, the tag of when it was replaced, `previous`, `champion`, the address."""
    backend.record = versions[0].digest if recorded else None
    with monkeypatch.context() as patch:
        done = 0

        def killing(real):
            def call(*args, **kwargs):
                nonlocal done
                if done == after:
                    raise KilledError
                done += 1
                return real(*args, **kwargs)

            return call

        for target, name in (
            (backend, "introduce"),
            (tracker, "tag_version"),
            (tracker, "point"),
            (backend, "point"),
        ):
            patch.setattr(target, name, killing(getattr(target, name)))
        with pytest.raises(KilledError):
            move(tracker, backend, versions[1], expected=versions[0].digest)
    if heal == "the same call":
        move(tracker, backend, versions[1], expected=versions[0].digest)
        assert champion(tracker) == versions[1]
        assert tracker.resolve(LINE, "previous") == versions[0]
    else:
        reconcile(tracker, backend, LINE, grace=1e9, used=set)
        if recorded and after > 0:
            assert champion(tracker) == versions[1]
    found = champion(tracker)
    assert found is not None
    assert backend.leads_to == found.digest
    assert backend.record in (None, found.digest)


def test_the_alias_follows_a_record_that_somebody_else_moved(
    tracker: Tracker, backend: Address, versions: list[Version]
):
    backend.record = versions[1].digest
    reconcile(tracker, backend, LINE, grace=1e9, used=set)
    assert champion(tracker) == versions[1]
    assert tracker.resolve(LINE, "previous") == versions[0]


def test_a_promotion_while_reconcile_waits_for_the_old_champion_is_not_undone(
    tracker: Tracker, backend: Address, versions: list[Version], monkeypatch: pytest.MonkeyPatch
):
    """Another process promotes once reconcile has seen who is champion, and before it holds the lease again."""
    ready = backend.ready

    def meanwhile(line: str, digest: str) -> None:
        monkeypatch.setattr(backend, "ready", ready)
        ready(line, digest)
        move(tracker, backend, versions[1])

    monkeypatch.setattr(backend, "ready", meanwhile)
    assert reconcile(tracker, backend, LINE, grace=0, used=set) == []
    assert champion(tracker) == versions[1]
    assert backend.leads_to == versions[1].digest
    assert set(backend.up) == {versions[0].digest, versions[1].digest}


def test_a_record_of_an_unknown_version_is_told(tracker: Tracker, backend: Address, versions: list[Version]):
    backend.record = "f" * 64
    with pytest.raises(RoundFailed, match=r"ffff.* which the registry does not know"):
        reconcile(tracker, backend, LINE, grace=1e9, used=set)
    assert champion(tracker) == versions[0]


def test_what_was_replaced_stays_for_its_grace_from_then_on(
    tracker: Tracker, backend: Address, versions: list[Version]
):
    backend.up[versions[0].digest] -= 10_000  # served for hours, replaced just now
    move(tracker, backend, versions[1])
    reconcile(tracker, backend, LINE, grace=60, used=set)
    assert versions[0].digest in backend.up
    tracker.tag_version(versions[0], {REPLACED: f"{time.time() - 61:.0f}"})
    assert reconcile(tracker, backend, LINE, grace=60, used=set) == ["line: aaaaaaaa is not served any more"]
    assert set(backend.up) == {versions[1].digest}


def test_what_was_replaced_long_ago_and_is_up_again_has_its_grace(
    tracker: Tracker, backend: Address, versions: list[Version]
):
    """A round that trains from it had it served, and is over."""
    move(tracker, backend, versions[1])
    tracker.tag_version(versions[0], {REPLACED: f"{time.time() - 10_000:.0f}"})
    backend.up[versions[0].digest] = time.time()
    reconcile(tracker, backend, LINE, grace=60, used=set)
    assert versions[0].digest in backend.up


def test_what_an_unfinished_round_asks_for_is_never_removed(
    tracker: Tracker, backend: Address, versions: list[Version]
):
    backend.up[versions[2].digest] = time.time() - 10_000
    reconcile(tracker, backend, LINE, grace=60, used=lambda: {versions[2].digest})
    assert versions[2].digest in backend.up
    reconcile(tracker, backend, LINE, grace=60, used=set)
    assert versions[2].digest not in backend.up


def test_a_line_without_a_champion_is_left_alone(tracker: Tracker, backend: Address):
    tracker.register("empty", "e" * 64, "file:///nowhere", "", {})
    assert reconcile(tracker, backend, "empty", grace=0, used=set) == []
