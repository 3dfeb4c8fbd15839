"""A model measured behind a URL: it answers as one that is served here does, and what it is stays unproven."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from selftaught.cli.main import app
from selftaught.platform import Platform
from selftaught.serving.backend import Served
from selftaught.serving.engines.pool import LocalEngines
from selftaught.state.weights import model_digest
from tests.inference.test_endpoint import Server, answer, serving
from tests.rounds import SEARCH, database, model, platform, recipe, recorded_blocks, requests, written

__all__ = ["database", "model", "platform", "recorded_blocks", "requests"]
METRICS = [{"type": "accuracy"}, {"type": "accuracy", "greedy": False, "k": 2}]
VARIABLE, KEY = "GPT_KEY", "sk-not-to-be-shown"


@pytest.fixture
def engine(requests: Path, model: Path, tmp_path: Path) -> Generator[Served]:
    """The simulated engine, as a server that somebody else started."""
    with LocalEngines(tmp_path / "elsewhere") as engines:
        yield engines.deploy("hosted", model_digest(model), model)


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Generator[Server]:
    """A hosted API that answers as what its alias stands for, and takes nothing that OpenAI's does not."""

    def reply(_: int, body: dict[str, Any]) -> tuple[int, Any]:
        if unknown := set(body) - {"model", "messages", "temperature", "max_tokens", "n"}:
            return 400, {"error": {"message": f"Unrecognized request argument: {min(unknown)}"}}
        return 200, answer(body, "gpt-x-2026-11-01", token_ids=None, logprobs=None)

    monkeypatch.setenv(VARIABLE, KEY)
    with serving(reply) as server:
        yield server


def evaluated(asked: str, recipe: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", asked, str(recipe), "--line", "line", *more])


def written_as_in_a_recipe(url: str, name: str = "gpt-x") -> str:
    return f"{{url: {url}, model: {name}, api_key_env: {VARIABLE}}}"


def test_a_model_measures_the_same_behind_a_url_but_for_its_tokens(
    platform: Platform, engine: Served, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = written(tmp_path / "recipe.yaml", recipe(model, evaluate=METRICS))
    monkeypatch.setenv(VARIABLE, engine.key)
    remote = written_as_in_a_recipe(engine.url, engine.name)
    by_url, by_name = (_measured(asked, file, tmp_path / name) for name, asked in (("a", remote), ("b", "champion")))
    assert {each.pop("model") for each in by_url} == {f"unproven:{engine.name}@{engine.url}"}
    assert {each.pop("model") for each in by_name} == {engine.digest}
    assert {each.pop("tokens") for each in by_url} == {None} and all(each.pop("tokens") for each in by_name)
    assert by_url == by_name
    assert _texts(tmp_path / "a") == _texts(tmp_path / "b")


def _measured(asked: str, recipe: Path, out: Path) -> list[dict[str, Any]]:
    result = evaluated(asked, recipe, "--json", "--out", str(out))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _texts(out: Path) -> list[Any]:
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    return [(row["metric"], row["task"], [each["text"] for each in row["answers"]]) for row in rows]


def test_the_result_says_unproven_wherever_it_is_and_the_key_is_sent_and_nowhere_kept(
    platform: Platform, hosted: Server, model: Path, tmp_path: Path
):
    file, out = written(tmp_path / "recipe.yaml", recipe(model, evaluate=METRICS)), tmp_path / "out.jsonl"
    result = evaluated(written_as_in_a_recipe(hosted.url), file, "--out", str(out))
    identity = f"unproven:gpt-x@{hosted.url}"
    assert result.exit_code == 0, result.output
    assert f"{identity}: nobody has proven which weights answered." in result.stderr
    assert {json.loads(line)["model"] for line in out.read_text().splitlines()} == {identity}
    (run,) = _measurements(platform)
    assert run.data.tags["selftaught.model_digest"] == identity
    assert {seen["Authorization"] for seen in hosted.headers_seen} == {f"Bearer {KEY}"}
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert kept == [] and KEY not in result.output


def _measurements(platform: Platform) -> list[Any]:
    client = platform.tracker.client
    (experiment,) = [each.experiment_id for each in client.search_experiments() if each.name == "selftaught/line"]
    return client.search_runs([experiment], "tags.`selftaught.kind` = 'measurement'")


@pytest.mark.parametrize(
    ("metric", "named"),
    [
        ({"type": "tokens"}, "tokens"),
        ({"type": "strategy", "label": "searched", "sample": SEARCH}, "searched (search)"),
        ({"type": "strategy", "label": "vote", "sample": {"type": "budget"}}, "vote (budget)"),
    ],
)
def test_what_needs_tokens_is_refused_by_the_metrics_name_before_anything_is_asked(
    platform: Platform, hosted: Server, model: Path, tmp_path: Path, metric: dict[str, Any], named: str
):
    file = written(tmp_path / "recipe.yaml", recipe(model, evaluate=[{"type": "accuracy"}, metric]))
    result = evaluated(written_as_in_a_recipe(hosted.url), file)
    assert result.exit_code == 1
    assert f"recorded: stages.main.evaluate: {named} needs tokens, but gpt-x at {hosted.url}" in result.stderr
    assert (hosted.bodies, hosted.signs) == ([], 0)
    assert _measurements(platform) == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("https://user:sk-secret@host/v1", "MODEL: a URL alone does not say which of its models."),
        ("{url: https://user:sk-secret@host/v1, model: m}", "MODEL: models.policy.url: has a name, a password or"),
        ("{url: https://host/v1, model: m, api_key: sk-secret}", "MODEL: models.policy.api_key: no such field."),
        ("{url: https://host/v1, model: m, api_key_env: sk-secret}", "MODEL: models.policy.api_key_env: is not the"),
        ("{url: https://host/v1, model: m, api_key_env: UNSET_KEY}", "models.policy: UNSET_KEY is not set"),
        ("{url: https://host/v1}", "MODEL: models.policy.model: is missing."),
        ("{iterate: newest}", "MODEL: models.policy.iterate: 'newest': should be 'base'"),
    ],
)
def test_what_is_no_model_of_a_recipe_is_said_without_a_secret(
    platform: Platform, model: Path, tmp_path: Path, asked: str, message: str
):
    result = evaluated(asked, written(tmp_path / "recipe.yaml", recipe(model)))
    assert result.exit_code == 1
    assert f"error: {message}" in result.stderr
    assert "secret" not in result.output


def test_an_iterate_is_named_as_in_a_recipe(platform: Platform, requests: Path, model: Path, tmp_path: Path):
    file = written(tmp_path / "recipe.yaml", recipe(model))
    assert {each["model"] for each in _measured("{iterate: base}", file, tmp_path / "out")} == {model_digest(model)}
