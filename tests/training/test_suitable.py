"""Which models can be asked and trained: what they need, and that a template cannot take time or memory without end."""

import json
from pathlib import Path

import pytest

from selftaught.core.errors import BadInput
from selftaught.training.suitable import check_suitable
from selftaught.training.templates import render_apart
from tests.training.templates import CHATML, TEMPLATES, tokenizer_with

ASKED = [{"role": "user", "content": "What is 3 + 4?"}]


def saved(folder: Path, template: str | None, eos: str | None = "<|im_end|>") -> Path:
    """The files of a model that have to do with asking it."""
    tokenizer_with(template, eos).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": None}))
    return folder


@pytest.mark.parametrize("name", ["cuts", "no end"])
def test_what_a_template_makes_of_answers_does_not_matter(name: str, tmp_path: Path):
    check_suitable(saved(tmp_path, TEMPLATES[name]))


@pytest.mark.parametrize(
    ("template", "eos", "said"),
    [
        (None, "<|im_end|>", "has no chat template"),
        (CHATML, None, "names no end token"),
        ("{{ messages[0].tools.name }}", "<|im_end|>", "fails on a plain conversation: UndefinedError"),
        ("{% if", "<|im_end|>", "fails on a plain conversation: TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__ }}", "<|im_end|>", "fails on a plain conversation: SecurityError"),
        ("Assistant:", "<|im_end|>", "leaves out the question"),
        ("{% set x = [0] * 10**10 %}" + CHATML, "<|im_end|>", "it takes more than 1024 MiB"),
        ("{{ 'x' * 10**6 }}" + CHATML, "<|im_end|>", "characters of a few words"),
    ],
)
def test_a_model_that_cannot_be_asked_is_refused(template: str | None, eos: str | None, said: str, tmp_path: Path):
    with pytest.raises(BadInput, match=said):
        check_suitable(saved(tmp_path, template, eos))


def test_a_tokenizer_that_loses_letters_is_refused(tmp_path: Path):
    from tokenizers import normalizers

    tokenizer = tokenizer_with(CHATML)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("  ", " ")
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(BadInput, match=r"its tokenizer makes 'First: 3 and 4 make 7.\\n\\n The answer is 7.' of"):
        check_suitable(tmp_path)


def test_doubling_a_string_ends_at_the_limit():
    doubled = "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}"
    with pytest.raises(ValueError, match="it takes more than 1024 MiB"):
        render_apart(tokenizer_with(doubled), [ASKED])


def test_an_endless_template_is_ended():
    endless = "{% for a in range(9999) %}" * 5 + "{% endfor %}" * 5
    with pytest.raises(ValueError, match="it was not done after 5 s"):
        render_apart(tokenizer_with(endless), [ASKED])


def test_a_template_sees_nothing_of_this_process(monkeypatch: pytest.MonkeyPatch):
    """It gets the conversation and the special tokens: all that it may name else is undefined."""
    monkeypatch.setenv("SECRET", "hunter2")
    (text,) = render_apart(tokenizer_with("{{ messages[0].content }}{{ eos_token }}{{ SECRET }}"), [ASKED])
    assert text == "What is 3 + 4?<|im_end|>"
