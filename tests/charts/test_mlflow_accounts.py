"""Who may do what on the MLflow server of the chart: the files that it mounts, run with a real server."""

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from selftaught.core.errors import Unavailable
from selftaught.doctor.cluster import servers
from selftaught.settings import Settings
from selftaught.state.round_key import RoundKey
from selftaught.state.tracking import Tracker, Version
from tests.certificates import issue
from tests.kubernetes_api import Kubernetes, serving

FILES = Path(__file__).parents[2] / "charts" / "selftaught" / "files" / "mlflow"
PASSWORDS = {
    name: f"{name}-password-for-tests"
    for name in ("admin", "steps", "promoter", "team-steps", "team-promoter", "late-steps", "late-promoter")
}
PARTS = {
    "admin": "admin",
    "steps": "steps",
    "promoter": "promoter",
    "steps.team": "team-steps",
    "promoter.team": "team-promoter",
}


STORES = {part: f"s3://models/{part.partition('.')[2] or 'own'}" for part in PARTS if part != "admin"}
GONE = {"steps.gone": "gone-steps"}
"""A team that had been there before the server started."""
LATE = {"steps.late": "late-steps", "promoter.late": "late-promoter"}
"""One that comes while it runs."""


def publish(volume: Path, parts: dict[str, str]) -> None:
    """The accounts as the kubelet brings them: a folder of their own, to which a link is moved in one go."""
    names = {part: username for part, username in parts.items() if part != "admin"}
    stores = {part: f"s3://models/{part.partition('.')[2] or 'own'}" for part in names}
    files = {"stores.json": json.dumps(stores)}
    for part, username in parts.items():
        files |= {f"{part}.username": username, f"{part}.password": f"{username}-password-for-tests"}
    volume.mkdir(exist_ok=True)
    made = volume / f"..{uuid.uuid4().hex}"
    made.mkdir()
    for name, text in files.items():
        (made / name).write_text(text)
    (volume / "..data_tmp").symlink_to(made.name)
    (volume / "..data_tmp").rename(volume / "..data")
    for name in files:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    for link in [each for each in volume.iterdir() if not each.name.startswith("..") and each.name not in files]:
        link.unlink()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the servers have, a folder each."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def accounts(request: pytest.FixtureRequest, folders: Path, server: str) -> Path:
    """The accounts of the server, as it has them mounted."""
    return folders / request.node.callspec.params["server"] / "accounts"


