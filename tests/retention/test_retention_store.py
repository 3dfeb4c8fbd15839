"""Retention on a real directory, a real S3 server and a real registry: what is read, what is done, and kills."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from selftaught.cli.main import app
from selftaught.core.errors import BadInput, StoreError, Unavailable
from selftaught.platform import Platform
from selftaught.retention.collecting import Collector
from selftaught.retention.inventory import NoDeployments, State
from selftaught.retention.planning import DAY, Fate, RetentionPlan
from selftaught.retention.policy import RetentionPolicy
from selftaught.retention.survey import Memory, survey
from selftaught.settings import Settings
from selftaught.state.journal import stored_journals
from selftaught.state.ledger import PlanEntry
from selftaught.state.round_key import RoundKey
from selftaught.state.store import DirectoryStore, Stored, open_store
from selftaught.state.tracking import Tracker
from tests.plans import fixed
from tests.retention_worlds import NOW, Spec, World, write_out
from tests.rounds import database

__all__ = ["database"]
pytest_plugins = ["tests.s3_fixtures"]

EAGER = RetentionPolicy(**dict.fromkeys(RetentionPolicy.model_fields, 1))


def small_world() -> World:
    """Rounds of every outcome on one line, one of them still open, and a data set that nobody knows."""
    world = World()
    world.adopt("rft")
    for number, spec in enumerate(
        [Spec("refused", searched=True), Spec("failed", came=4), Spec("promoted", replays=True), Spec("refused")],
        start=1,
    ):
        world.round("rft", number, spec)
    world.round("rft", 5, Spec(came=3, open=True, replays=True))
    world.data("groups")
    world.model()
    return world


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Path:
    """A home with the small world in its directory store and registry, to be copied."""
    home = tmp_path_factory.mktemp("filled") / "home"
    shutil.copytree(database, home)
    write_out(small_world(), platform_at(home), home.parent / "scratch")
    return home


def platform_at(home: Path, store: str = "") -> Platform:
    settings = Settings(
        home=home, store=store or str(home / "store"), tracking_uri=f"sqlite:///{home}/mlflow.db", engines="", events=""
    )
    return Platform(settings, open_store(settings.store), Tracker(settings.tracking_uri))


@pytest.fixture
def platform(filled: Path, home: Path) -> Platform:
    """The small world in this test's home, in a directory."""
    shutil.copytree(filled, home)
    return platform_at(home)


@pytest.fixture
def s3_place(filled: Path, home: Path, s3_prefix: str, tmp_path: Path) -> Platform:
    """The small world's registry, and the world in S3."""
    shutil.copytree(filled, home)
    there = platform_at(home, f"s3://selftaught/{s3_prefix}")
    write_out(small_world(), there, tmp_path / "scratch")
    return there


@pytest.fixture(params=["directory", "s3"])
def anywhere(request: pytest.FixtureRequest) -> Platform:
    return request.getfixturevalue("platform" if request.param == "directory" else "s3_place")


def collected(platform: Platform, policy: RetentionPolicy = EAGER, **more: Any) -> list[Fate]:
    """Collect as if it were long after everything was written; the moves that were made."""
    moves: list[Fate] = []
    Collector(platform, policy, now=NOW + 1000 * DAY, **more).collect(lambda _: None, moves.append)
    return moves


def planned(platform: Platform, policy: RetentionPolicy = EAGER, **more: Any) -> RetentionPlan:
    return Collector(platform, policy, now=NOW + 1000 * DAY, **more).plan()


def contents(platform: Platform) -> dict[str, Any]:
    """Everything that is in the store, and what the registry says."""
    store = platform.store
    return {
        "claims": store.claims("steps") + store.claims("plans") + store.claims("rounds") + store.claims("references"),
        "folders": [(kind, each.name, each.complete) for kind in ("models", "datasets") for each in store.stored(kind)],
        "journals": [each.name for each in stored_journals(store)],
        "versions": [(tags, platform.tracker.aliases("rft")) for tags in platform.tracker.tagged_versions("rft")],
    }


def names_what_is_there(platform: Platform) -> None:
    """No claim names a data set or model that is not there, and no version lacks its files without saying so."""
    state = survey(platform, NoDeployments(), Memory(platform.store), NOW)
    complete = {folder.digest for folder in state.folders if folder.complete}
    assert not [claim for claim in state.claims if not complete.issuperset(claim.names)]
    assert not [version for version in state.versions if version.digest not in complete and not version.removed]
    assert not [version for version in state.versions if version.aliases and version.digest not in complete]


