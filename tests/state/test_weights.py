import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from selftaught.core.errors import BadInput
from selftaught.state.weights import INDEX, check_model, model_digest


def make_model(folder: Path, **shards: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    for name, tensors in (shards or {"model": {"w": np.arange(6, dtype=np.float32)}}).items():
        save_file(tensors, folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    folder = make_model(tmp_path / "model", a={"x": np.ones(3)}, b={"y": np.ones(4)})
    (folder / INDEX).write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(BadInput) as caught:
        check_model(folder)
    return str(caught.value)


def test_a_whole_model_passes(model: Path) -> None:
    check_model(model)


def test_a_whole_sharded_model_passes(sharded: Path) -> None:
    check_model(sharded)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    assert "nowhere: no such folder" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer (tokenizer.json, tokenizer.model …). Save it beside the model"),
        ("model.safetensors", "no *.safetensors. Save the model with save_pretrained"),
    ],
)
def test_what_is_missing_is_named(model: Path, missing: str, said: str) -> None:
    (model / missing).unlink()
    assert said in refusal(model)


def test_an_adapter_alone_is_told_from_a_model(model: Path) -> None:
    (model / "config.json").rename(model / "adapter_config.json")
    assert "merge it into its model" in refusal(model)


@settings(max_examples=60)
@given(st.data())
def test_no_truncated_file_passes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = make_model(tmp_path_factory.mktemp("t") / "model")
    path = folder / "model.safetensors"
    os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 1)))
    assert refusal(folder).startswith(f"{path}: truncated or damaged")


def test_bytes_after_the_last_tensor_are_refused(model: Path) -> None:
    with (model / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    assert "truncated or damaged" in refusal(model)


@pytest.mark.parametrize("header", [b"\xff" * 8, b"\0" * 8, b"not json"])
def test_a_corrupt_header_is_refused(model: Path, header: bytes) -> None:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(header + content[8:])
    assert "truncated or damaged" in refusal(model)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "x.pth", "x.pkl", "x.ckpt", "sub/X.BIN"])
def test_pickles_are_refused_unread(model: Path, name: str) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    assert f"{model / name}: a pickle may run code" in refusal(model)


