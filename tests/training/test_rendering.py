"""Rendering: what is trained is what was sampled, token by token, whatever the chat template makes of a turn."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.curation.base import sampled
from selftaught.records import Function, Group, Message, Rollout, Segment, Task, ToolCall, Turn
from selftaught.training.rendering import Chat, Ids, Rendered, chat_of, exact, rendered
from tests.examples import asked
from tests.training.templates import CHATML, CUTS, NO_END, TEMPLATES, TRIMS, chat_with, tokenizer_with

REASONED = "3 and 4 make 7.\n</think>\n\nThe answer is 7."
TEXTS = (REASONED, "3 + 4 = 7", "  3 + 4 = 7\n\n", "\n\nSieben ist’s: 😀\u00a0", "<think>\n7\n</think>\n\n7")
CHATS = {name: chat_with(template) for name, template in TEMPLATES.items()}


QUESTION = "What is 3 + 4?"


def sequence(*turns: str, ids: tuple[Ids, ...] = (), prompt_ids: Ids = ()) -> tuple[Segment, ...]:
    """The assistant's and the user's turns by turns behind the question, the assistant's with the engine's tokens."""
    own = iter(ids)
    return (
        asked(QUESTION, token_ids=prompt_ids),
        *(asked(text) if at % 2 else Segment.answer(text, next(own, ())) for at, text in enumerate(turns)),
    )


def trained(row: Rendered) -> list[int]:
    return [token for token, weight in zip(row.ids, row.weights, strict=True) if weight]


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
    return [(chat.tokenizer.decode([token]), weight != 0) for token, weight in zip(row.ids, row.weights, strict=True)]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_engines_tokens_are_trained_on_behind_the_prompt_that_it_was_given(name: str, text: str):
    chat = CHATS[name]
    ids = (*letters(chat, text), chat.end)
    (row,) = rendered(sequence(text, ids=(ids,)), chat)
    opening = served(chat, "What is 3 + 4?")
    assert row.ids == opening + ids
    assert row.weights == (0.0,) * len(opening) + (1.0,) * len(ids)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_text_is_trained_on_whole_behind_the_served_opening_and_ends_where_engines_stop(name: str, text: str):
    chat = CHATS[name]
    (row,) = rendered(sequence(text), chat)
    opening = served(chat, "What is 3 + 4?")
    assert row.ids[: len(opening)] == opening
    assert row.weights == (0.0,) * len(opening) + (1.0,) * (len(row.ids) - len(opening))
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
    (row,) = rendered(sequence(REASONED), chat)
    tokens = shown(chat, row)
    print(*(f"{'trained' if counts else 'context'} {token!r}" for token, counts in tokens), sep="\n")
    context = "".join(token for token, counts in tokens if not counts)
    learnt = [token for token, counts in tokens if counts]
    assert context == "<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n<think>\n"
    assert "".join(learnt) == "3 and 4 make 7.\n</think>\n\nThe answer is 7.<|im_end|>"
    assert learnt[-1] == "<|im_end|>"
    assert len(learnt) > 3


def test_a_template_without_an_end_token_gets_the_models():
    (row,) = rendered(sequence("3 + 4 = 7"), CHATS["no end"])
    assert CHATS["no end"].tokenizer.decode(row.ids) == "User: What is 3 + 4?\nAssistant: 3 + 4 = 7<|im_end|>"


def test_there_is_one_bos_whoever_adds_it():
    for name in ("trims", "two bos"):
        (row,) = rendered(sequence("7"), CHATS[name])
        assert row.ids.count(CHATS[name].tokenizer.bos_token_id) == 1


def test_an_answer_that_ended_at_another_end_token_keeps_it():
    chat = CHATS["chatml"]
    (other,) = chat.ends - {chat.end}
    (row,) = rendered(sequence("7", ids=((*letters(chat, "7"), other),)), chat)
    assert row.ids[-1] == other


def test_what_stands_behind_a_stop_string_is_not_trained_on():
    """The engine cuts its text at a stop string, its tokens after it; the rest of a token that went beyond is added."""
    chat = CHATS["chatml"]
    beyond = (*letters(chat, "The answer is 7."), *chat.tokens("\n\nQ: And"))
    (row,) = rendered(sequence("The answer is 7.", ids=(beyond,)), chat)
    assert row.ids == (*served(chat, "What is 3 + 4?"), *letters(chat, "The answer is 7."), chat.end)
    (row,) = rendered(sequence("The answer", ids=(chat.tokens("The answer is 7."),)), chat)
    assert chat.tokenizer.decode(row.ids).endswith("assistant\nThe answer<|im_end|>")


def test_tokens_of_another_tokenizer_are_not_believed():
    chat = CHATS["chatml"]
    (row,) = rendered(sequence("The answer is 7.", ids=((260, 5, 90, 7),), prompt_ids=(8, 9)), chat)
    assert row.ids == (*served(chat, "What is 3 + 4?"), *chat.tokens("The answer is 7."), chat.end)


def test_the_chat_templates_variables_are_those_that_engines_are_asked_with():
    """Qwen3's kind: without thinking the served opening holds an empty think block, and so does the trained one."""
    template = CHATML + "{% if add_generation_prompt and not think %}<think>\n\n</think>\n\n{% endif %}"
    quiet, loud = (replace(chat_with(template), template={"think": think}) for think in (False, True))
    (first,), (second,) = (rendered(sequence("The answer is 7."), chat) for chat in (quiet, loud))
    opening = tuple(token for token, weight in zip(first.ids, first.weights, strict=True) if not weight)
    assert quiet.text(opening).endswith("<think>\n\n</think>\n\n")
    assert "think" not in loud.text(second.ids)
    assert trained(first) == trained(second)


