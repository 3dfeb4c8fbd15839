"""The notebook's way in: a model by URL or by name, asked from code that waits, wherever it stands."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from selftaught.core.errors import BadInput, RoundFailed
from selftaught.notebook import open_model, table
from selftaught.testing import sums
from tests.inference.test_endpoint import answer, serving

HOSTED = "gpt-x"


def said(_: int, body: dict) -> tuple[int, object]:
    """A hosted API: it answers as what its alias stands for, tells no tokens, and is right of the first task alone."""
    if unknown := set(body) - {"model", "messages", "temperature", "max_tokens", "n", "stop"}:
        return 400, {"error": {"message": f"Unrecognized request argument: {min(unknown)}"}}
    right = body["messages"][-1]["content"] == sums()[0].question
    text = "The answer is 5." if right else "I do not know."
    return 200, answer(body, "gpt-x-2026-11-01", message={"content": text}, token_ids=None, logprobs=None)


def test_tasks_are_sampled_and_verified_by_a_model_behind_a_url():
    with serving(said) as server, open_model(server.url, served_as=HOSTED) as model:
        groups = model.verify(model.sample(sums(3), {"type": "iid", "k": 2}), {"type": "answer_match"})
        assert model.ask("?") == ["I do not know."]
    rows = table(groups)
    assert [(row["question"], row["passed"]) for row in rows[:3]] == [
        ("What is 2 + 3?", True), ("What is 2 + 3?", True), ("What is 3 + 4?", False),
    ]  # fmt: skip
    assert "I do not know" not in rows[0]["text"] and rows[2]["reason"]
    assert {rollout.model for group in groups for rollout in group.rollouts} == {f"unproven:{HOSTED}@{server.url}"}


def test_it_works_where_an_event_loop_runs_as_in_jupyter():
    async def cell() -> list[str]:
        with serving(said) as server, open_model(server.url, served_as=HOSTED) as model:
            return model.ask("?", n=2)

    assert asyncio.run(cell()) == ["I do not know."] * 2


def test_what_is_not_verified_has_not_passed_and_not_failed():
    with serving(said) as server, open_model(server.url, served_as=HOSTED) as model:
        rows = table(model.sample(sums(1), {"type": "iid", "k": 1}))
    assert [row["passed"] for row in rows] == [None]


def test_a_search_at_a_server_that_tells_no_tokens_ends_with_the_servers_words():
    search = {"type": "search", "select": {"type": "uct"}, "value": {"type": "verifier"}}
    with (
        serving(said) as server,
        open_model(server.url, served_as=HOSTED) as model,
        pytest.raises(RoundFailed, match="Unrecognized request argument"),
    ):
        model.sample(sums(1), search, {"type": "answer_match"})


def test_a_url_says_which_of_its_models():
    with pytest.raises(BadInput, match="served_as"), open_model("http://localhost:1/v1"):
        pass


def test_a_block_that_is_none_is_refused():
    with (
        serving(said) as server,
        open_model(server.url, served_as=HOSTED) as model,
        pytest.raises(ValidationError, match="idd"),
    ):
        model.sample(sums(1), {"type": "idd"})


@pytest.mark.model
def test_what_the_page_shows_runs_with_the_starter_model(starter_model: Path, home: Path):
    (home / "models").mkdir(parents=True, exist_ok=True)
    (home / "models" / starter_model.name).symlink_to(starter_model)
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    (code,) = (each for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "open_model" in each)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *rows, nodes = done.stdout.splitlines()
    assert len(rows) == 32
    assert all("'passed': True" in row or "'passed': False" in row for row in rows)
    assert int(nodes.split()[0]) > 1
