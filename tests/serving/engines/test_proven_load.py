"""An engine loads the files of the digest that it is named by, or ends with words that say whose they are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from selftaught.core.crashes import cause
from selftaught.core.errors import StoreError
from selftaught.serving.engines import vllm_server
from selftaught.state.weights import DIGEST, model_digest, prove_loaded
from tests.rounds import tiny_model

OTHER = "f" * 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("loaded") / "tiny")


def test_the_digests_own_files_are_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(DIGEST, model_digest(folder))
    prove_loaded(folder)


def test_one_changed_byte_is_another_model(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(DIGEST, model_digest(folder))
    (tmp_path / "model").mkdir()
    for path in folder.iterdir():
        content = bytearray(path.read_bytes())
        if path.suffix == ".safetensors":
            content[-1] ^= 1
        (tmp_path / "model" / path.name).write_bytes(content)
    with pytest.raises(StoreError, match=rf"is model \w{{8}}, not {model_digest(folder)[:8]}"):
        prove_loaded(tmp_path / "model")


@pytest.mark.parametrize("spelling", [["--model={}"], ["--model", "{}"]])
def test_vllm_is_not_started_on_other_files(folder: Path, spelling: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(DIGEST, OTHER)
    monkeypatch.setattr(vllm_server, "prepare", lambda: None)
    with pytest.raises(StoreError, match="not ffffffff"):
        vllm_server.main(["--port=1", *(part.format(folder) for part in spelling), "--served-model-name", "a", "b"])


@pytest.mark.parametrize(
    ("kind", "more"),
    [("Qwen2ForProcessRewardModel", ["--pooler-config", '{"tok_pooling_type": "ALL"}']), ("Qwen2ForCausalLM", [])],
)
def test_vllm_tells_the_scores_of_all_tokens_of_a_process_reward_model(
    tmp_path: Path, kind: str, more: list[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [kind]}))
    monkeypatch.setattr(vllm_server, "prepare", lambda: None)
    monkeypatch.setattr(vllm_server.runpy, "run_module", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["python"])
    arguments = ["--model", str(tmp_path), "--port=1", "--dtype=bfloat16"]
    vllm_server.main(arguments)
    assert sys.argv == ["vllm", *arguments, *more]


def test_the_server_on_transformers_ends_and_says_why(folder: Path):
    command = [sys.executable, "-m", "selftaught.serving.engines.transformers_server"]
    arguments = [f"--model={folder}", "--served-model-name", "line-ffffffff", "line", "--port=0"]
    environment = os.environ | {DIGEST: OTHER}
    done = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode != 0
    found = cause(done.stderr)
    assert found is not None and f"is model {model_digest(folder)[:8]}, not ffffffff" in found