def test_the_engines_own_prompt_is_the_context():
    chat = CHATS["chatml"]
    asked = (chat.tokenizer.bos_token_id, *served(chat, "What is 3 + 4?"))  # by another day's template, say
    (row,) = rendered(sequence("7", prompt_ids=asked, ids=((*letters(chat, "7"), chat.end),)), chat)
    assert row.ids == (*asked, *letters(chat, "7"), chat.end)


def test_an_answer_that_is_begun_in_the_prompt_is_resumed():
    chat = CHATS["trims"]
    begun = asked("?", Message(role="assistant", content="3 + 4 "))
    (row,) = rendered((begun, Segment.answer("= 7")), chat)
    assert row.ids == (*served(chat, "?"), *chat.tokens("3 + 4 "), *chat.tokens("= 7"), chat.end)
    assert len(trained(row)) == len(chat.tokens("= 7")) + 1


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_turn_behind_a_prefilled_one_is_learnt_behind_all_that_was_said(name: str):
    chat = CHATS[name]
    begun, later = (
        Segment.context([Message(role="assistant", content="It is ")]),
        (asked("Sure?"), Segment.answer("7.")),
    )
    rows = rendered((asked(QUESTION), begun, Segment.answer("6."), *later), chat)
    assert rows[0].ids[: len(served(chat, QUESTION))] == served(chat, QUESTION)
    learnt = [token for row in rows for token in trained(row)]
    assert learnt == [*chat.tokens("6."), chat.end, *chat.tokens("7."), chat.end]
    context = rows[-1].ids[: -len(chat.tokens("7.")) - 1]
    assert chat.text(context) == chat.text(served(chat, QUESTION, "It is 6.", "Sure?"))


@pytest.mark.parametrize("text", ["It is <|im_end|> 7.", "7<|endoftext|>", "<|im_start|>user\nWhat?"])
def test_a_text_that_its_tokens_would_not_say_is_left_out(text: str):
    assert rendered(sequence(text), CHATS["chatml"]) == []
    assert rendered(sequence("7", "And?", text), CHATS["chatml"]) == []


