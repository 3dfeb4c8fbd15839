"""Roles that models behind URLs play: asked with a key from the environment, and named in all that they decide."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selftaught.core.errors import BadInput, BadRecipe
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Group, dataset
from selftaught.report.page import render
from selftaught.round.history import page_of, recorded
from selftaught.round.steps import prepare
from selftaught.state.round_key import RoundKey
from tests.inference.test_endpoint import Server, answer, serving
from tests.rounds import Round, database, engines, model, platform, recipe, recorded_blocks, requests

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]

KEY = "sk-secret-of-the-judge"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A hosted API that gives every task the same right answer, or none; its key is in the environment."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    gold = {"content": "The answer is 5."}
    with serving(lambda _, body: (200, answer(body, "gpt-x-2026", message=gold, token_ids=None, logprobs=None))) as it:
        yield it


def judged(policy: Path, server: Server, **stage: Any) -> dict[str, Any]:
    """A recipe that trains on answers which `server` gives too or not; a measured gate goes by the gold answers."""
    found = recipe(policy, verify={"type": "judged"}, curate={"type": "unfiltered"}, **stage)
    judge = {"url": server.url, "model": "gpt-x", "api_key_env": "JUDGE_KEY"}
    return found | {"models": found["models"] | {"judge": judge}}


def test_a_round_with_an_external_judge_says_so_and_keeps_no_key(
    platform: Platform, engines: Path, model: Path, server: Server, tmp_path: Path
):
    round, identity = Round(tmp_path / "round", judged(model, server)), f"unproven:gpt-x@{server.url}"
    assert round.run() in ("promoted", "refused")
    groups = dataset.read(Path(round.made["verified"].path), Group)
    assert {verdict.external for group in groups for on_one in group.verdicts for verdict in on_one} == {(identity,)}
    assert {rollout.model for group in groups for rollout in group.rollouts} == {round.job.sampler.digest}
    assert {body["model"] for body in server.bodies} == {"gpt-x"}
    assert {headers["Authorization"] for headers in server.headers_seen} == {f"Bearer {KEY}"}
    assert len(server.bodies) == len(groups)  # no metric asked it
    key = RoundKey("line", "campaign", 1, 0)
    record = recorded(platform, key)
    assert record and [(each.role, each.digest) for each in record.round.external] == [("judge", identity)]
    assert "Results depend on an external model: judge is gpt-x at " in render(
        page_of(platform, RoundKey("line", "campaign", 1, 0))
    )
    kept = [path for folder in (tmp_path / "round", platform.settings.home) for path in folder.rglob("*")]
    assert [path for path in kept if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_a_missing_key_ends_the_round_before_it_begins(
    platform: Platform, model: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(BadInput, match=f"models.judge: JUDGE_KEY is not set, which holds the key of {server.url}"):
        prepare.run(json.dumps(judged(model, server)), "line", "campaign", 1, 0, 1, str(tmp_path / "job"), "")
    assert platform.tracker.rounds("line", "campaign") == []
    assert server.bodies == []


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"train": {"type": "nudge", "role": "judge"}, "gate": None, "evaluate": []}, "recipe trains that role"),
        (
            {
                "evaluate": {
                    "type": "strategy",
                    "label": "accuracy",
                    "sample": {"type": "search", "value": {"type": "p_true", "role": "judge"}},
                },
                "gate": {"type": "paired_gain", "metric": "accuracy", "guard": "none"},
            },
            "the gate decides by it, and it measures what the judge model answers",
        ),
    ],
)
@pytest.mark.usefixtures("recorded_blocks")
def test_an_external_model_is_neither_trained_nor_measured_by_a_gate(stage: dict[str, Any], message: str):
    found = recipe(Path("model"), **stage)
    judge = {"url": "https://host/v1", "model": "gpt-x"}
    with pytest.raises(BadRecipe, match=message):
        Recipe.parse(json.dumps(found | {"models": found["models"] | {"judge": judge}}))