# What is read ---------------------------------------------------------------------------------------------------------


def test_what_is_read_is_what_there_is(anywhere: Platform) -> None:
    """Bytes and, in S3, times are the store's; all else is the world, by tags, manifests, claims and records."""

    def plain(state: State) -> State:
        return replace(
            state,
            folders=tuple(sorted((replace(f, bytes=0, written=0.0) for f in state.folders), key=lambda f: f.digest)),
            journals=tuple(sorted((replace(j, bytes=0, written=0.0) for j in state.journals), key=lambda j: j.key)),
            claims=tuple(sorted(state.claims, key=lambda claim: claim.key)),
            rounds=tuple(sorted(state.rounds, key=lambda round: round.name)),
        )

    read = survey(anywhere, NoDeployments(), Memory(anywhere.store), NOW)
    assert plain(read) == plain(small_world().state)
    assert all(folder.bytes > 100 for folder in read.folders)


def test_in_a_directory_ages_are_of_the_put(platform: Platform) -> None:
    read = survey(platform, NoDeployments(), Memory(platform.store), NOW)
    assert {(f.digest, f.written) for f in read.folders} == {(f.digest, f.written) for f in small_world().folders}


def test_a_damaged_manifest_stops_everything(platform: Platform) -> None:
    """What its data set was made of is unknown: it might be a champion's."""
    digest = small_world().rounds[0].tasks
    (Path(platform.store.root) / "datasets" / digest / "manifest.json").write_text("{")
    before = contents(platform)
    with pytest.raises(
        StoreError, match=rf"{digest}/manifest.json: damaged, .* nothing was removed. Remove .*{digest}"
    ):
        collected(platform)
    assert contents(platform) == before


def test_a_folder_of_somebody_else_is_not_ours_to_remove(platform: Platform) -> None:
    theirs = Path(platform.store.root) / "models" / "llama"
    theirs.mkdir()
    (theirs / "weights").write_bytes(b"theirs")
    os.utime(theirs / "weights", (0, 0))
    collected(platform)
    assert (theirs / "weights").exists()


def test_a_model_of_another_role_is_held(platform: Platform) -> None:
    lone = next(f.digest for f in reversed(small_world().folders) if f.kind == "models")
    assert lone in {fate.key for fate in planned(platform).go}
    platform.store.claim("roles/rft/judge/" + "a" * 64, lone.encode())
    assert ("models", lone, "judge model of rft") in {(f.kind, f.key, f.why) for f in planned(platform).kept}


def test_a_model_that_this_machine_serves_is_held(platform: Platform) -> None:
    from selftaught.lines.serve import Note, note_path
    from selftaught.serving.engines.sessions import Process

    refused = small_world().rounds[0].challenger
    note = Note(url="http://127.0.0.1:1/v1", line="rft", digest=refused, process=Process.of(os.getpid()))
    path = note_path(platform.settings.home, "rft")
    path.parent.mkdir()
    path.write_text(note.model_dump_json())
    assert refused not in {fate.key for fate in planned(platform).go}
    path.unlink()
    assert refused in {fate.key for fate in planned(platform).go}


# What is done ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing(anywhere: Platform) -> None:
    before = contents(anywhere)
    assert planned(anywhere).go
    assert contents(anywhere) == before


def test_what_is_planned_is_done_and_a_second_run_does_nothing(anywhere: Platform) -> None:
    wanted = planned(anywhere)
    assert {fate.kind for fate in wanted.go} == {"journal", "mark", "claim", "models", "datasets"}
    assert [(fate.kind, fate.key) for fate in collected(anywhere)] == [(fate.kind, fate.key) for fate in wanted.go]
    names_what_is_there(anywhere)
    left = contents(anywhere)
    gone = {fate.key for fate in wanted.go}
    assert not gone & {name for _, name, _ in left["folders"]}
    assert not gone & {*left["claims"], *left["journals"]}
    assert collected(anywhere) == []
    assert contents(anywhere) == left


def test_versions_stay_with_their_tags_and_say_that_their_files_are_gone(platform: Platform) -> None:
    before = platform.tracker.tagged_versions("rft")
    collected(platform)
    after = platform.tracker.tagged_versions("rft")
    removed = [version for version, _ in after if version.removed]
    assert [version.version for version in removed] == ["2"]  # 3 was promoted, 4 is the head
    assert [(v.version, v.digest, t.get("selftaught.parent")) for v, t in after] == [
        (v.version, v.digest, t.get("selftaught.parent")) for v, t in before
    ]