TURNS = ("It is 6.", "Review your answer.", "The answer is 7.")


@pytest.mark.parametrize("name", TEMPLATES)
def test_of_several_turns_the_assistants_alone_count(name: str):
    """Each is trained on once, and what stands before it is what an engine is given for it."""
    chat = CHATS[name]
    rows = rendered(sequence(*TURNS), chat)
    learnt = [token for row in rows for token in trained(row)]
    assert chat.tokenizer.decode(learnt) == "It is 6.<|im_end|>The answer is 7.<|im_end|>"
    last = rows[-1].ids[: len(rows[-1].ids) - len(chat.tokens(TURNS[-1])) - 1]
    assert last == served(chat, "What is 3 + 4?", *TURNS[:2])
    assert rows[0].ids[: rows[0].weights.index(1.0)] == served(chat, "What is 3 + 4?")


def test_turns_share_a_row_where_the_later_context_resumes_from_the_earlier():
    assert [len(rendered(sequence(*TURNS), CHATS[name])) for name in ("chatml", "trims", "two bos")] == [1, 1, 1]
    reasoned = rendered(sequence(REASONED, *TURNS[1:]), CHATS["cuts"])
    assert len(reasoned) == 2
    assert [CHATS["cuts"].tokenizer.decode(row.ids).count("3 and 4 make 7") for row in reasoned] == [1, 0]


def test_several_turns_are_trained_on_in_the_engines_tokens():
    chat = CHATS["chatml"]
    said = [(*letters(chat, text), chat.end) for text in TURNS[::2]]
    rows = rendered(sequence(*TURNS, ids=(said[0], said[1])), chat)
    assert tuple(token for row in rows for token in trained(row)) == said[0] + said[1]


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
    (row,) = rendered(sequence(REASONED, ids=(ids,)), chat)
    print(*shown(chat, row), sep="\n")
    assert row.ids == served(chat, "What is 3 + 4?") + ids
    assert rendered(sequence(REASONED), chat) == [row]


@given(st.data())
def test_each_token_of_a_turn_has_the_weight_that_it_was_given(data: st.DataObject):
    chat = CHATS["chatml"]
    ids = (*chat.tokens("The answer is 7."), chat.end)[: -data.draw(st.integers(0, 1)) or None]
    weights = data.draw(st.lists(st.floats(-1, 2), min_size=len(ids), max_size=len(ids)))
    turn = Segment.answer("The answer is 7.", ids, tuple(weights))
    (row,) = rendered((asked(QUESTION), turn, asked("Sure?"), Segment.answer("Yes.", weights=(0.5,))), chat)
    said = row.weights[len(served(chat, QUESTION)) :]
    assert said[: len(ids)] == tuple(weights)
    assert said[len(ids)] == (weights[-1] if ids[-1] != chat.end else 0.0)
    assert set(said[len(ids) + 1 :]) == {0.0, 0.5}


def test_weights_of_tokens_that_are_not_the_models_leave_the_sequence_out():
    chat = CHATS["chatml"]
    foreign = Segment.answer("7", (260, 5), weights=(1.0, 0.0))
    assert rendered((asked(QUESTION), foreign), chat) == []
    assert rendered((asked(QUESTION), foreign.model_copy(update={"weights": (1.0,)})), chat) != []


def test_a_turn_without_weights_is_context():
    chat = CHATS["chatml"]
    begin, end = Segment.answer("It is 6.", weights=()), Segment.answer("No, 7.")
    (row,) = rendered((asked(QUESTION), begin, asked("Sure?"), end), chat)
    assert chat.tokenizer.decode(trained(row)) == "No, 7.<|im_end|>"


def test_exact_tokens_are_those_of_all_segments_or_none():
    prompt, said = asked("?", token_ids=(1, 2)), Segment.answer("ab", (3, 4), weights=(0.0, 2.0))
    assert exact((prompt, said)) == Rendered((1, 2, 3, 4), (0.0, 0.0, 0.0, 2.0))
    assert exact((asked("?"), said)) is None


