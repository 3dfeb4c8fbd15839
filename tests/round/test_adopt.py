"""The models of the roles other than policy, as `adopt` keeps them."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

from selftaught.core.errors import BadInput, Unavailable
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round import adopt as adopting
from selftaught.round.adopt import adopt, adopt_roles, keep, roles
from selftaught.serving.weight_check import PROMPTS, Reference
from selftaught.state.ledger import ReferenceEntry
from selftaught.state.weights import model_digest
from tests.plain_reward_models import classes_of_text, shepherd, token_classifier
from tests.reward_models import classified, reward_model
from tests.rounds import database, model, platform, recipe, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]


def judged(policy: Path) -> Recipe:
    """A recipe with a judge."""
    found = recipe(policy)
    return Recipe.model_validate(found | {"models": found["models"] | {"judge": "someone/judge"}})


def test_a_model_that_cannot_be_had_again_leaves_the_one_that_was_kept(
    platform: Platform, model: Path, monkeypatch: pytest.MonkeyPatch
):
    def kept(platform: Platform, name: str, check: object) -> tuple[str, str]:
        return "a" * 64, "file:///judge"

    def gone(platform: Platform, name: str, check: object) -> tuple[str, str]:
        raise Unavailable(f"{name}: the hub does not answer")

    found = judged(model)
    monkeypatch.setattr(adopting, "keep", kept)
    adopt_roles(platform, found, "line")
    monkeypatch.setattr(adopting, "keep", gone)
    with pytest.raises(Unavailable):
        adopt_roles(platform, found, "line")
    assert roles(platform, found, "line")["judge"].digest == "a" * 64


def test_a_first_model_whose_files_were_removed_is_kept_again(platform: Platform, model: Path):
    """As the error on a damaged one says to do."""
    found = Recipe.model_validate(recipe(model))
    first = adopt(platform, found, "line")
    platform.store.remove("models", first.digest)
    assert adopt(platform, found, "line") == first
    assert platform.store.has("models", first.digest)


@pytest.mark.parametrize("line", ["l" * 40, "Support", "9to5"])
def test_a_line_that_could_never_be_served_on_a_cluster_is_not_begun(platform: Platform, model: Path, line: str):
    there = replace(platform, settings=platform.settings.model_copy(update={"serving": "kserve"}))
    with pytest.raises(BadInput, match="part of a Service's name"):
        adopt(there, Recipe.model_validate(recipe(model)), line)
    assert there.tracker.versions(line) == []


def test_a_process_reward_model_is_kept_with_what_it_says_of_the_probes(platform: Platform, tmp_path: Path):
    digest, _ = keep(platform, str(reward_model(tmp_path / "prm")))
    reference = Reference.model_validate_json(platform.ledger.value(ReferenceEntry(digest)) or b"")
    for prompt, text in zip(reference.prompts, PROMPTS, strict=True):
        assert prompt.classes == pytest.approx(classified(tmp_path / "prm", text)[-1], abs=1e-5)


@pytest.mark.parametrize(("lost", "text"), [("chat_template.jinja", "no chat template"), ("score", "score.0.bias")])
def test_a_process_reward_model_that_lacks_a_part_is_not_kept(platform: Platform, tmp_path: Path, lost: str, text: str):
    folder = reward_model(tmp_path / "prm")
    if lost == "score":
        tensors = {name: each for name, each in load_file(folder / "model.safetensors").items() if lost not in name}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        (folder / lost).unlink()
    with pytest.raises(BadInput, match=text):
        keep(platform, str(folder))
    assert platform.ledger.value(ReferenceEntry(model_digest(folder))) is None
    assert model_digest(folder) not in {path.name for path in (tmp_path / "home" / "store" / "models").iterdir()}


def guided(policy: Path, folder: Path, **value: object) -> Recipe:
    """A recipe whose search asks the model in `folder`."""
    found = recipe(policy, sample={"type": "search", "value": {"role": "prm", **value}})
    return Recipe.model_validate(found | {"models": found["models"] | {"prm": str(folder)}})


PLAIN = {"type": "process_reward", "chat": False, "tag": "\n"}


def test_a_token_classifier_without_a_chat_template_is_kept_where_it_reads_plain_text(
    platform: Platform, model: Path, tmp_path: Path
):
    folder = token_classifier(tmp_path / "prm", "Mistral")
    with pytest.raises(BadInput, match="no chat template"):
        adopt_roles(platform, guided(model, folder, type="process_reward"), "line")
    found = guided(model, folder, **PLAIN)
    adopt_roles(platform, found, "line")
    digest = roles(platform, found, "line")["prm"].digest
    reference = Reference.model_validate_json(platform.ledger.value(ReferenceEntry(digest)) or b"")
    for prompt, text in zip(reference.prompts, PROMPTS, strict=True):
        assert prompt.classes == pytest.approx(classes_of_text(folder, text)[-1], abs=1e-5)


def test_a_model_kept_as_one_that_reads_plain_text_is_not_asked_in_a_chat_later(
    platform: Platform, model: Path, tmp_path: Path
):
    folder = shepherd(tmp_path / "prm")
    adopt_roles(platform, guided(model, folder, type="reply_reward", tag="ки"), "line")
    with pytest.raises(BadInput, match="no chat template"):
        adopt_roles(platform, guided(model, folder, type="reply_reward"), "line")
    with pytest.raises(BadInput, match="no chat template"):
        adopt(platform, Recipe.model_validate(recipe(folder)), "another")


def test_a_token_classifier_that_no_engine_serves_is_told_of(platform: Platform, tmp_path: Path):
    folder = token_classifier(tmp_path / "prm", "Gemma")
    with pytest.raises(BadInput, match=r"GemmaForTokenClassification is a token classifier that cannot be served\."):
        keep(platform, str(folder))
