"""Submitting and scheduling: what Kubeflow Pipelines is asked for, over HTTP, as its own client sends it."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from selftaught.campaign import Order
from selftaught.errors import BadInput, Unavailable
from selftaught.recipe import Recipe
from selftaught.records import canonical
from selftaught.round.job import Workplace
from selftaught.submission import TOKEN, TOKEN_FILE, runs, schedule, submit
from tests.rounds import REPOSITORY, database, model, place, recipe, recorded_blocks

__all__ = ["database", "model", "place", "recorded_blocks"]  # fixtures


EXPERIMENT = {"experiment_id": "e1", "display_name": "selftaught/line"}


@dataclass
class Api:
    """A Kubeflow Pipelines API that notes what it is asked and knows the runs and schedules that it is given."""

    url: str = ""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    schedules: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=lambda: [EXPERIMENT])
    tokens: list[str | None] = field(default_factory=list)
    """The Authorization header of each request."""
    refuses: int = 0
    """The status with which every request but for its health is refused, as KFP does; 0: none is."""
    after: Callable[[], object] = lambda: None
    """Called after each request."""

    def answer(self, method: str, path: str, body: Any) -> Any:
        kind = path.partition("?")[0].removeprefix("/apis/v2beta1/").partition("/")[0]
        self.asked.append((method, kind, body if method == "POST" else path))
        if method == "GET":
            return {
                "experiments": {"experiments": self.experiments},
                "runs": {"runs": self.runs},
                "recurringruns": {"recurringRuns": self.schedules},
            }.get(kind, {})
        return {"runs": {"run_id": "r1"}, "recurringruns": {"recurring_run_id": "s1", "display_name": "made"}}.get(
            kind, {"experiment_id": "e1"}
        )

    def sent(self, method: str, kind: str) -> list[Any]:
        """What was sent with `method` to `kind`, oldest first."""
        return [body for asked, of, body in self.asked if (asked, of) == (method, kind)]


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            api.tokens.append(self.headers.get("Authorization"))
            answer = json.dumps(api.answer(self.command, self.path, body)).encode()
            api.after()
            self.send_response(200 if self.path.endswith("/healthz") else api.refuses or 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    yield api
    server.shutdown()


@pytest.fixture
def there(place: Workplace, api: Api, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """The workplace, whose line has a champion, beside the API."""
    for name in (TOKEN_FILE, TOKEN, "SELFTAUGHT_KFP_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SELFTAUGHT_KFP", api.url)
    monkeypatch.setenv("SELFTAUGHT_IMAGE_STEPS", "registry.example.com/steps@sha256:" + "a" * 64)
    return Workplace.open()


def order(model: Path, line: str = "line") -> Order:
    parsed = Recipe.parse(canonical(recipe(model)).decode())
    return Order(parsed, line, "campaign", shards=3, pipelines=REPOSITORY / "pipelines" / "compiled")


def test_a_run_gets_the_recipe_and_which_round_is_due_is_left_to_it(there: Workplace, api: Api, model: Path):
    assert submit(there, order(model)).id == "r1"
    (body,) = api.sent("POST", "runs")
    told = body["runtime_config"]["parameters"]
    assert Recipe.parse(told["recipe"]) == order(model).recipe
    assert (told["line"], told["campaign"], told["number"], told["shards"]) == ("line", "campaign", 0, [0, 1, 2])
    assert body["experiment_id"] == "e1"


def test_the_images_of_the_settings_stand_in_the_place_of_tags(there: Workplace, api: Api, model: Path):
    submit(there, order(model))
    (body,) = api.sent("POST", "runs")
    spec = body["pipeline_spec"]
    executors = spec.get("pipeline_spec", spec)["deploymentSpec"]["executors"]
    images = {name: executor["container"]["image"] for name, executor in executors.items()}
    assert images["exec-verify"] == "registry.example.com/steps@sha256:" + "a" * 64
    assert images["exec-train"] == "selftaught/trainer:0.1.0"


def test_the_platform_part_travels_with_the_pipeline(there: Workplace, api: Api, model: Path):
    submit(there, order(model))
    (body,) = api.sent("POST", "runs")
    _, platform = yaml.safe_load_all((REPOSITORY / "pipelines" / "compiled" / "round.yaml").read_text())
    assert body["pipeline_spec"]["platform_spec"] == platform


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_line_has_one_active_run(there: Workplace, api: Api, model: Path, state: str):
    api.runs = [{"run_id": "busy", "state": state, "experiment_id": "e1"}]
    with pytest.raises(BadInput, match="run busy is"):
        submit(there, order(model))
    api.runs = [{"run_id": "done", "state": "FAILED", "experiment_id": "e1"}]
    submit(there, order(model))


def test_a_schedule_neither_overlaps_nor_catches_up_nor_hits_the_cache(there: Workplace, api: Api, model: Path):
    schedule(there, order(model), "0 3 * * 1")
    (body,) = api.sent("POST", "recurringruns")
    assert body["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert (int(body["max_concurrency"]), body["no_catchup"]) == (1, True)
    spec = body["pipeline_spec"]
    tasks = spec.get("pipeline_spec", spec)["root"]["dag"]["tasks"]
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in tasks.values())


def test_the_schedule_before_goes_after_the_new_one_is_there(there: Workplace, api: Api, model: Path):
    api.schedules = [{"recurring_run_id": "old", "display_name": "before"}]
    schedule(there, order(model), "0 3 * * 1")
    changes = [(method, kind) for method, kind, _ in api.asked if kind == "recurringruns" and method != "GET"]
    assert changes == [("POST", "recurringruns"), ("DELETE", "recurringruns")]


@pytest.mark.parametrize("cron", ["", "daily", "0 3 * *", "0 3 * * 1 2 3", "0 3 * * $x"])
def test_a_wrong_cron_is_told_before_anything_is_asked(there: Workplace, api: Api, model: Path, cron: str):
    with pytest.raises(BadInput, match="five fields"):
        schedule(there, order(model), cron)
    assert not api.asked


def test_a_line_without_a_champion_is_told_what_to_do(there: Workplace, api: Api, model: Path):
    with pytest.raises(BadInput, match="selftaught adopt"):
        submit(there, order(model, "new"))
    assert not api.asked


def test_a_dead_api_is_told(there: Workplace, api: Api, model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SELFTAUGHT_KFP", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="SELFTAUGHT_KFP"):
        submit(Workplace.open(), order(model))


def test_a_kubeflow_with_one_user_is_sent_no_token(there: Workplace, api: Api, model: Path):
    submit(there, order(model))
    assert api.tokens
    assert set(api.tokens) == {None}


def test_the_mounted_token_is_sent_and_followed_when_it_is_renewed(
    there: Workplace, api: Api, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    token = tmp_path / "token"
    token.write_text("first")
    monkeypatch.setenv(TOKEN_FILE, str(token))
    api.after = lambda: token.write_text("renewed")  # as the kubelet does, at any time
    submit(there, order(model))
    assert api.tokens[0] == "Bearer first"
    assert len(api.tokens) > 1
    assert set(api.tokens[1:]) == {"Bearer renewed"}


@pytest.mark.parametrize("ask", ["submit", "schedule", "runs"])
def test_a_token_from_elsewhere_is_sent(
    there: Workplace, api: Api, model: Path, monkeypatch: pytest.MonkeyPatch, ask: str
):
    monkeypatch.setenv(TOKEN, "of-a-person")
    {
        "submit": lambda: submit(there, order(model)),
        "schedule": lambda: schedule(there, order(model), "0 3 * * *"),
        "runs": lambda: runs(there, "line"),
    }[ask]()
    assert set(api.tokens) == {"Bearer of-a-person"}


def test_experiments_are_looked_for_and_made_in_the_profile(
    there: Workplace, api: Api, model: Path, monkeypatch: pytest.MonkeyPatch
):
    """Runs follow their experiment into its namespace."""
    monkeypatch.setenv("SELFTAUGHT_KFP_NAMESPACE", "team-a")
    api.experiments = []
    submit(Workplace.open(), order(model))
    asked, *_ = api.sent("GET", "experiments")
    assert "namespace=team-a" in asked
    (made,) = api.sent("POST", "experiments")
    assert made["namespace"] == "team-a"


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_not_known_is_told_how_to_be(there: Workplace, api: Api, model: Path, status: int):
    api.refuses = status
    with pytest.raises(BadInput, match=f"refuses it.*{TOKEN_FILE} or {TOKEN}.*SELFTAUGHT_KFP_NAMESPACE"):
        runs(there, "line")


def test_a_token_file_that_is_not_there_is_named(
    there: Workplace, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match=f"{TOKEN_FILE}: .*nowhere: no such file"):
        runs(there, "line")
    assert not api.asked