def test_killed_between_two_moves_it_heals(platform: Platform, tmp_path: Path) -> None:
    """Before the first and the second move of each kind; the planner's own test kills at every one."""
    shutil.copytree(platform.store.root, tmp_path / "kept")
    kinds = [fate.kind for fate in collected(platform)]
    wanted = contents(platform)
    for number in sorted({kinds.index(kind) + more for kind in set(kinds) for more in (0, 1)}):
        _as_before(platform, tmp_path / "kept")
        with pytest.raises(KeyboardInterrupt):
            Collector(platform, EAGER, now=NOW + 1000 * DAY).collect(lambda _: None, _kill_at(number))
        names_what_is_there(platform)
        collected(platform)
        assert contents(platform) == wanted, f"after a kill before move {number}"


def _as_before(platform: Platform, kept: Path) -> None:
    """The store and the registry (MLflow holds on to an open database) as they were before anything was removed."""
    shutil.rmtree(platform.store.root)
    shutil.copytree(kept, platform.store.root)
    for version in platform.tracker.versions("rft"):
        if version.removed:
            platform.tracker.mark_removed(version, "")


def _kill_at(number: int) -> Callable[[Fate], None]:
    """A watcher of moves that dies before the one of this number."""
    made = iter(range(number))

    def watch(_: Fate) -> None:
        if next(made, None) is None:
            raise KeyboardInterrupt

    return watch