@pytest.fixture(scope="module", params=["workspaces", "one for all"])
def server(request: pytest.FixtureRequest, folders: Path) -> Iterator[str]:
    folder = folders / request.param
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")} | {
        "PYTHONPATH": str(FILES),
        "MLFLOW_AUTH_DATABASE_URI": f"sqlite:///{folder}/auth%.db",  # as in a password that is URL-encoded
        "MLFLOW_AUTH_DEFAULT_PERMISSION": "READ",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for-tests",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_WORKSPACES": str(request.param == "workspaces").lower(),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder}/mlflow.db",
    }
    prepare = [sys.executable, str(FILES / "accounts.py"), str(folder / "accounts"), str(folder / "auth.ini")]
    for expected, parts in (("made", PARTS | GONE), ("unchanged", PARTS)):
        publish(folder / "accounts", parts)
        done = subprocess.run(prepare, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.count(expected) == len(parts)
    assert "gone-steps closed" in done.stdout
    arguments = ["--host=127.0.0.1", f"--port={port}", "--workers=1", "--app-name=basic-auth"]
    stores = [f"--artifacts-destination={folder}/artifacts"]
    process = subprocess.Popen(
        [sys.executable, str(FILES / "server.py"), "server", *arguments, *stores],
        env=environment | {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini")},
        cwd=folder,
        stdout=(folder / "log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until_up(url, process, folder / "log")
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def until_up(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(log.read_text()[-3000:])


def test_a_database_whose_driver_is_not_in_the_image_is_told_with_the_url_that_works(tmp_path: Path) -> None:
    """SQLAlchemy 2.1 takes `postgresql://` for psycopg 3."""
    publish(tmp_path / "accounts", {"admin": "admin"})
    url = "postgresql://mlflow:secret@db/mlflow"
    fields = {"MLFLOW_AUTH_DATABASE_URI": url, "MLFLOW_BACKEND_STORE_URI": url}
    prepare = [sys.executable, str(FILES / "accounts.py"), str(tmp_path / "accounts"), str(tmp_path / "auth.ini")]
    environment = os.environ | fields | {"MLFLOW_AUTH_DEFAULT_PERMISSION": "READ"}
    done = subprocess.run(prepare, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "begin with postgresql+psycopg2://" in done.stderr
    assert "Traceback" not in done.stderr and "secret" not in done.stderr


@pytest.fixture
def tracker(server: str, monkeypatch: pytest.MonkeyPatch):
    """A tracker that continues as the account of the given name."""

    def as_account(name: str, password: str = "", workspace: str = "") -> Tracker:
        # As the chart's settings say it to each team.
        monkeypatch.setenv("MLFLOW_WORKSPACE", workspace)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password or PASSWORDS[name])
        return Tracker(server)

    return as_account


@pytest.fixture
def workspace(request: pytest.FixtureRequest) -> str:
    """The team's, where teams have workspaces."""
    return "team" if request.node.callspec.params["server"] == "workspaces" else ""


@pytest.mark.parametrize(
    ("password", "other", "ok", "mends"),
    [
        ("", "", True, ""),
        ("not-the-password", "", False, "MLFLOW_TRACKING_PASSWORD"),
        ("", "no-such-workspace", False, "MLFLOW_WORKSPACE"),
    ],
)
def test_the_doctor_says_what_is_wrong_with_an_account(
    tracker, server: str, workspace: str, password: str, other: str, ok: bool, mends: str
) -> None:
    """A server without workspaces refuses that one is named, whichever it is."""
    tracker("team-steps", password, other or workspace)
    found = servers.account(Settings(home=Path(), store="s3://models", tracking_uri=server))
    assert (found.ok, mends in found.fix) == (ok, True), found


RECONCILE = """
import sys
from pathlib import Path
from selftaught.cli import main as cli
from selftaught.lines import drift as look
look.ACCOUNT = Path(sys.argv.pop(1))
try:
    cli.app()
finally:
    print(*sorted({"mlflow", "kubernetes", "kserve"} & sys.modules.keys()), file=sys.stderr)
"""
"""The command line as a pod with an account in another folder; says last which clients it has imported."""
READY = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}


def serving_space(line: str, digest: str) -> Kubernetes:
    """A namespace in which `line` leads to the version `digest`, which is up."""
    version = f"{line}-{digest[:8]}"
    served = {
        "metadata": {
            "name": version,
            "labels": {"selftaught.io/line": line},
            "annotations": {"selftaught.io/digest": digest},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"predictor": {"minReplicas": 1}},
    }
    service = {"metadata": {"name": line}, "spec": {"selector": {"serving.kserve.io/inferenceservice": version}}}
    deployment = {"metadata": {"name": f"{version}-predictor", "generation": 1}, "status": READY}
    ours = "namespaces/space"
    return Kubernetes(
        objects={
            f"/api/v1/{ours}/services?labelSelector=selftaught.io%2Fline": {"items": [service]},
            f"/apis/serving.kserve.io/v1beta1/{ours}/inferenceservices?labelSelector=selftaught.io%2Fline": {
                "items": [served]
            },
            f"/apis/apps/v1/{ours}/deployments?labelSelector=": {"items": [deployment]},
        }
    )


def test_what_has_nothing_to_do_ends_before_it_has_imported_a_client(
    tracker, server: str, workspace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every hour in every namespace. A stable address that was moved by hand takes all of it."""
    store, digest = "s3://models/team", "c" * 64
    team = tracker("team-steps", workspace=workspace)
    for name, uri in (("idle", f"{store}/models/{digest}"), ("without-a-champion", f"{store}/x")):
        version = team.register(name, digest, uri, "", {})
    team.point("champion", next(iter(team.versions("idle"))))
    assert version.line == "without-a-champion"
    certificates, account = issue(tmp_path), tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("token")
    (account / "ca.crt").write_bytes(certificates.authority.read_bytes())
    (account / "namespace").write_text("space")
    fields = {"SELFTAUGHT_SERVING": "kserve", "SELFTAUGHT_NAMESPACE": "space", "SELFTAUGHT_STORE": store}
    fields |= {"MLFLOW_TRACKING_URI": server, "SELFTAUGHT_HOME": str(tmp_path)}
    for name, value in fields.items():
        monkeypatch.setenv(name, value)
    with serving(serving_space("idle", digest), certificates) as space:
        host, _, port = space.url.removeprefix("https://").partition(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)

        def reconcile() -> tuple[int, list[str], list[str]]:
            words = [sys.executable, "-c", RECONCILE, str(account), "reconcile"]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()[-1].split()

        code, said, imported = reconcile()
        assert (code, imported) == (0, [])
        assert "idle: as it has to be" in said
        next(iter(space.objects.values()))["items"][0]["spec"]["selector"] = {}
        code, said, imported = reconcile()
        assert code == 1, "there is no cluster behind the stand-in's lists"
        assert "mlflow" in imported


def line_of(tracker: Tracker, line: str, store: str = STORES["steps"]) -> list[Version]:
    """A line with two versions, of which the first is the champion."""
    versions = [tracker.register(line, digest * 64, f"{store}/{digest}", "", {}) for digest in "ab"]
    for alias in ("base", "head", "champion"):
        tracker.point(alias, versions[0])
    return versions


def test_steps_does_all_that_a_round_does(tracker) -> None:
    steps = tracker("steps")
    first, second = line_of(steps, "whole")
    run = steps.round_run(RoundKey("whole", "spring"), "main")
    steps.log(run, {"accuracy": 0.5, "pass@8": 0.9}, params={"k": "8"})
    steps.log_curve(run, "train.loss", [(0, 2.0), (1, 1.0)])
    steps.log_dataset(run, "tasks", "d" * 64, "s3://data/d", 3, "train")
    steps.log_text(run, "<p>report</p>", "report.html")
    steps.tag_version(second, {"selftaught.gain": "+0.1"})
    steps.point("challenger", second)
    steps.point("head", second)
    steps.finish(run, "refused")
    assert steps.aliases("whole") | {} == {"base": first, "champion": first, "challenger": second, "head": second}


@pytest.mark.parametrize("alias", ["champion", "previous", "base"])
def test_steps_cannot_move_what_users_follow_and_the_promoter_can(tracker, alias: str) -> None:
    line = f"moved-{alias}"
    steps = tracker("steps")
    first, second = line_of(steps, line)
    promoter = tracker("promoter")
    promoter.point(alias, first)
    with pytest.raises(Unavailable, match="Permission denied"):
        tracker("steps").point(alias, second)
    tracker("promoter").point(alias, second)
    assert tracker("steps").resolve(line, alias) == second


@pytest.mark.parametrize(
    ("verb", "noun", "body"),
    [
        ("DELETE", "registered-models/alias", {"name": "kept", "alias": "champion"}),
        ("DELETE", "registered-models/delete", {"name": "kept"}),
        ("POST", "registered-models/rename", {"name": "kept", "new_name": "other"}),
        ("DELETE", "model-versions/delete", {"name": "kept", "version": "1"}),
        ("POST", "model-versions/set-tag", {"name": "kept", "version": "1", "key": "selftaught.digest", "value": "b"}),
        ("DELETE", "model-versions/delete-tag", {"name": "kept", "version": "1", "key": "selftaught.digest"}),
        ("POST", "registered-models/alias", {"name": "kept", "alias": "champion", "version": "2"}),
        ("POST", "registered-models/alias", {"name": "nowhere", "alias": "champion", "version": "1"}),
    ],
)
@pytest.mark.parametrize("api", ["api", "ajax-api"])
def test_no_way_round_for_steps(tracker, server: str, api: str, verb: str, noun: str, body: dict[str, str]) -> None:
    steps = tracker("steps")
    if "kept" not in steps.lines():
        line_of(steps, "kept")
    before = steps.aliases("kept"), steps.versions("kept")
    login = ("steps", PASSWORDS["steps"])
    answer = httpx.request(verb, f"{server}/{api}/2.0/mlflow/{noun}", json=body, auth=login)
    assert answer.status_code == 403
    assert (steps.aliases("kept"), steps.versions("kept")) == before


def test_a_team_comes_goes_and_comes_back_while_the_server_runs(tracker, accounts: Path, server: str) -> None:
    """It has its workspace, its store and its promoter at once, is out at once, and has its lines again."""
    workspace, asked = ("late" if accounts.parent.name == "workspaces" else ""), f"{server}/api/2.0/mlflow"
    headers = {"X-MLFLOW-WORKSPACE": workspace} if workspace else {}

    def status(name: str) -> int:
        login = (name, PASSWORDS[name])
        return httpx.get(f"{asked}/registered-models/search", auth=login, headers=headers).status_code

    publish(accounts, PARTS | LATE)
    until(lambda: {status(name) for name in LATE.values()} == {200})
    _, second = line_of(tracker("late-steps", workspace=workspace), "late", "s3://models/late")
    tracker("late-promoter", workspace=workspace).point("champion", second)
    publish(accounts, PARTS)
    assert {status(name) for name in LATE.values()} == {401}
    assert httpx.get(f"{asked}/registered-models/search", auth=("steps", PASSWORDS["steps"])).is_success
    publish(accounts, PARTS | LATE)
    until(lambda: {status(name) for name in LATE.values()} == {200})
    tracker("late-promoter", workspace=workspace).point("previous", second)
    assert tracker("late-steps", workspace=workspace).resolve("late", "champion") == second
    publish(accounts, PARTS)


def test_a_password_that_mlflow_refuses_is_one_accounts_alone(accounts: Path, server: str) -> None:
    """And one of which a file has not come yet is none."""
    publish(accounts, PARTS | LATE)
    (accounts / "steps.late.password").resolve().write_text("short")
    (accounts / "promoter.late.password").unlink()
    search = f"{server}/api/2.0/mlflow/experiments/search"

    def status(name: str, password: str) -> int:
        return httpx.post(search, json={"max_results": 1}, auth=(name, password)).status_code

    log = accounts.parent / "log"
    until(lambda: "steps.late: late-steps is refused: Password must be" in log.read_text())
    assert (status("late-steps", "short"), status("steps", PASSWORDS["steps"])) == (401, 200)
    publish(accounts, PARTS)


def until(holds: Callable[[], bool]) -> None:
    """Wait until the server has followed its accounts."""
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline, "the server has not followed its accounts"
        time.sleep(0.2)


@pytest.mark.parametrize("server", ["one for all"], indirect=True)
def test_teams_do_not_write_into_each_others_lines_and_runs(tracker) -> None:
    line_of(tracker("steps"), "ours")
    run = tracker("steps").round_run(RoundKey("ours", "spring"), "main")
    for account in ("team-steps", "team-promoter"):
        theirs = tracker(account)
        version = theirs.versions("ours")[1]
        for write in (
            lambda: theirs.point("champion", version),  # noqa: B023
            lambda: theirs.point("head", version),  # noqa: B023
            lambda: theirs.register("ours", "c" * 64, f"{STORES['steps.team']}/c", "", {}),  # noqa: B023
            lambda: theirs.log(run, {"accuracy": 1.0}),  # noqa: B023
        ):
            with pytest.raises(Unavailable, match="Permission denied"):
                write()


@pytest.mark.parametrize("server", ["workspaces"], indirect=True)
def test_two_teams_have_lines_of_one_name(tracker) -> None:
    before = set(tracker("team-steps", workspace="team").lines())
    ours = line_of(tracker("steps"), "support")
    theirs = line_of(tracker("team-steps", workspace="team"), "support", STORES["steps.team"])
    tracker("team-promoter", workspace="team").point("champion", theirs[1])
    assert set(tracker("team-steps", workspace="team").lines()) == {*before, "support"}
    assert tracker("team-steps", workspace="team").resolve("support", "champion") == theirs[1]
    assert tracker("steps").resolve("support", "champion") == ours[0]


@pytest.mark.parametrize("server", ["workspaces"], indirect=True)
def test_a_team_reaches_nothing_of_anothers(tracker, server: str) -> None:
    """Reading and writing, by every kind of object, as both accounts, in every workspace that one may name."""
    ours = tracker("steps")
    if "support" not in ours.lines():
        line_of(ours, "support")
    if "support" not in (theirs := tracker("team-steps", workspace="team")).lines():
        line_of(theirs, "support", STORES["steps.team"])
    ours = tracker("steps")
    run = ours.round_run(RoundKey("support", "spring"), "main")
    ours.log_text(run, "what users wrote", "secret.txt")
    experiment = ours.client.get_run(run).info.experiment_id
    before = ours.aliases("support"), ours.versions("support"), ours.client.get_run(run).data.to_dictionary()
    secrets = (run, "what users wrote", "spring", STORES["steps"])
    asked = 0
    for account in ("team-steps", "team-promoter"):
        for workspace in ("", "default", "team", "no-such-workspace", "Default"):
            headers = {"X-MLFLOW-WORKSPACE": workspace} if workspace else {}
            for verb, path, given in reaching(experiment, run):
                # In its own workspace `support` is its own line.
                if workspace == "team" and "support" in json.dumps(given):
                    continue
                keyword = "params" if verb == "GET" else "json"
                login = (account, PASSWORDS[account])
                answer = httpx.request(verb, f"{server}{path}", headers=headers, auth=login, **{keyword: given})
                asked += 1
                text = answer.text.replace("no-such-workspace", "")
                found = answer.is_success and any(word in text for word in secrets)
                assert not found, (account, workspace, verb, path, answer.text[:300])
                assert verb == "GET" or path.endswith("search") or not answer.is_success, (account, workspace, path)
    ours = tracker("steps")
    assert (ours.aliases("support"), ours.versions("support"), ours.client.get_run(run).data.to_dictionary()) == before
    assert asked >= 100


def reaching(experiment: str, run: str) -> list[tuple[str, str, dict[str, object]]]:
    """Requests for a line, an experiment, and a run of another team."""
    api = "/api/2.0/mlflow"
    model = {"name": "support"}
    version = {**model, "version": "1"}
    return [
        ("GET", f"{api}/registered-models/get", model),
        ("GET", f"{api}/registered-models/search", {}),
        ("GET", f"{api}/registered-models/alias", {**model, "alias": "champion"}),
        ("GET", f"{api}/model-versions/get", version),
        ("GET", f"{api}/model-versions/search", {}),
        ("GET", f"{api}/model-versions/get-download-uri", version),
        ("GET", "/model-versions/get-artifact", {**version, "path": "config.json"}),
        ("POST", f"{api}/registered-models/alias", {**version, "alias": "challenger"}),
        ("POST", f"{api}/registered-models/alias", {**version, "alias": "champion"}),
        ("DELETE", f"{api}/registered-models/delete", model),
        ("PATCH", f"{api}/model-versions/update", {**version, "description": "theirs"}),
        ("POST", f"{api}/model-versions/create", {**model, "source": f"{STORES['steps.team']}/x"}),
        ("GET", f"{api}/experiments/get", {"experiment_id": experiment}),
        ("GET", f"{api}/experiments/get-by-name", {"experiment_name": "selftaught/support"}),
        ("POST", f"{api}/experiments/search", {"max_results": 100, "filter": "name = 'selftaught/support'"}),
        ("POST", f"{api}/experiments/delete", {"experiment_id": experiment}),
        ("GET", f"{api}/runs/get", {"run_id": run}),
        ("POST", f"{api}/runs/search", {"experiment_ids": [experiment]}),
        ("POST", f"{api}/runs/log-metric", {"run_id": run, "key": "accuracy", "value": 1.0, "timestamp": 1}),
        ("POST", f"{api}/runs/create", {"experiment_id": experiment, "start_time": 1}),
        ("GET", f"{api}/artifacts/list", {"run_id": run}),
        ("GET", "/get-artifact", {"run_id": run, "path": "secret.txt"}),
        ("GET", f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/secret.txt", {}),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts", {"path": f"{experiment}/{run}/artifacts"}),
        ("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/evil.txt", {}),
    ]


@pytest.mark.parametrize("account", ["team-steps", "team-promoter"])
@pytest.mark.parametrize(
    "source",
    [
        STORES["steps"],
        f"{STORES['steps']}/models/abc",
        f"{STORES['steps.team']}",
        f"{STORES['steps.team']}-of-others/abc",
        f"{STORES['steps.team']}/../own/abc",
        f"{STORES['steps.team']}/%2e%2e/own/abc",
        f"{STORES['steps.team']}/abc?x=/../../own",
        "mlflow-artifacts:/0/abc/artifacts",
        "file:///etc",
        "models:/support/1",
    ],
)
def test_mlflow_lends_nobody_its_own_rights(tracker, server, workspace: str, account: str, source: str) -> None:
    """A version of one's own whose files are another team's would be read with the server's credentials."""
    theirs = tracker("team-steps", workspace=workspace)
    if "lent" not in theirs.lines():
        line_of(theirs, "lent", STORES["steps.team"])
    count = len(theirs.versions("lent"))
    headers = {"X-MLFLOW-WORKSPACE": workspace} if workspace else {}
    login = (account, PASSWORDS[account])
    url = f"{server}/api/2.0/mlflow/model-versions/create"
    answer = httpx.post(url, json={"name": "lent", "source": source}, headers=headers, auth=login)
    assert answer.status_code == 403
    # What is another's to read, MLflow refuses in its own words.
    assert source.startswith("models:") or "below s3://models/team" in answer.text
    assert len(tracker("team-steps", workspace=workspace).versions("lent")) == count


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        ("POST", "/api/2.0/mlflow/experiments/create", {"name": "mine", "artifact_location": "s3://models/own/claims"}),
        ("POST", "/ajax-api/2.0/mlflow/experiments/create", {"name": "mine", "artifact_location": "file:///tmp/x"}),
        ("GET", "/model-versions/get-artifact", {"name": "files", "version": "1", "path": "config.json"}),
        ("PATCH", "/api/2.0/mlflow/traces/TRACE/tags", {"key": "mlflow.artifactLocation", "value": "s3://models/own"}),
        ("PATCH", "/api/3.0/mlflow/traces/TRACE/tags", {"key": "mlflow.artifactLocation", "value": "s3://models/own"}),
        ("PATCH", "/ajax-api/3.0/mlflow/traces/TRACE/tags", {"key": "mlflow.trace.archiveLocation", "value": "s3://o"}),
    ],
)
@pytest.mark.parametrize("account", ["steps", "promoter"])
def test_nobody_names_the_server_a_location(tracker, server, account: str, verb: str, path: str, body) -> None:
    steps = tracker("steps")
    if "files" not in steps.lines():
        line_of(steps, "files")
    trace = trace_of(server)
    keyword = "params" if verb == "GET" else "json"
    url = f"{server}{path.replace('TRACE', trace)}"
    answer = httpx.request(verb, url, auth=(account, PASSWORDS[account]), **{keyword: body})
    assert answer.status_code == 403 and "Permission denied: " in answer.text, answer.text


def trace_of(server: str) -> str:
    """A trace made by MLflow's own client, which the rules let through."""
    import mlflow

    mlflow.set_tracking_uri(server)
    try:
        experiment = mlflow.set_experiment("traced")
        with mlflow.start_span("asked") as span:
            span.set_attribute("answer", 42)
        mlflow.flush_trace_async_logging()
        found = mlflow.search_traces(locations=[experiment.experiment_id], return_type="list")
    finally:
        mlflow.set_tracking_uri(cast(Any, None))  # a variable of this process, too, which later tests would go by
    assert found, "the client's trace did not arrive"
    return found[0].info.trace_id


def test_a_rule_runs_no_handler_of_mlflows_own(server: str) -> None:
    """The demo, which MLflow knows by its name, is the administrator's to remove: asking ends before MLflow does it."""
    admin, steps = ("admin", PASSWORDS["admin"]), ("team-steps", PASSWORDS["team-steps"])
    experiments, demo = f"{server}/api/2.0/mlflow/experiments", f"{server}/ajax-api/3.0/mlflow/demo"

    def state() -> str:
        there = httpx.get(f"{experiments}/get-by-name", params={"experiment_name": "MLflow Demo"}, auth=admin)
        return there.json()["experiment"]["lifecycle_stage"]

    assert httpx.post(f"{experiments}/create", json={"name": "MLflow Demo"}, auth=admin).is_success
    assert httpx.post(f"{demo}/delete", auth=steps).status_code == 403
    assert state() == "active"
    assert httpx.post(f"{demo}/delete", auth=admin).is_success
    assert state() == "deleted"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("steps", "wrong-password"),
        ("nobody", "no-such-account"),
        ("gone-steps", "gone-steps-password-for-tests"),
        ("late-steps", "late-steps-password-for-tests"),
    ],
)
def test_wrong_credentials_are_refused(server: str, name: str, password: str) -> None:
    answer = httpx.get(f"{server}/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"}, auth=(name, password))
    assert answer.status_code == 401
