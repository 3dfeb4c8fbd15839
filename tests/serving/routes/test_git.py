"""Promotion by a commit: what it says, what it leaves alone, and that users are led once a controller has applied it.

On a real git server and a real registry. `Following` stands in for the controller, the cluster and its engines.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from selftaught.cluster.client import Cluster
from selftaught.core.errors import BadInput, RoundFailed, Unavailable
from selftaught.inference.endpoint import served_name
from selftaught.lines.versions import rollback
from selftaught.serving.kserve.inference_service import inference_service
from selftaught.serving.promotion import move, reconcile
from selftaught.serving.routes.git import GitRoute
from selftaught.serving.routes.repository import Repository
from selftaught.serving.routes.service import SELECTOR
from selftaught.settings import Settings
from selftaught.state.tracking import Tracker, Version
from tests.git_server import TOKEN, USERNAME, Bare, git, git_server
from tests.serving.test_promotion import LINE, Address, KilledError
from tests.waiting import until

EXAMPLE = Path(__file__).parents[3] / "manifests" / "lines" / "example"
POINTER = f"lines/{LINE}/pointer.yaml"


@dataclass
class Following:
    """A cluster that does what the branch says while it is `syncing`: its API server and its engines in one server."""

    bare: Bare
    url: str = ""
    syncing: bool = True
    leads_to: dict[str, str] = field(default_factory=dict)

    def follow(self, over: threading.Event) -> None:
        seen, branch = "", self.bare.folder / "refs" / "heads" / "main"
        while not over.wait(0.05):
            if self.syncing and (newest := branch.read_text()) != seen:
                seen, self.leads_to = newest, dict(self._pointers())

    def _pointers(self) -> Iterator[tuple[str, str]]:
        for path in self.bare.files("lines"):
            if path.endswith("/pointer.yaml"):
                service = yaml.safe_load(self.bare.read(path))
                yield service["metadata"]["name"], service["spec"]["selector"][SELECTOR]

    def answer(self, path: str) -> Any:
        """What the API server says of a Service (its address is this server's own), and an engine of itself."""
        if path == "/v1/models":
            return {"data": [{"id": name} for name in self.leads_to.values()]}
        name = self.leads_to.get(path.rpartition("/")[2])
        address = self.url.removeprefix("http://")
        return {"spec": {"clusterIP": address, "selector": {SELECTOR: name}}} if name else None


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bare:
    monkeypatch.setenv("GIT_USERNAME", USERNAME)
    monkeypatch.setenv("GIT_PASSWORD", TOKEN)
    return Bare.made(tmp_path / "models.git")


@pytest.fixture
def following(bare: Bare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Following]:
    with following_cluster(Following(bare)) as running:
        kubeconfig = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": running.url}}],
            "users": [{"name": "u", "user": {}}],
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        yield running


@contextmanager
def following_cluster(text: Following) -> Iterator[Following]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = text.answer(self.path)
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer or {"message": "not found"}).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    text.url, over = f"http://127.0.0.1:{server.server_port}", threading.Event()
    follower = threading.Thread(target=text.follow, args=(over,))
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)), follower]
    for thread in threads:
        thread.start()
    yield text
    over.set()
    server.shutdown()
    server.server_close()
    for thread in threads:
        thread.join()


@pytest.fixture
def repository(bare: Bare) -> Iterator[Repository]:
    with git_server(bare.folder.parent) as server:
        yield Repository(f"{server.url}/models.git", "main", "Selftaught <selftaught@example.com>")


@pytest.fixture
def route(repository: Repository, following: Following, monkeypatch: pytest.MonkeyPatch) -> GitRoute:
    """It looks often: the cluster follows at once."""
    for looks in ("probe", "routes.git"):
        monkeypatch.setattr(f"selftaught.serving.{looks}._PAUSE", 0.01)
    return made(repository)


def made(repository: Repository, folder: str = "", within: float = 20) -> GitRoute:
    def manifest(line: str, digest: str) -> Any:
        return inference_service(Settings.load(), f"s3://selftaught/models/{digest}", line, digest)

    return GitRoute(repository, folder, manifest, Cluster("selftaught", "address"), within)


@pytest.fixture
def versions(tracker: Tracker) -> list[Version]:
    return [tracker.register(LINE, letter * 64, "file:///nowhere", "", {}) for letter in "abc"]


class Backend(Address):
    """Versions are up in memory, their users are led by commits."""

    by_commits: GitRoute

    @property
    def route(self) -> GitRoute:
        return self.by_commits


@pytest.fixture
def backend(tracker: Tracker, route: GitRoute, versions: list[Version]) -> Backend:
    """With the first version promoted."""
    backend = Backend(tracker)
    backend.by_commits = route
    move(tracker, backend, versions[0])
    return backend


def champion(tracker: Tracker) -> Version | None:
    return tracker.resolve(LINE, "champion")


# What a commit says ---------------------------------------------------------------------------------------------------


