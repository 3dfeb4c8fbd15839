"""Model folders after training: what is not trained is still there."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from selftaught.serving.engines.colocated import stored_names
from selftaught.training.loops.folder import load, save
from tests.training.test_probing import LINEAR, PICTURES, SIZES


@pytest.fixture
def seeing(tmp_path: Path) -> Path:
    """A model of texts and images, its embeddings tied."""
    tied = {"tie_word_embeddings": True}
    config = transformers.Qwen3_5Config(**tied, text_config=SIZES | LINEAR | tied, vision_config=PICTURES)
    transformers.Qwen3_5ForConditionalGeneration(config).save_pretrained(tmp_path / "seeing")
    return tmp_path / "seeing"


def trained(source: Path, folder: Path) -> Any:
    model = load(source, torch.float32)
    for weight in model.parameters():
        weight.data.add_(0.01)
    folder.mkdir()
    save(model, source, folder)
    return model


def test_a_model_that_sees_images_learns_as_the_language_model_in_it_and_sees_them_still(seeing: Path, tmp_path: Path):
    model, out = trained(seeing, tmp_path / "out"), tmp_path / "out"
    kind: Any = transformers.Qwen3_5ForConditionalGeneration
    again, report = kind.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    before = load_file(seeing / "model.safetensors")
    seen = {name: weight for name, weight in again.state_dict().items() if ".visual." in name}
    assert seen and all(torch.equal(weight, before[name]) for name, weight in seen.items())
    assert torch.equal(again.model.language_model.embed_tokens.weight, model.model.embed_tokens.weight)
    assert torch.equal(load(out, torch.float32).model.embed_tokens.weight, model.model.embed_tokens.weight)


def test_vllm_is_given_its_weights_under_the_names_that_they_have_in_the_folder(seeing: Path):
    model, stored = load(seeing, torch.float32), load_file(seeing / "model.safetensors")
    given = dict(stored_names(seeing)(model.named_parameters()))
    assert given and all(torch.equal(weight, stored[name]) for name, weight in given.items())


def test_it_learns_again(seeing: Path, tmp_path: Path):
    trained(seeing, tmp_path / "once")
    trained(tmp_path / "once", tmp_path / "twice")
    names = {path.name for path in (tmp_path / "twice").iterdir()}
    assert names == {path.name for path in (tmp_path / "once").iterdir()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_model_whose_configuration_tells_no_precision_keeps_that_of_its_weights(dtype: torch.dtype, tmp_path: Path):
    model: Any = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).to(dtype)
    model.save_pretrained(tmp_path / "plain")
    settings = json.loads((tmp_path / "plain" / "config.json").read_text())
    del settings["dtype"]
    (tmp_path / "plain" / "config.json").write_text(json.dumps(settings))
    trained(tmp_path / "plain", tmp_path / "out")
    assert {weight.dtype for weight in load_file(tmp_path / "out" / "model.safetensors").values()} == {dtype}


def test_a_language_model_is_saved_as_it_was(tmp_path: Path):
    config = transformers.LlamaConfig(**SIZES, tie_word_embeddings=True)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "plain")
    trained(tmp_path / "plain", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.safetensors*")] == ["model.safetensors"]