def test_code_is_refused(model: Path) -> None:
    (model / "modeling_mine.py").write_text("")
    assert "modeling_mine.py: code in a model folder is never run" in refusal(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_call_for_remote_code_is_refused(model: Path, name: str) -> None:
    (model / name).write_text('{"auto_map": {"AutoModel": "modeling_mine.Mine"}}')
    assert f"{name}: auto_map asks for remote code" in refusal(model)


REMOTE = {"auto_map": {"AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"}}
REWARDS = {"architectures": ["Qwen2ForProcessRewardModel"], "model_type": "qwen2"}


def test_a_process_reward_model_is_served_without_the_code_that_its_hub_names(model: Path) -> None:
    (model / "config.json").write_text(json.dumps(REWARDS | REMOTE))
    check_model(model)
    (model / "tokenizer_config.json").write_text(json.dumps(REMOTE))
    assert "tokenizer_config.json: auto_map asks for remote code" in refusal(model)


@pytest.mark.parametrize("kinds", [[], ["Mine"], ["Qwen2ForProcessRewardModel", "Mine"], "Qwen2ForProcessRewardModel"])
def test_no_other_architecture_may_name_code(model: Path, kinds: object) -> None:
    (model / "config.json").write_text(json.dumps(REWARDS | REMOTE | {"architectures": kinds}))
    assert "config.json: auto_map asks for remote code" in refusal(model)


@pytest.mark.parametrize(
    "changed",
    [
        {"model_type": "mine"},
        {"model_type": None},
        {"auto_map": {"AutoTokenizer": "theirs--x.Y"}},
        {"auto_map": "x.Y"},
    ],
)
def test_a_process_reward_model_that_a_library_would_want_code_for_is_refused(model: Path, changed: object) -> None:
    (model / "config.json").write_text(json.dumps(REWARDS | REMOTE | changed))
    assert "config.json: auto_map asks for remote code" in refusal(model)


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_config_that_is_no_object_is_refused(model: Path, content: str) -> None:
    (model / "config.json").write_text(content)
    assert refusal(model).startswith(f"{model / 'config.json'}: ")


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        ({"x": "a.safetensors", "y": "c.safetensors"}, "names c.safetensors, which is not in"),
        ({"x": "../model/a.safetensors"}, "names ../model/a.safetensors, which is not in"),
        ({"x": "b.safetensors"}, "lists x in b.safetensors, but it is not there"),
        (None, "no weight_map"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(
    sharded: Path, weight_map: dict[str, str] | None, said: str
) -> None:
    (sharded / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert said in refusal(sharded)


def test_a_truncated_shard_is_named(sharded: Path) -> None:
    os.truncate(sharded / "b.safetensors", 20)
    assert "b.safetensors: truncated or damaged (20 bytes" in refusal(sharded)


def test_the_digest_is_that_of_the_files_and_of_nothing_else(model: Path, tmp_path: Path) -> None:
    """Hidden files, our manifest, time stamps and the folder's own name are not part of a model."""
    digest = model_digest(model)
    copy = tmp_path / "another-name"
    shutil.copytree(model, copy, copy_function=shutil.copyfile)
    (copy / ".complete.json").write_text("{}")
    (copy / "manifest.json").write_text("{}")
    assert model_digest(copy) == digest
    assert len(digest) == 64


@pytest.mark.parametrize("change", ["content", "name", "more"])
def test_the_digest_changes_with_every_file(model: Path, change: str) -> None:
    digest = model_digest(model)
    {
        "content": lambda: (model / "tokenizer.json").write_text("{ }"),
        "name": lambda: (model / "tokenizer.json").rename(model / "tokenizer.model"),
        "more": lambda: (model / "generation_config.json").write_text("{}"),
    }[change]()
    assert model_digest(model) != digest


def test_the_digest_is_a_golden_value(tmp_path: Path) -> None:
    """It travels in tags and URIs: a change of it would lose every stored model."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "b").write_bytes(b"1")
    (tmp_path / "sub" / "a").write_bytes(b"2")
    assert model_digest(tmp_path) == "f3870c2c1f68b470a8557e1c46b6f3b28ad833bcc031ec4c83138fa7b167f721"


@pytest.mark.model
def test_the_starter_model_passes(starter_model: Path) -> None:
    check_model(starter_model)


def test_a_link_out_of_the_folder_is_refused_and_its_content_is_not_taken(model: Path, tmp_path: Path) -> None:
    secret = tmp_path / "credentials"
    secret.write_text("aws_secret_access_key = …")
    (model / "notes.txt").symlink_to(secret)
    assert f"notes.txt: leads out of the folder, to {secret}. Copy that file here" in refusal(model)


@pytest.mark.parametrize("target", ["/proc/self/environ", "/dev/zero", "/etc", "../model-b/config.json", "gone"])
def test_links_to_anything_that_is_not_the_models_are_refused(model: Path, target: str) -> None:
    (model / "generation_config.json").symlink_to(target)
    assert "generation_config.json: " in refusal(model)


def test_links_within_the_folder_and_to_the_blobs_of_a_hubs_snapshot_are_files(model: Path, tmp_path: Path) -> None:
    blob, snapshot = tmp_path / "blobs" / "5f3a", tmp_path / "snapshots" / "main"
    shutil.copytree(model, snapshot)
    blob.parent.mkdir()
    (snapshot / "model.safetensors").rename(blob)
    (snapshot / "model.safetensors").symlink_to(blob)
    (snapshot / "copy.json").symlink_to("config.json")
    check_model(snapshot)


@pytest.mark.parametrize("name", ["generation_config.json", "pipe"])
def test_a_pipe_is_refused_and_not_waited_for(model: Path, name: str) -> None:
    os.mkfifo(model / name)
    assert f"{name}: no regular file" in refusal(model)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", INDEX])
def test_json_that_is_too_deep_to_read_is_refused(model: Path, name: str) -> None:
    (model / name).write_text("[" * 100_000)
    assert f"{name}: no valid JSON" in refusal(model)


def test_an_index_that_names_a_list_for_a_shard_is_refused(sharded: Path) -> None:
    (sharded / INDEX).write_text(json.dumps({"weight_map": {"x": ["a.safetensors"]}}))
    assert f"{INDEX}: names ['a.safetensors']" in refusal(sharded)


@pytest.mark.parametrize("name", [b"a\xff.txt", b"a\x1b[2J.txt", b"a\n.txt"])
def test_a_file_name_that_cannot_be_printed_is_refused(model: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(model) + b"/" + name)).touch()
    assert "letters that cannot be printed" in refusal(model)
