"""What unfinished rounds keep served, and a reconciliation of all lines: one that cannot be keeps no other from it."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from selftaught.core.errors import BadInput, Busy, SelftaughtError, Unavailable
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round.adopt import adopt
from selftaught.round.history import give_up
from selftaught.round.in_use import in_use, reconcile_lines, tidy_when_free
from selftaught.settings import Settings
from selftaught.state.ledger import PlanEntry, RecordEntry
from selftaught.state.round_key import RoundKey
from selftaught.state.store import DirectoryStore
from selftaught.state.tracking import Tracker
from tests.plans import fixed
from tests.rounds import database, model, recipe, recorded_blocks
from tests.serving.test_promotion import Address

__all__ = ["database", "model", "recorded_blocks"]
KEY = RoundKey("line", "line")


class Elsewhere(Address):
    """A backend that one line's lease cannot be had from, and that another line's pods cannot be started on."""

    @contextmanager
    def lease(self, line: str) -> Iterator[Callable[[], None]]:
        if line == "moving":
            raise Busy("lease moving: held by another process.")
        with super().lease(line) as require_held:
            yield require_held

    def ready(self, line: str, digest: str) -> None:
        if line == "down":
            raise Unavailable("down-dddddddd: not up after 600 s.")
        super().ready(line, digest)


@dataclass
class Late(Address):
    """A backend whose champion takes its time: something happens before it is up."""

    meanwhile: Callable[[], object] = list

    def ready(self, line: str, digest: str) -> None:
        self.meanwhile()
        super().ready(line, digest)


@dataclass
class Held(Address):
    """A backend whose lease someone else has, the first times that it is asked for."""

    times: int = 0

    @contextmanager
    def lease(self, line: str) -> Iterator[Callable[[], None]]:
        if self.times:
            self.times -= 1
            raise Busy(f"lease {line}: held by another process.")
        with super().lease(line) as require_held:
            yield require_held


@dataclass(frozen=True)
class Cluster(Platform):
    """A platform whose versions are served in memory."""

    backend: Address | None = None

    def serving(self) -> Address:
        assert self.backend
        return self.backend


@pytest.fixture
def platform(tmp_path: Path, database: Path) -> Cluster:
    shutil.copy(database / "mlflow.db", tmp_path)
    settings, tracker = Settings.load(), Tracker(f"sqlite:///{tmp_path}/mlflow.db")
    return Cluster(settings, DirectoryStore(tmp_path / "store"), tracker, Elsewhere(tracker))


def planned(platform: Platform) -> str:
    """The run of a round that is fixed, by a recipe that nobody here can read, to train what `challenger` names."""
    run = platform.tracker.round_run(KEY, "main")
    plan = json.loads(fixed(KEY, "0" * 64, champion="c" * 64, run=run)) | {"recipe": {"of": "another version"}}
    platform.store.claim(PlanEntry(KEY).key, json.dumps(plan).encode())
    platform.tracker.point("challenger", platform.tracker.register("line", "d" * 64, "file:///nowhere", run, {}))
    return run


def test_an_unfinished_round_keeps_what_it_names(platform: Cluster):
    assert in_use(platform, "line") == set()
    planned(platform)
    assert in_use(platform, "line") == {"c" * 64, "d" * 64}
    assert in_use(platform, "other") == set()


def test_a_recorded_round_keeps_nothing(platform: Cluster):
    planned(platform)
    platform.store.claim(RecordEntry(KEY).key, b"recorded")
    assert in_use(platform, "line") == set()


def test_a_failed_round_keeps_nothing(platform: Cluster):
    run = planned(platform)
    give_up(platform, KEY, run, "too few examples")
    assert in_use(platform, "line") == set()


def test_every_unfinished_rounds_challenger_is_kept_whoever_has_the_alias(platform: Cluster):
    planned(platform)
    platform.tracker.point("challenger", platform.tracker.register("line", "e" * 64, "file:///nowhere", "", {}))
    assert in_use(platform, "line") == {"c" * 64, "d" * 64}


def test_a_round_that_begins_while_the_champion_comes_up_keeps_what_it_asks_for(platform: Cluster):
    champion, head = (platform.tracker.register("line", letter * 64, "file:///nowhere", "", {}) for letter in "ac")
    platform.tracker.point("champion", champion)
    backend = Late(platform.tracker, up={head.digest: 0.0}, meanwhile=lambda: planned(platform))
    late = Cluster(platform.settings, platform.store, platform.tracker, backend)
    assert list(reconcile_lines(late, ["line"])) == ["line: as it has to be"]
    assert backend.up.keys() == {champion.digest, head.digest}


def test_a_line_that_cannot_be_put_in_order_keeps_no_other_from_it(platform: Cluster):
    for line in ("down", "fine", "moving"):
        champion = platform.tracker.register(line, line[0] * 64, "file:///nowhere", "", {})
        platform.tracker.point("champion", champion)
    done = reconcile_lines(platform, ["down", "moving", "fine"])
    assert next(done) == "moving: left alone, it is being moved"
    assert next(done) == "fine: as it has to be"
    assert platform.backend.leads_to == "f" * 64
    with pytest.raises(SelftaughtError, match="down-dddddddd: not up"):
        next(done)


def test_who_waits_until_a_line_is_free_puts_it_in_order_then(platform: Cluster):
    """As the Job that a promotion starts: while somebody moves the line, it is tried again."""
    champion = platform.tracker.register("line", "a" * 64, "file:///nowhere", "", {})
    platform.tracker.point("champion", champion)
    busy = Held(platform.tracker, times=3)
    later = Cluster(platform.settings, platform.store, platform.tracker, busy)
    assert list(reconcile_lines(later, ["line"], tidy_when_free)) == ["line: as it has to be"]
    assert (busy.times, busy.leads_to) == (0, champion.digest)


class Ours(DirectoryStore):
    """A store in a bucket, as far as the places of its models go."""

    def uri(self, kind: str, digest: str) -> str:
        return f"s3://ours/prefix/{kind}/{digest}"


def test_another_teams_lines_are_left_to_it(platform: Cluster, tmp_path: Path):
    """Its champion would be served here, with this namespace's quota, for nobody."""
    ours = Cluster(platform.settings, Ours(tmp_path / "ours"), platform.tracker, platform.backend)
    for line, bucket in (("ours", "ours/prefix"), ("theirs", "theirs/prefix"), ("theirs-too", "ours/prefix-of-others")):
        champion = platform.tracker.register(line, line[0] * 64, f"s3://{bucket}/models/{line[0] * 64}", "", {})
        platform.tracker.point("champion", champion)
    done = list(reconcile_lines(ours, ["ours", "theirs", "theirs-too"]))
    assert done[0] == "ours: as it has to be"
    assert all("left alone, its models are in another store (s3://" in text for text in done[1:])
    assert (
        platform.backend is not None and "t" * 64 not in platform.backend.up and platform.backend.leads_to == "o" * 64
    )


@pytest.mark.usefixtures("recorded_blocks")
def test_a_line_of_another_store_is_not_adopted(platform: Cluster, tmp_path: Path, model: Path):
    ours = Cluster(platform.settings, Ours(tmp_path / "ours"), platform.tracker, platform.backend)
    theirs = platform.tracker.register("line", "a" * 64, f"s3://theirs/models/{'a' * 64}", "", {})
    platform.tracker.point("champion", theirs)
    with pytest.raises(BadInput, match=r"that line is taken: its models are in s3://theirs/.* Choose another --line"):
        adopt(ours, Recipe.model_validate(recipe(model)), "line")
