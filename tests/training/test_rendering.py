"""Rendering: what is trained is what was sampled, token by token, whatever the chat template makes of a turn."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.records import Example, Message
from selftaught.training.rendering import Chat, Rendered, chat_of, rendered
from tests.training.templates import CHATML, CUTS, NO_END, TEMPLATES, TRIMS, chat_with, tokenizer_with

REASONED = "3 and 4 make 7.\n</think>\n\nThe answer is 7."
TEXTS = (REASONED, "3 + 4 = 7", "  3 + 4 = 7\n\n", "\n\nSieben ist’s: 😀\u00a0", "<think>\n7\n</think>\n\n7")
CHATS = {name: chat_with(template) for name, template in TEMPLATES.items()}


def example(*completion: str, prompt: str = "What is 3 + 4?", **more: object) -> Example:
    """The assistant's and the user's turns by turns, as a completion."""
    roles = ("assistant", "user")
    turns = (Message(role=roles[at % 2], content=text) for at, text in enumerate(completion))
    asked = (Message(role="user", content=prompt),)
    return Example.model_validate(
        {"prompt": asked, "completion": tuple(turns), "task": "t", "rollout": "r"} | dict(more)
    )


def served(chat: Chat, *messages: str) -> tuple[int, ...]:
    """The tokens that an engine is given for a conversation: user and assistant by turns."""
    items = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(messages)]
    text = chat.tokenizer.apply_chat_template(items, add_generation_prompt=True, tokenize=False)
    return tuple(chat.tokenizer(text, add_special_tokens=False).input_ids)


def letters(chat: Chat, text: str) -> tuple[int, ...]:
    """`text` a byte a token, as no tokenizer would cut it: what a model may sample all the same."""
    return tuple(chat.tokenizer.convert_tokens_to_ids(list(byte_symbols(text))))


def byte_symbols(text: str) -> str:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return "".join(bytes_to_unicode()[byte] for byte in text.encode())


def shown(chat: Chat, row: Rendered) -> list[tuple[str, bool]]:
    return [(chat.tokenizer.decode([token]), trained) for token, trained in zip(row.ids, row.trained, strict=True)]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_engines_tokens_are_trained_on_behind_the_prompt_that_it_was_given(name: str, text: str):
    chat = CHATS[name]
    ids = (*letters(chat, text), chat.end)
    (row,) = rendered(example(text, completion_ids=ids), chat)
    opening = served(chat, "What is 3 + 4?")
    assert row.ids == opening + ids
    assert row.trained == (False,) * len(opening) + (True,) * len(ids)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_text_is_trained_on_whole_behind_the_served_opening_and_ends_where_engines_stop(name: str, text: str):
    chat = CHATS[name]
    (row,) = rendered(example(text), chat)
    opening = served(chat, "What is 3 + 4?")
    assert row.ids[: len(opening)] == opening
    assert row.trained == (False,) * len(opening) + (True,) * (len(row.ids) - len(opening))
    assert chat.tokenizer.decode(row.ids[len(opening) : -1]) == text
    assert row.ids[-1] in chat.ends


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\u0340\u0341"), max_size=40))
def test_any_text_is_said_as_it_is(text: str):
    chat = CHATS["cuts"]
    said = chat.said(text)
    assert said is not None
    assert chat.tokenizer.decode(said[:-1]) == text


def test_a_template_that_cuts_reasoning_token_by_token():
    """The template itself would train `\\n\\nThe answer is 7.` behind `assistant\\n`."""
    chat = CHATS["cuts"]
    (row,) = rendered(example(REASONED), chat)
    tokens = shown(chat, row)
    print(*(f"{'trained' if trained else 'context'} {token!r}" for token, trained in tokens), sep="\n")
    context = "".join(token for token, trained in tokens if not trained)
    trained = [token for token, trained in tokens if trained]
    assert context == "<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert "".join(trained) == "3 and 4 make 7.\n</think>\n\nThe answer is 7.<|im_end|>"
    assert trained[-1] == "<|im_end|>"
    assert len(trained) > 3


def test_a_template_without_an_end_token_gets_the_models():
    (row,) = rendered(example("3 + 4 = 7"), CHATS["no end"])
    assert CHATS["no end"].tokenizer.decode(row.ids) == "User: What is 3 + 4?\nAssistant: 3 + 4 = 7<|im_end|>"


def test_there_is_one_bos_whoever_adds_it():
    for name in ("trims", "two bos"):
        (row,) = rendered(example("7"), CHATS[name])
        assert row.ids.count(CHATS[name].tokenizer.bos_token_id) == 1


def test_an_answer_that_ended_at_another_end_token_keeps_it():
    chat = CHATS["chatml"]
    (other,) = chat.ends - {chat.end}
    (row,) = rendered(example("7", completion_ids=(*letters(chat, "7"), other)), chat)
    assert row.ids[-1] == other


def test_what_stands_behind_a_stop_string_is_not_trained_on():
    """The engine cuts its text at a stop string, its tokens after it; the rest of a token that went beyond is added."""
    chat = CHATS["chatml"]
    beyond = (*letters(chat, "The answer is 7."), *chat.tokens("\n\nQ: And"))
    (row,) = rendered(example("The answer is 7.", completion_ids=beyond), chat)
    assert row.ids == (*served(chat, "What is 3 + 4?"), *letters(chat, "The answer is 7."), chat.end)
    (row,) = rendered(example("The answer", completion_ids=chat.tokens("The answer is 7.")), chat)
    assert chat.tokenizer.decode(row.ids).endswith("assistant\nThe answer<|im_end|>")


def test_tokens_of_another_tokenizer_are_not_believed():
    chat = CHATS["chatml"]
    (row,) = rendered(example("The answer is 7.", completion_ids=(260, 5, 90, 7), prompt_ids=(8, 9)), chat)
    assert row.ids == (*served(chat, "What is 3 + 4?"), *chat.tokens("The answer is 7."), chat.end)


def test_the_chat_templates_variables_are_those_that_engines_are_asked_with():
    """Qwen3's kind: without thinking the served opening holds an empty think block, and so does the trained one."""
    template = CHATML + "{% if add_generation_prompt and not think %}<think>\n\n</think>\n\n{% endif %}"
    quiet, loud = (replace(chat_with(template), template={"think": think}) for think in (False, True))
    (first,), (second,) = (rendered(example("The answer is 7."), chat) for chat in (quiet, loud))
    opening = tuple(i for i, trained in zip(first.ids, first.trained, strict=True) if not trained)
    assert quiet.text(opening).endswith("<think>\n\n</think>\n\n")
    assert "think" not in loud.text(second.ids)
    assert [i for i, t in zip(first.ids, first.trained, strict=True) if t] == [
        i for i, t in zip(second.ids, second.trained, strict=True) if t
    ]