def test_the_files_of_two_promotions_are_those_of_the_example(route: GitRoute, bare: Bare):
    """A difference is either a mistake, or the example is to be recreated from what stands in the repository here."""
    named = {path.stem: yaml.safe_load(path.read_text()) for path in (EXAMPLE / "served").iterdir()}
    now = yaml.safe_load((EXAMPLE / "pointer.yaml").read_text())["spec"]["selector"].popitem()[1]
    for name in sorted(named, key=lambda each: each == now):
        route.introduce("example", named[name]["metadata"]["annotations"]["selftaught.io/digest"], None)
    expected = {str(path.relative_to(EXAMPLE)): path.read_text() for path in EXAMPLE.rglob("*.yaml")}
    folder = "lines/example/"
    assert {path.removeprefix(folder): bare.read(path) for path in bare.files(folder)} == expected


def test_a_promotion_changes_one_line_of_a_pointer_that_a_person_has_written(route: GitRoute, bare: Bare):
    route.introduce(LINE, "a" * 64, None)
    theirs = bare.read(POINTER).replace("metadata:\n", "metadata:  # ours\n") + "  type: LoadBalancer # paid by sales\n"
    bare.write({POINTER: theirs})
    route.introduce(LINE, "b" * 64, None)
    assert bare.read(POINTER) == theirs.replace("line-aaaaaaaa", "line-bbbbbbbb")


def test_a_commit_says_the_line_and_from_whom_to_whom(route: GitRoute, bare: Bare):
    route.introduce(LINE, "a" * 64, None)
    route.introduce(LINE, "b" * 64, None)
    message = git("log", "-1", "--format=%B", "main", at=bare.folder)
    assert message.startswith("line: bbbbbbbb is the champion\n\nLine: line\n")
    assert f"From: {'a' * 64}\nTo: {'b' * 64}\n" in message


def test_a_line_lies_below_the_folder_that_the_settings_name(repository: Repository, following: Following, bare: Bare):
    bare.write({"clusters/prod/lines/README.md": "Lines.\n"})
    route = made(repository, "clusters/prod")
    route.introduce(LINE, "a" * 64, None)
    assert route.recorded(LINE) == "a" * 64
    assert f"clusters/prod/{POINTER}" in bare.files()


def test_said_twice_is_one_commit(route: GitRoute, bare: Bare):
    for _ in range(2):
        route.introduce(LINE, "a" * 64, None)
        route.point(LINE, "a" * 64)
    assert bare.commits()[0] == "line: aaaaaaaa is the champion"
    assert len(bare.commits()) == 3


def test_who_is_champion_is_what_the_newest_commit_says(route: GitRoute, bare: Bare):
    assert route.recorded(LINE) is None
    route.introduce(LINE, "a" * 64, None)
    route.introduce(LINE, "b" * 64, None)
    assert route.recorded(LINE) == "b" * 64
    assert route.recorded("another") is None
    bare.revert()
    assert route.recorded(LINE) == "a" * 64


def test_a_version_is_taken_out_once_and_never_while_it_is_led_to(route: GitRoute, bare: Bare):
    route.introduce(LINE, "a" * 64, None)
    route.introduce(LINE, "b" * 64, None)
    with pytest.raises(RoundFailed, match="leads to line-bbbbbbbb"):
        route.retire(LINE, "b" * 64)
    for _ in range(2):
        route.retire(LINE, "a" * 64)
    assert bare.files(f"lines/{LINE}") == {POINTER, f"lines/{LINE}/served/line-bbbbbbbb.yaml"}
    assert bare.commits()[:2] == ["line: aaaaaaaa is not served any more", "line: bbbbbbbb is the champion"]