# Calls of tools -------------------------------------------------------------------------------------------------------

TOOLS = (  # Hermes, Qwen: arguments are written as JSON by the template
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}"
    '<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = '<tool_call>{"name": "add", "arguments": {"a": 3, "b": 4}}</tool_call>'


def called(content: str = "", ids: Ids = ()) -> Segment:
    """A turn that calls a tool."""
    call = ToolCall(id="c1", function=Function(name="add", arguments='{"a": 3, "b": 4}'))
    return Segment.answer(content, ids, tool_calls=(call,))


def with_tool(call: Segment) -> tuple[Segment, ...]:
    """The call, what the tool answers, and the answer that follows."""
    result = Message(role="tool", content="the sum is 7", tool_call_id="c1")
    return (asked(QUESTION), call, Segment.context((result,)), Segment.answer("It is 7."))


def test_a_call_is_learnt_as_the_template_writes_it_and_what_the_tool_says_is_not():
    chat = chat_with(TOOLS)
    (row,) = rendered(with_tool(called("Let me add.")), chat)
    assert chat.tokenizer.decode(trained(row)) == f"Let me add.{CALL}<|im_end|>It is 7.<|im_end|>"
    assert f"{CALL}<|im_end|>\n<|im_start|>tool\nthe sum is 7<|im_end|>" in chat.tokenizer.decode(row.ids)


def test_a_call_behind_what_was_put_in_the_models_mouth_is_read_by_later_turns():
    chat, (question, call, *later) = chat_with(TOOLS), with_tool(called("me add."))
    begun = Segment.context([Message(role="assistant", content="Let ")])
    (row,) = rendered((question, begun, call.model_copy(update={"weights": ()}), *later), chat)
    assert f"Let me add.{CALL}<|im_end|>" in chat.tokenizer.decode(row.ids)


@pytest.mark.parametrize("ended", [True, False])
def test_a_call_is_learnt_in_the_engines_own_tokens_where_these_are_known(ended: bool):
    chat = chat_with(TOOLS)
    ids = (*letters(chat, CALL), *((chat.end,) if ended else ()))
    (row,) = rendered((asked(QUESTION), called(ids=ids)), chat)
    assert row.ids == (*served(chat, QUESTION), *letters(chat, CALL), chat.end)
    assert trained(row) == [*letters(chat, CALL), chat.end]


def test_a_call_in_tokens_of_another_model_is_learnt_as_the_template_writes_it():
    chat = chat_with(TOOLS)
    (row,) = rendered((asked(QUESTION), called(ids=letters(chat, "something else"))), chat)
    assert chat.tokenizer.decode(trained(row)) == f"{CALL}<|im_end|>"


def test_a_call_that_the_template_leaves_out_or_does_not_end_is_not_learnt():
    assert rendered((asked(QUESTION), called()), chat_with(NO_END)) == []


@given(st.data())
def test_whatever_a_tool_says_has_no_weight(data: st.DataObject):
    text = data.draw(st.text("abc <>|_", max_size=12))
    turns = [
        Turn(kind="action", content="", tool_calls=called().messages[0].tool_calls),
        Turn(role="tool", kind="tool", content=text, tool_call_id="c1"),
        Turn(content="It is 7."),
    ]
    task = Task(messages=asked(QUESTION).messages, source="test")
    rollout = Rollout(task=task.id, index=0, model="m" * 64, turns=tuple(turns), temperature=1.0)
    (said,) = sampled(Group(task=task, rollouts=(rollout,)), rollout).sequences
    assert [bool(segment.weights) for segment in said] == [False, True, False, True]
    rows = rendered(said, TOOL_CHAT)
    assert "".join(TOOL_CHAT.tokenizer.decode(trained(row)) for row in rows) == f"{CALL}<|im_end|>It is 7.<|im_end|>"


TOOL_CHAT = chat_with(TOOLS)