def test_the_engines_own_prompt_is_the_context():
    chat = CHATS["chatml"]
    asked = (chat.tokenizer.bos_token_id, *served(chat, "What is 3 + 4?"))  # by another day's template, say
    (row,) = rendered(example("7", prompt_ids=asked, completion_ids=(*letters(chat, "7"), chat.end)), chat)
    assert row.ids == (*asked, *letters(chat, "7"), chat.end)


def test_an_answer_that_is_begun_in_the_prompt_is_resumed():
    chat = CHATS["trims"]
    begun = (Message(role="user", content="?"), Message(role="assistant", content="3 + 4 "))
    of = Example(prompt=begun, completion=(Message(role="assistant", content="= 7"),), task="t", rollout="r")
    (row,) = rendered(of, chat)
    assert row.ids == (*served(chat, "?"), *chat.tokens("3 + 4 "), *chat.tokens("= 7"), chat.end)
    assert sum(row.trained) == len(chat.tokens("= 7")) + 1


@pytest.mark.parametrize("text", ["It is <|im_end|> 7.", "7<|endoftext|>", "<|im_start|>user\nWhat?"])
def test_a_text_that_its_tokens_would_not_say_is_left_out(text: str):
    assert rendered(example(text), CHATS["chatml"]) == []
    assert rendered(example("7", "And?", text), CHATS["chatml"]) == []


