"""A registered model is loaded by MLflow from where it is, and is the same model that its digest names."""

import json
from pathlib import Path
from typing import Any

import pytest

from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round.adopt import adopt
from selftaught.round.mlflow_model import put_model
from selftaught.state.store import open_store
from selftaught.state.tracking import Version
from selftaught.state.weights import model_digest
from tests.rounds import Round, database, engines, model, platform, recipe, recorded_blocks, requests, tiny_model

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]
pytest_plugins = ["tests.s3_fixtures"]

PROMPT = "user: What is 2 + 3?\nassistant: "


def loaded(tracking: str, **more: Any) -> Any:
    """The champion of `line` as a user of MLflow loads it."""
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", tracking)
        return mlflow.transformers.load_model("models:/line@champion", **more)


def generated(model: Any, tokenizer: Any) -> list[int]:
    """The ids of the prompt and of twelve tokens after it, drawn with a fixed seed."""
    import torch

    torch.manual_seed(0)
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    return model.generate(ids, do_sample=True, max_new_tokens=12)[0].tolist()


def expected(folder: Path) -> list[int]:
    """The same by transformers alone, from the model's folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return generated(AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))


def champion(platform: Platform) -> Version:
    found = platform.tracker.resolve("line", "champion")
    assert found
    return found


def test_a_promoted_champion_loaded_by_mlflow_says_what_transformers_says_with_its_folder(
    platform: Platform, engines: Path, tmp_path: Path, model: Path
):
    one = Round(tmp_path / "round", recipe(model))
    assert one.run() == "promoted"
    pipeline = loaded(platform.tracker.uri)
    assert champion(platform).digest == one.challenger
    assert generated(pipeline.model, pipeline.tokenizer) == expected(platform.model(one.challenger))


def test_loading_from_the_store_changes_no_model(platform: Platform):
    """MLflow writes a file into a local folder that it loads."""
    loaded(platform.tracker.uri)
    folder = platform.model(champion(platform).digest)
    assert (folder / "registered_model_meta").is_file()
    assert model_digest(folder) == champion(platform).digest


def test_a_champion_in_a_bucket_is_loaded_by_mlflow(
    s3_prefix: str, home: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SELFTAUGHT_STORE", f"s3://selftaught/{s3_prefix}")
    platform = Platform.open()
    adopt(platform, Recipe.parse(json.dumps(recipe(model))), "line")
    assert champion(platform).uri.startswith("s3://")
    pipeline = loaded(platform.tracker.uri)
    assert generated(pipeline.model, pipeline.tokenizer) == expected(model)


def test_the_digest_is_that_of_the_models_own_files(tmp_path: Path):
    folder = tiny_model(tmp_path / "tiny")
    digest = model_digest(folder)
    put_model(open_store(str(tmp_path / "store")), digest, folder)
    stored = tmp_path / "store" / "models" / digest
    assert (stored / "MLmodel").is_file()
    assert model_digest(stored) == digest


def test_weights_are_stored_once(tmp_path: Path):
    folder = tiny_model(tmp_path / "tiny")
    put_model(open_store(str(tmp_path / "store")), "d", folder)
    assert len(list((tmp_path / "store").rglob("*.safetensors"))) == 1


def test_a_folder_that_is_stored_is_left_as_it_was(tmp_path: Path):
    """It may be a hub's cache, which is not ours to write to."""
    folder = tiny_model(tmp_path / "tiny")
    before = sorted(folder.iterdir())
    put_model(open_store(str(tmp_path / "store")), "d", folder)
    assert sorted(folder.iterdir()) == before


def test_a_model_that_gives_values_is_no_text_generation_to_mlflow(tmp_path: Path):
    folder = tiny_model(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["LlamaForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config))
    put_model(open_store(str(tmp_path / "store")), "d", folder)
    assert not (tmp_path / "store" / "models" / "d" / "MLmodel").exists()
