"""A model that is asked by token ids reads the policy's text in them, or the round does not begin."""

import json
import re
from pathlib import Path

import pytest

from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round.checks.tokenizers import require_same_tokens, texts
from selftaught.round.job import ModelRef
from tests.rounds import Round, database, model, platform, recipe, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]

OWN = {"a": 0, "b": 1, "c": 2}
VALUE, OUTCOME, VOTE, PTRUE = (
    {"type": "value_model"},
    {"type": "outcome", "role": "value"},
    {"type": "vote", "role": "value"},
    {"type": "p_true", "role": "value"},
)
STRATEGY = {"type": "strategy", "label": "found", "sample": {"type": "search", "value": VALUE}}


def tokenizer(vocabulary: object, *added: tuple[int, str]) -> bytes:
    more = [{"id": number, "content": text} for number, text in added]
    return json.dumps({"model": {"vocab": vocabulary}, "added_tokens": more}).encode()


def kept(platform: Platform, folder: Path, name: str, content: bytes | None) -> ModelRef:
    """A model folder in the store with this `tokenizer.json`, or with none."""
    there = folder / name
    there.mkdir()
    (there / ("tokenizer.json" if content else "tokenizer.model")).write_bytes(content or b"pieces")
    (there / "config.json").write_text("{}")
    digest = name.ljust(64, "0")
    platform.store.put("models", digest, there)
    return ModelRef(digest=digest)


def compared(platform: Platform, folder: Path, theirs: bytes | None, **stage: object) -> None:
    found = recipe(folder / "policy", **stage)
    found |= {"models": found["models"] | {"value": "v"}}
    policy, value = kept(platform, folder, "a", tokenizer(OWN)), kept(platform, folder, "b", theirs)
    require_same_tokens(platform, Recipe.model_validate(found).stages[0], policy, {"value": value})


def search(value: object) -> dict[str, object]:
    return {"type": "search", "value": value}


def test_what_ids_stand_for_is_read_of_every_kind_of_vocabulary():
    assert texts(tokenizer(OWN, (3, "<end>"))) == {0: "a", 1: "b", 2: "c", 3: "<end>"}
    assert texts(tokenizer([["a", -1.5], ["b", -2.0]], (0, "<pad>"))) == {0: "<pad>", 1: "b"}


@pytest.mark.parametrize(
    "value",
    [
        VALUE,
        OUTCOME,
        VOTE,
        {"type": "rule", "check": {"type": "equations"}, "then": VALUE},
        {"type": "weighted", "parts": [{"value": PTRUE}, {"value": OUTCOME}]},
        VALUE | {"role": "absent", "before": OUTCOME},
    ],
)
def test_another_tokenizer_is_refused_wherever_it_is_asked_by_ids(platform: Platform, tmp_path: Path, value: object):
    words = (
        "the value model (b0000000) has another tokenizer than the policy: 2 of its 3 tokens are others there "
        "(token 1 is 'b' and 'c')."
    )
    with pytest.raises(BadInput, match=re.escape(words)):
        compared(platform, tmp_path, tokenizer({"a": 0, "c": 1}), sample=search(value))


def test_a_strategy_that_is_measured_is_looked_at_too(platform: Platform, tmp_path: Path):
    with pytest.raises(BadInput, match="value_model asks by token ids"):
        compared(platform, tmp_path, tokenizer({"b": 0}), evaluate=[{"type": "accuracy"}, STRATEGY])


@pytest.mark.parametrize(
    ("theirs", "value"),
    [
        (tokenizer(OWN), VALUE),
        (tokenizer(OWN, (3, "<pad>")), VALUE),  # it knows more than the policy
        (tokenizer({"b": 0}), PTRUE),  # asked in words
        (tokenizer({"b": 0}), {"type": "process_reward", "role": "value"}),
        (tokenizer({"b": 0}), VALUE | {"role": "absent"}),  # nobody asks it
        (None, VALUE),  # nothing to compare
    ],
)
def test_what_cannot_be_misread_is_let_through(platform: Platform, tmp_path: Path, theirs: bytes | None, value: object):
    compared(platform, tmp_path, theirs, sample=search(value))


def test_a_round_with_such_a_model_does_not_begin(
    platform: Platform, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    value = kept(platform, tmp_path, "b", tokenizer({"!": 1}))
    monkeypatch.setattr("selftaught.round.steps.prepare.role_models", lambda *_: {"value": value})
    with pytest.raises(SystemExit):
        Round(tmp_path / "round", recipe(model, sample=search(VALUE))).prepare()
    assert "another tokenizer than the policy: 257 of its 257 tokens" in capsys.readouterr().err