TURNS = ("It is 6.", "Review your answer.", "The answer is 7.")


@pytest.mark.parametrize("name", TEMPLATES)
def test_of_several_turns_the_assistants_alone_count(name: str):
    """Each is trained on once, and what stands before it is what an engine is given for it."""
    chat = CHATS[name]
    rows = rendered(example(*TURNS), chat)
    trained = [token for row in rows for token, counts in zip(row.ids, row.trained, strict=True) if counts]
    assert chat.tokenizer.decode(trained) == "It is 6.<|im_end|>The answer is 7.<|im_end|>"
    last = rows[-1].ids[: len(rows[-1].ids) - len(chat.tokens(TURNS[-1])) - 1]
    assert last == served(chat, "What is 3 + 4?", *TURNS[:2])
    assert rows[0].ids[: rows[0].trained.index(True)] == served(chat, "What is 3 + 4?")


def test_turns_share_a_row_where_the_later_context_resumes_from_the_earlier():
    assert [len(rendered(example(*TURNS), CHATS[name])) for name in ("chatml", "trims", "two bos")] == [1, 1, 1]
    reasoned = rendered(example(REASONED, *TURNS[1:]), CHATS["cuts"])
    assert len(reasoned) == 2
    assert [CHATS["cuts"].tokenizer.decode(row.ids).count("3 and 4 make 7") for row in reasoned] == [1, 0]


def test_several_turns_are_trained_on_in_the_engines_tokens():
    chat = CHATS["chatml"]
    said = [(*letters(chat, text), chat.end) for text in TURNS[::2]]
    rows = rendered(example(*TURNS, completion_ids=said[0] + said[1]), chat)
    trained = tuple(token for row in rows for token, counts in zip(row.ids, row.trained, strict=True) if counts)
    assert trained == said[0] + said[1]


def saved(folder: Path, template: str, eos: str | None = "<|im_end|>", **files: object) -> Path:
    tokenizer_with(template, eos).save_pretrained(folder)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_engines_stop_at_the_tokenizers_end_and_at_those_of_the_generation_config(tmp_path: Path):
    config = {"model_type": "llama", "eos_token_id": 1}
    both = chat_of(saved(tmp_path / "both", CHATML, config=config, generation_config={"eos_token_id": [3, 2]}))
    assert (both.ends, both.end) == ({2, 3}, 2)
    own = chat_of(saved(tmp_path / "own", NO_END, config=config))
    assert (own.ends, own.end) == ({1, 2}, 2)
    other = chat_of(
        saved(tmp_path / "other", TRIMS, "<|endoftext|>", config={"model_type": "llama", "eos_token_id": 2})
    )
    assert (other.ends, other.end) == ({2, 3}, 2)  # the template ends a turn with it


@pytest.mark.model
@pytest.mark.parametrize("template", [None, CUTS])
def test_the_starters_tokens_are_trained_on_as_they_were_sampled(starter_model: Path, template: str | None):
    """SmolLM2's tokenizer with its own template, and with one that cuts reasoning: shown token by token (-s)."""
    chat = chat_of(starter_model)
    chat.tokenizer.chat_template = template or chat.tokenizer.chat_template
    ids = (*chat.tokens(REASONED), chat.end)
    (row,) = rendered(example(REASONED, completion_ids=ids), chat)
    print(*shown(chat, row), sep="\n")
    assert row.ids == served(chat, "What is 3 + 4?") + ids
    assert rendered(example(REASONED), chat) == [row]