def test_two_lines_are_promoted_at_once(repository: Repository, following: Following, bare: Bare):
    routes = [made(repository) for _ in range(2)]
    lines = [f"line-{number}" for number in range(2)]
    threads = [
        threading.Thread(target=route.introduce, args=(line, "a" * 64, None))
        for route, line in zip(routes, lines, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [routes[0].recorded(line) for line in lines] == ["a" * 64] * 2
    assert len(bare.commits()) == 4


# Following ------------------------------------------------------------------------------------------------------------


def test_a_promotion_is_over_when_users_come_to_the_version(
    tracker: Tracker, backend: Backend, following: Following, versions: list[Version]
):
    assert following.leads_to == {LINE: served_name(LINE, versions[0].digest)}
    following.syncing = False
    late = threading.Timer(1.5, setattr, args=(following, "syncing", True))
    begin = time.monotonic()
    late.start()
    assert move(tracker, backend, versions[1]) == versions[0]
    assert time.monotonic() - begin > 1.5
    assert following.leads_to == {LINE: served_name(LINE, versions[1].digest)}
    assert champion(tracker) == versions[1]


def test_a_cluster_that_does_not_follow_is_told_and_the_same_call_ends_it(
    tracker: Tracker,
    backend: Backend,
    following: Following,
    repository: Repository,
    bare: Bare,
    versions: list[Version],
):
    following.syncing = False
    backend.by_commits = made(repository, within=0.5)
    with pytest.raises(Unavailable, match=r"leads to line-bbbbbbbb; .* leads to line-aaaaaaaa") as error:
        move(tracker, backend, versions[1], expected=versions[0].digest)
    commits = bare.commits()
    assert git("rev-parse", "main", at=bare.folder)[:10] in str(error.value)
    following.syncing = True
    assert until(lambda: following.leads_to[LINE] == "line-bbbbbbbb")
    move(tracker, backend, versions[1], expected=versions[0].digest)
    assert bare.commits() == commits
    assert champion(tracker) == versions[1]


def test_a_revert_by_hand_is_a_roll_back(tracker: Tracker, backend: Backend, bare: Bare, versions: list[Version]):
    move(tracker, backend, versions[1])
    bare.revert()
    reconcile(tracker, backend, LINE, grace=1e9, used=set)
    assert champion(tracker) == versions[0]
    assert tracker.resolve(LINE, "previous") == versions[1]
    assert bare.commits()[0].startswith("Revert ")


def test_a_roll_back_is_a_commit(tracker: Tracker, backend: Backend, bare: Bare, versions: list[Version]):
    move(tracker, backend, versions[1])
    rollback(tracker, backend, LINE, "previous")
    assert bare.commits()[0] == "line: aaaaaaaa is the champion"
    assert champion(tracker) == versions[0]


def test_a_line_that_has_a_champion_already_gets_its_first_commit(
    tracker: Tracker, route: GitRoute, bare: Bare, versions: list[Version]
):
    """What moves to git from another route."""
    backend = Backend(tracker)
    backend.by_commits = route
    tracker.point("champion", versions[0])
    reconcile(tracker, backend, LINE, grace=1e9, used=set)
    assert route.recorded(LINE) == versions[0].digest


@pytest.mark.parametrize("heal", ["the same call", "reconcile"])
@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
def test_a_kill_between_any_two_moves_heals(
    tracker: Tracker,
    backend: Backend,
    bare: Bare,
    following: Following,
    versions: list[Version],
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    heal: str,
):
    """The moves: the commit, the tag of when it was replaced, `previous`, `champion`, the wait."""
    steps = iter(range(5))
    with monkeypatch.context() as patch:

        def killing(real):
            def call(*args, **kwargs):
                if next(steps) == after:
                    raise KilledError
                return real(*args, **kwargs)

            return call

        for target, name in (
            (backend.route, "introduce"),
            (tracker, "tag_version"),
            (tracker, "point"),
            (backend.route, "point"),
        ):
            patch.setattr(target, name, killing(getattr(target, name)))
        with pytest.raises(KilledError):
            move(tracker, backend, versions[1], expected=versions[0].digest)
    if heal == "the same call":
        move(tracker, backend, versions[1], expected=versions[0].digest)
    else:
        reconcile(tracker, backend, LINE, grace=1e9, used=set)
    promoted = versions[0] if heal == "reconcile" and after == 0 else versions[1]
    assert champion(tracker) == promoted
    assert backend.route.recorded(LINE) == promoted.digest
    assert following.leads_to[LINE] == served_name(LINE, promoted.digest)
    assert bare.commits().count("line: bbbbbbbb is the champion") == (promoted == versions[1])


def test_what_somebody_else_promoted_meanwhile_stays(route: GitRoute):
    route.introduce(LINE, "b" * 64, None)
    with pytest.raises(RoundFailed, match="moved to bbbbbbbb"):
        route.point(LINE, "a" * 64)
    assert route.recorded(LINE) == "b" * 64


# What is wrong is said ------------------------------------------------------------------------------------------------


def test_a_repository_without_lines(repository: Repository, following: Following):
    with pytest.raises(BadInput, match=r"no folder models/lines.*SELFTAUGHT_GIT_PATH"):
        made(repository, "models").recorded(LINE)


@pytest.mark.parametrize(
    ("path", "old", "new", "words"),
    [
        (POINTER, "line-aaaaaaaa", "'line-aaaaaaaa'", "pointer.yaml: has to say"),
        (POINTER, "aaaaaaaa", "cccccccc", "leads to line-cccccccc, but there is no .*/served/line-cccccccc.yaml"),
        (f"lines/{LINE}/served/line-aaaaaaaa.yaml", "selftaught.io/digest", "digest", "no annotation selftaught.io"),
    ],
    ids=["quoted", "no such version", "no digest"],
)
def test_files_that_are_not_what_they_have_to_be(
    route: GitRoute, bare: Bare, path: str, old: str, new: str, words: str
):
    route.introduce(LINE, "a" * 64, None)
    bare.write({path: bare.read(path).replace(old, new)})
    with pytest.raises(BadInput, match=words):
        route.recorded(LINE)
