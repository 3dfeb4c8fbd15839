"""Submitting and scheduling: what Kubeflow Pipelines is asked for, over HTTP, as its own client sends it."""

import json
import threading
from collections.abc import Iterator
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
from selftaught.submission import schedule, submit
from tests.rounds import REPOSITORY, database, model, place, recipe, recorded_blocks

__all__ = ["database", "model", "place", "recorded_blocks"]  # fixtures


@dataclass
class Api:
    """A Kubeflow Pipelines API that notes what it is asked and knows the runs and schedules that it is given."""

    url: str = ""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    schedules: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: Any) -> Any:
        kind = path.partition("?")[0].removeprefix("/apis/v2beta1/").partition("/")[0]
        self.asked.append((method, kind, body if method == "POST" else path))
        if method == "GET":
            return {
                "experiments": {"experiments": [{"experiment_id": "e1", "display_name": "selftaught/line"}]},
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
            answer = json.dumps(api.answer(self.command, self.path, body)).encode()
            self.send_response(200)
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
