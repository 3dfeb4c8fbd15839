"""A process reward model is read at tokens and classes that it has, or the round does not begin."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.errors import BadInput
from selftaught.round.checks.step_tags import require_readable
from selftaught.search.rewards import ProcessReward, ReplyReward
from tests.plain_reward_models import pieces
from tests.reward_models import byte_tokenizer

SHEPHERD = ReplyReward(role="prm", tag="ки")
CAUSAL: dict[str, Any] = {"architectures": ["MistralForCausalLM"]}
CHAT: dict[str, Any] = {"architectures": ["Qwen2ForProcessRewardModel"]}


def file_of(tokenizer: Any) -> bytes:
    """Its `tokenizer.json`."""
    return tokenizer.backend_tokenizer.to_str().encode()


PIECES, BYTES = file_of(pieces()), file_of(byte_tokenizer(additional_special_tokens=["<extra_0>"]))


@pytest.mark.parametrize(
    ("block", "tokenizer", "text"),
    [
        (SHEPHERD, BYTES, "main.tag: 'ки' is 5 tokens of the prm model's tokenizer, and a score is read at one token."),
        (ReplyReward(role="prm", tag="кк"), PIECES, "main.tag: 'кк' is 3 tokens of the prm model's"),
        (ReplyReward(role="prm", tag="ки", right="good"), PIECES, "main.right: 'good' is 5 tokens of"),
        (ReplyReward(role="prm", tag="ки", wrong="bad"), PIECES, "main.wrong: 'bad' is 3 tokens of"),
        (ProcessReward(role="prm", tag="<extra_1>"), BYTES, "main.tag: '<extra_1>' is 9 tokens of"),
    ],
)
def test_a_tag_or_a_reply_that_is_not_one_token_is_refused(block: Any, tokenizer: bytes, text: str):
    with pytest.raises(BadInput, match=re.escape(text) + ".*Name the .* that the model was trained with"):
        require_readable("main", block, CHAT, tokenizer)


@pytest.mark.parametrize(
    ("block", "tokenizer"),
    [
        (SHEPHERD, PIECES),
        (ReplyReward(role="prm", right="good"), BYTES),  # a chat's reply is found by its text
        (ProcessReward(role="prm"), BYTES),
        (ProcessReward(role="prm", tag="\n\n", chat=False), PIECES),  # read at its last token, however many
        (SHEPHERD, None),
    ],
)
def test_what_can_be_read_is_let_through(block: Any, tokenizer: bytes | None):
    require_readable("main", block, CAUSAL, tokenizer)


def test_a_tag_that_the_tokenizer_has_no_token_for_is_refused():
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"<unk>": 0, "2": 1, "+": 2, "3": 3, "=": 4, "5.": 5, "-": 6}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with pytest.raises(BadInput, match=r"main\.tag: 'ки' is not known to the prm model's tokenizer"):
        require_readable("main", SHEPHERD, CAUSAL, words.to_str().encode())


def test_a_tag_that_becomes_part_of_the_step_before_it_is_refused():
    from tokenizers import Tokenizer, models

    merging = Tokenizer(
        models.BPE({"2": 0, " ": 1, "+": 2, "3": 3, "=": 4, "5": 5, ".": 6, "x": 7, ".x": 8}, [(".", "x")])
    )
    with pytest.raises(BadInput, match=r"main\.tag: 'x' runs into the step"):
        require_readable("main", ProcessReward(role="prm", tag="x"), CHAT, merging.to_str().encode())


@given(st.integers(1, 5), st.integers(0, 6), st.booleans())
def test_a_class_is_read_exactly_where_the_model_has_it(classes: int, positive: int, named: bool):
    labels = {str(at): f"LABEL_{at}" for at in range(classes)}
    config = {"architectures": ["LlamaForTokenClassification"]} | (
        {"id2label": labels} if named else {"num_labels": classes}
    )
    block = ProcessReward(role="prm", positive=positive, chat=False)
    if positive < classes:
        require_readable("main", block, config, None)
    else:
        with pytest.raises(
            BadInput, match=f"main.positive: {positive} is no class of the prm model, which has {classes}"
        ):
            require_readable("main", block, config, None)


@pytest.mark.parametrize("config", [CHAT, {"architectures": ["Qwen2ForTokenClassification"]}])
def test_where_config_json_does_not_say_there_are_two_classes(config: dict[str, object]):
    require_readable("main", ProcessReward(role="prm", positive=1), config, None)
    with pytest.raises(BadInput, match="which has 2"):
        require_readable("main", ProcessReward(role="prm", positive=2), config, None)
