"""Checks that a model can be served and trained, when it is imported rather than in the middle of a round.

It needs a chat template that renders a plain conversation, an end token, and a tokenizer that gives a text back as it
was. What its template makes of answers does not matter: they are never rendered by it
(`selftaught.training.rendering`). Whether its weights can be loaded and give numbers is checked elsewhere.
"""

from pathlib import Path
from typing import Any, cast

from selftaught.core.errors import BadInput
from selftaught.records import Message, Segment
from selftaught.training.rendering import Chat, chat_of, end_tokens, rendered
from selftaught.training.templates import render_apart

QUESTION = "What is 3 + 4?"
ANSWER = "First: 3 and 4 make 7.\n\n  The answer is 7."
ASKED = (Message(role="user", content=QUESTION),)
SAID = (Message(role="assistant", content=ANSWER),)
PROBES = (ASKED, (*ASKED, *SAID), (*ASKED, *SAID, *ASKED))


def check_suitable(folder: Path) -> None:
    """Raise BadInput, saying what is missing and how to fix it, unless the model in `folder` can be asked and trained.

    The model is one that transformers loads. Its chat template is rendered in a process of its own first.
    """
    from transformers import AutoTokenizer

    check_asked(folder)
    if not end_tokens(folder, cast(Any, AutoTokenizer).from_pretrained(folder, local_files_only=True)):
        raise BadInput(
            f"{folder}: names no end token, so its answers would never end. Put eos_token_id into "
            "generation_config.json, or eos_token into tokenizer_config.json."
        )
    _require_answer(folder, chat_of(folder))


def check_asked(folder: Path) -> None:
    """Raise BadInput, saying what is missing and how to fix it, unless a chat can be put to the model in `folder`."""
    from transformers import AutoTokenizer

    tokenizer = cast(Any, AutoTokenizer).from_pretrained(folder, local_files_only=True)
    if not tokenizer.chat_template:
        raise BadInput(
            f"{folder}: has no chat template, so it cannot be prompted (is it a base model?). Put the "
            "chat_template.jinja of its instruct version beside config.json, or use that version."
        )
    _require_openings(folder, tokenizer)


def _require_openings(folder: Path, tokenizer: Any) -> None:
    try:
        texts = render_apart(tokenizer, [[message.to_row() for message in probe] for probe in PROBES])
    except ValueError as error:
        raise BadInput(
            f"{folder}: its chat template fails on a plain conversation: {error}. Take the template that the model was "
            "published with."
        ) from None
    if any(QUESTION not in text for text in texts):
        raise BadInput(
            f"{folder}: its chat template leaves out the question. Use the one that the model was published with."
        )


def _require_answer(folder: Path, chat: Chat) -> None:
    if not rendered((Segment.context(ASKED), Segment.answer(ANSWER)), chat):
        raise BadInput(
            f"{folder}: its tokenizer makes {chat.text(chat.tokens(ANSWER))!r} of {ANSWER!r}, so what is trained would "
            "not be what was said. Take a model whose tokenizer keeps texts as they are."
        )