def test_a_folder_that_is_half_removed_is_seen_by_nobody_and_goes_later(
    anywhere: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th removal of a file fails, in the middle of a folder."""
    first = next(fate for fate in planned(anywhere).go if fate.kind == "models")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        _cut(anywhere, patch, killed)
        with pytest.raises(KeyboardInterrupt):
            collected(anywhere)
    assert not anywhere.store.has("models", first.key)
    torn = [each for each in anywhere.store.stored("models") if not each.complete]
    assert [each.name for each in torn] == [first.key]
    names_what_is_there(anywhere)
    collected(anywhere)
    assert first.key not in {each.name for each in anywhere.store.stored("models")}
    assert collected(anywhere) == []


def _cut(platform: Platform, patch: pytest.MonkeyPatch, killed: Any) -> None:
    if isinstance(platform.store, DirectoryStore):
        patch.setattr(shutil, "rmtree", killed)
        return
    client: Any = platform.store._client  # type: ignore[attr-defined]
    delete = client.delete_object

    def of_models(**wanted: Any) -> Any:
        path = wanted["Key"].split("/")
        return killed() if "models" in path and path[-1] == "data" else delete(**wanted)

    patch.setattr(client, "delete_object", of_models)


def test_what_the_nodes_of_a_trainjob_were_told_goes_with_what_it_names(platform: Platform) -> None:
    """A training whose model is a champion stays, one whose model goes too, and the order of one that never ended."""
    trained = {claim.names[0]: claim.examples for claim in small_world().state.claims if claim.examples}
    goes = {fate.key for fate in planned(platform).go if fate.kind == "models"}
    found = set[str]()
    for model, examples in trained.items():
        order = {"model": model, "examples": examples, "objective": {"type": "sft"}, "seed": 1, "step": "train"}
        said = {"order": order, "answer": {"digest": model, "result": {}}, "failure": {"words": "killed"}}
        for what, value in said.items():
            platform.store.claim(f"trainings/train-{model}/{what}", json.dumps(value).encode())
            found |= {f"trainings/train-{model}/{what}"} if model not in goes else set()
    assert goes & trained.keys()
    assert found
    collected(platform)
    assert set(platform.store.claims("trainings")) == found
    names_what_is_there(platform)


def test_a_claim_on_a_data_set_that_was_removed_by_hand_is_released(platform: Platform) -> None:
    """As errors tell people to do; until then the step would get a data set that is gone."""
    state = small_world().state
    (groups,) = [claim for claim in state.claims if claim.names == (sorted(state.rounds[2].recorded)[1],)]
    platform.store.remove("datasets", groups.names[0])
    assert platform.store.claimed(groups.key)
    collected(platform, RetentionPolicy(**dict.fromkeys(RetentionPolicy.model_fields, 10**6)))
    assert platform.store.claimed(groups.key) is None


# Beside others --------------------------------------------------------------------------------------------------------


def test_what_came_to_be_needed_after_the_plan_stays(platform: Platform) -> None:
    """A person points an alias, and a round begins, after the plan was made."""
    refused = small_world().rounds[0].challenger
    lost = next(f for f in reversed(small_world().folders) if f.holds == "groups").digest

    def meanwhile(plan: RetentionPlan) -> None:
        assert {refused, lost} <= {fate.key for fate in plan.go}
        version = next(v for v in platform.tracker.versions("rft") if v.digest == refused)
        platform.tracker.point("base", version)
        key = RoundKey("new", "new")
        platform.store.claim(PlanEntry(key).key, fixed(key, lost, NOW))

    moves: list[Fate] = []
    Collector(platform, EAGER, now=NOW + 1000 * DAY).collect(meanwhile, moves.append)
    assert platform.store.has("models", refused)
    assert platform.store.has("datasets", lost)
    assert platform.tracker.resolve("rft", "base") == next(
        version for version in platform.tracker.versions("rft") if version.digest == refused and not version.removed
    )
    names_what_is_there(platform)


@pytest.fixture
def running(platform: Platform) -> Iterator[None]:
    """A campaign runs the line on this machine."""
    lock = platform.settings.home / "campaigns" / "rft" / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("running")
def test_a_line_that_is_being_run_is_left_alone(platform: Platform) -> None:
    """What is of no line goes all the same."""
    wanted = planned(platform)
    assert {fate.why for fate in wanted.kept} >= {"line rft is being run"}
    nobodys = {folder.digest for folder in small_world().folders[-2:]}
    assert {fate.key for fate in collected(platform)} == {*nobodys, f"references/{small_world().folders[-1].digest}"}


def test_nobody_starts_a_campaign_while_things_go(platform: Platform) -> None:
    from selftaught.campaign.local import locked_line

    lock = platform.settings.home / "campaigns" / "rft" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()

    def started(_: object) -> None:
        with pytest.raises(BadInput, match="another process is running this line"), locked_line(lock, "rft"):
            pass

    Collector(platform, EAGER, now=NOW + 1000 * DAY).collect(started, started)
    with locked_line(lock, "rft"):
        pass


def test_a_second_one_on_this_machine_is_refused(platform: Platform) -> None:
    def second(_: RetentionPlan) -> None:
        with pytest.raises(BadInput, match=r"another `selftaught gc` is running\. Wait for it"):
            collected(platform)

    Collector(platform, EAGER, now=NOW + 1000 * DAY).collect(second, lambda _: None)
    assert collected(platform) == []


def test_two_machines_at_once_do_it_together(anywhere: Platform, tmp_path: Path) -> None:
    """As two scheduled jobs that overlap: each of them comes to its end."""
    shutil.copytree(anywhere.settings.home, tmp_path / "other", ignore=shutil.ignore_patterns("store"))
    other = platform_at(tmp_path / "other", anywhere.store.root)
    for folder in ("models", "datasets"):
        assert other.store.list(folder) == anywhere.store.list(folder)

    def second(fate: Fate) -> None:
        if fate.kind == "datasets":
            collected(other)

    Collector(anywhere, EAGER, now=NOW + 1000 * DAY).collect(lambda _: None, second)
    names_what_is_there(anywhere)
    assert collected(anywhere) == []


def test_a_data_set_that_goes_while_it_is_read_is_not_whole(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing and the reading of manifests someone else removes it."""
    digest = small_world().rounds[1].tasks
    stored = platform.store.stored

    def listed(kind: str) -> list[Stored]:
        found = stored(kind)
        platform.store.remove(kind, digest)
        return found

    monkeypatch.setattr(platform.store, "stored", listed)
    assert not next(
        f for f in survey(platform, NoDeployments(), Memory(platform.store), NOW).folders if f.digest == digest
    ).complete


# What is served -------------------------------------------------------------------------------------------------------


@dataclass
class Endpoints:
    """Endpoints elsewhere. With `slow` they stay listed after their removal, as pods that drain do."""

    there: dict[str, float]
    slow: bool = False
    removed: list[tuple[str, str]] = field(default_factory=list)

    def served(self, line: str) -> Mapping[str, float]:
        return dict(self.there) if line == "rft" else {}

    def remove(self, line: str, digest: str) -> None:
        self.removed.append((line, digest))
        if not self.slow:
            del self.there[digest]


@pytest.mark.parametrize("slow", [False, True])
def test_endpoints_go_before_the_files_that_they_serve(platform: Platform, slow: bool) -> None:
    refused, champion = small_world().rounds[0].challenger, small_world().rounds[2].challenger
    endpoints = Endpoints({refused: 2 * DAY, champion: 2 * DAY}, slow)
    moves = [fate.key for fate in collected(platform, deployments=endpoints)]
    assert endpoints.removed == [("rft", refused)]
    assert platform.store.has("models", refused) == slow
    assert moves[0] == f"rft/{refused}"
    names_what_is_there(platform)
    endpoints.there = {}
    collected(platform, deployments=endpoints)
    assert not platform.store.has("models", refused)


def test_what_cannot_be_told_of_endpoints_stops_everything(platform: Platform) -> None:
    class Silent(Endpoints):
        def served(self, line: str) -> Mapping[str, float]:
            raise Unavailable("the cluster does not answer")

    before = contents(platform)
    with pytest.raises(Unavailable):
        collected(platform, deployments=Silent({}))
    assert contents(platform) == before


# The command ----------------------------------------------------------------------------------------------------------


def ran(*command: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["gc", *command], env={"COLUMNS": "250"})
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def old(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """The small world at its own time: everything is 1000 days old."""
    monkeypatch.setattr("selftaught.retention.collecting.time.time", lambda: NOW)
    return platform


def test_the_dry_run_prints_what_the_command_then_does(old: Platform) -> None:
    data = [json.loads(line) for line in ran("--dry-run", "--json").stdout.splitlines()]
    removed = [each for each in data if each["action"] == "remove"]
    assert set(data[0]) == {"action", "kind", "key", "why", "bytes"}
    before = {each.name for each in old.store.stored("datasets")}
    assert ran("--json").stdout.splitlines() == [json.dumps(each) for each in data]
    gone = before - {each.name for each in old.store.stored("datasets")}
    assert gone == {each["key"] for each in removed if each["kind"] == "datasets"} != set()
    again = [json.loads(line) for line in ran("--json").stdout.splitlines()]
    assert {each["action"] for each in again} == {"keep"}


def test_the_command_asks_what_serves_here(old: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = small_world().rounds[0].challenger
    endpoints = Endpoints({refused: 2 * DAY})
    monkeypatch.setattr(Platform, "serving", lambda platform: endpoints)
    ran("--dry-run")
    assert endpoints.removed == []
    ran()
    assert endpoints.removed == [("rft", refused)]


def test_the_table_tells_reasons_and_bytes(old: Platform) -> None:
    shown = ran("--dry-run").stdout
    assert f"{small_world().rounds[0].challenger} " in shown
    for words in ("rft version 2, refused, 1000 days old", "lineage of rft version 3", "is not finished", "0 MB"):
        assert words in shown


def test_ages_are_options(old: Platform) -> None:
    def going(*options: str) -> set[str]:
        lines = map(json.loads, ran("--dry-run", "--json", *options).stdout.splitlines())
        return {each["key"] for each in lines if each["action"] == "remove" and each["kind"] == "models"}

    assert going() == going("--keep-models", "999") != set()
    assert going("--keep-models", "1001") == set()
    ran("--keep-models", "0", code=2)


def test_a_line_that_is_not_there_is_an_error(old: Platform) -> None:
    assert "unknown model line 'rtf'. Did you mean 'rft'?" in ran("--line", "rtf", code=1).stderr


def test_of_one_line_alone_what_is_nobodys_stays(old: Platform) -> None:
    nobodys = {folder.digest for folder in small_world().folders[-2:]}
    ran("--line", "rft")
    there = {each.name for kind in ("models", "datasets") for each in old.store.stored(kind)}
    assert nobodys <= there
    assert small_world().rounds[0].challenger not in there
    ran()
    assert not nobodys & {each.name for kind in ("models", "datasets") for each in old.store.stored(kind)}


def test_an_alias_that_moves_while_versions_are_listed_keeps_its_model(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`base` moves to a refused model between the two looks: it is seen where it is, not where it was."""
    refused = next(v for v in platform.tracker.versions("rft") if v.digest == small_world().rounds[0].challenger)
    listed = platform.tracker.tagged_versions

    def then_moved(line: str) -> Any:
        versions = listed(line)
        platform.tracker.point("base", refused)
        return versions

    monkeypatch.setattr(platform.tracker, "tagged_versions", then_moved)
    fates = Collector(platform, EAGER, now=NOW + 1000 * DAY).plan()
    assert refused.digest not in {fate.key for fate in fates.go}
    assert "base of rft" in {fate.why for fate in fates.kept if fate.key == refused.digest}.pop()
