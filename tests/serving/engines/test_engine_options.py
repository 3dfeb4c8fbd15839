"""How an engine is started: what this machine's settings say reaches the server that is run."""

import json
import os
from pathlib import Path

import pytest

from selftaught.core.loopback import KEY
from selftaught.serving.backend import Served
from selftaught.serving.engines.engine import TRANSFORMERS, VLLM, VLLM_FLAGS, Engine, EngineOptions, launch, reserve
from selftaught.settings import Settings
from tests.waiting import until


class Started(Exception):
    """Instead of a process."""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The arguments of a server that is started with some settings, by name; a flag without a value is there."""

    def started(module: str = VLLM, **settings: str) -> dict[str, str]:
        for name, value in settings.items():
            monkeypatch.setenv(f"SELFTAUGHT_ENGINE_{name.upper()}", value)
        monkeypatch.setattr("selftaught.serving.engines.engine.server_module", lambda: module)
        served, options = (
            Served("http://127.0.0.1:1/v1", "line", "abcd1234"),
            EngineOptions.from_settings(Settings.load()),
        )

        def start(words: list[str], _: Path):
            raise Started(words)

        with reserve(0) as reservation, pytest.raises(Started) as found:
            Engine(served, tmp_path, tmp_path, reservation=reservation, options=options, start=start)
        (words,) = found.value.args
        return {word: after for word, after in zip(words, [*words[1:], ""], strict=True) if word.startswith("--")}

    return started


def test_an_engine_is_started_as_it_always_was(command):
    words = command()
    assert (words["--max-model-len"], words["--dtype"], words["--distributed-executor-backend"]) == (
        "1024",
        "auto",
        "uni",
    )
    assert "--enforce-eager" in words
    assert not words.keys() & {"--tensor-parallel-size", "--gpu-memory-utilization"}


def test_the_machines_settings_reach_vllm(command):
    words = command(context="8192", dtype="float32", tensor_parallel="2", memory_share="0.5", eager="false")
    found = ("--max-model-len", "--dtype", "--tensor-parallel-size", "--gpu-memory-utilization")
    assert [words[name] for name in found] == ["8192", "float32", "2", "0.5"]
    assert words["--distributed-executor-backend"] == "mp"
    assert "--enforce-eager" not in words


def test_vllm_answers_users_first(command):
    assert command()["--scheduling-policy"] == "priority"
    middlewares = [VLLM_FLAGS[i + 1] for i, word in enumerate(VLLM_FLAGS) if word == "--middleware"]
    # The last one is the outermost: who shows no key is neither a user nor a round.
    assert middlewares == ["selftaught.serving.middleware.users.UsersFirst", "selftaught.core.loopback.Keyed"]


def test_what_the_server_on_transformers_has_no_word_for_is_not_said_to_it(command):
    words = command(TRANSFORMERS, context="2048", tensor_parallel="2")
    assert set(words) == {
        *(
            "--model",
            "--host",
            "--port",
            "--max-model-len",
            "--max-num-seqs",
            "--seed",
            "--dtype",
            "--served-model-name",
        )
    }
    assert words["--max-model-len"] == "2048"


def test_the_threads_of_an_engine_are_this_machines(command):
    assert EngineOptions.from_settings(Settings.load()).threads == len(os.sched_getaffinity(0))


def test_a_process_of_an_engine_has_no_credentials_and_no_server_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A program instead of the engine shows the environment that it was started with."""
    secret = {"AWS_SECRET_ACCESS_KEY": "x", "MLFLOW_TRACKING_PASSWORD": "x", "KUBECONFIG": "x", "HF_TOKEN": "x"}
    (tmp_path / "shown.py").write_text("import json, os; print(json.dumps(dict(os.environ)))")
    for name, value in {**secret, "PYTHONPATH": f"{Path.cwd()}:{tmp_path}"}.items():
        monkeypatch.setenv(name, value)
    leader = launch(["shown"], tmp_path / "log", EngineOptions(key="its own"))
    assert until(lambda: not leader.alive, 120)
    given = next(json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{"))
    assert not given.keys() & secret.keys()
    assert given[KEY] == "its own"
