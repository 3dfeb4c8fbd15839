"""Texts that are scored as they stand: the classes at their last tokens, and how likely named tokens come next."""

import math
from typing import Any

import pytest

from selftaught.core.errors import BadInput, NoAnswer
from tests.inference.test_endpoint import NAME, endpoint, serving


def letters(_: int, body: dict[str, Any]) -> tuple[int, Any]:
    """A process reward model whose tokens are letters, 1 before a text's; what it says of a token is the token."""
    if "prompt" in body:
        return 200, {"tokens": [*([1] if body["add_special_tokens"] else []), *map(ord, body["prompt"])]}
    data = [{"index": at, "data": [[0.0, math.log(token)] for token in ids]} for at, ids in enumerate(body["input"])]
    return 200, {"model": NAME, "data": data[::-1], "usage": {"prompt_tokens": 4}}


async def test_parts_of_a_text_are_tokenized_apart_and_the_classes_are_those_of_its_last_token():
    with serving(letters) as server:
        async with endpoint(server) as model:
            given = await model.text_rewards([["q", "a", "#"], ["q", "a", "#", "q", "!"]])
    assert given == [pytest.approx((1 / 36, 35 / 36)), pytest.approx((1 / 34, 33 / 34))]
    assert server.bodies[-1]["input"] == [[1, *b"qa#"], [1, *b"qa#q!"]]
    assert len(server.bodies) == 6  # four texts as parts, of which one also begins


def next_words(_: int, body: dict[str, Any]) -> tuple[int, Any]:
    """As vLLM answers `logprob_token_ids`, the choices the wrong way round; a word is the token of its letter."""
    if isinstance(body["prompt"], str):
        return 200, {"tokens": list(map(ord, body["prompt"]))}
    named = [f"token_id:{token}" for token in body["logprob_token_ids"]]
    tops = [{name: -float(len(text) + at) for at, name in enumerate(named)} for text in body["prompt"]]
    choices = [{"index": at, "text": "x", "logprobs": {"top_logprobs": [top]}} for at, top in enumerate(tops)]
    return 200, {"model": NAME, "choices": choices[::-1], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}


async def test_the_odds_of_named_tokens_after_texts_come_in_their_order_from_one_request():
    with serving(next_words) as server:
        async with endpoint(server) as model:
            given = await model.text_odds(["a", "abc"], ["+", "-"])
    assert given == [pytest.approx([math.exp(-1), math.exp(-2)]), pytest.approx([math.exp(-3), math.exp(-4)])]
    assert server.paths == ["/tokenize", "/tokenize", "/v1/completions"]
    asked = server.bodies[-1]
    assert (asked["logprob_token_ids"], asked["max_tokens"], asked["logprobs"]) == ([43, 45], 1, 0)
    assert asked["return_tokens_as_token_ids"] is True


@pytest.mark.parametrize(
    ("logprobs", "error", "text"),
    [
        (None, BadInput, "gives no probabilities of named tokens. Serve"),
        ({"top_logprobs": [None]}, BadInput, "gives no probabilities of named tokens. Serve"),
        ({"top_logprobs": [{"token_id:43": -1.0, "+": -1.0}]}, BadInput, "gives no probabilities of named tokens"),
        ({"top_logprobs": [{"token_id:43": -1.0, "token_id:45": 7.0}]}, NoAnswer, "a log-probability of 7.0"),
    ],
)
async def test_a_server_that_does_not_say_how_likely_named_tokens_are_is_told_of(
    logprobs: Any, error: type[Exception], text: str
):
    def reply(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        status, content = next_words(number, body)
        for choice in content.get("choices", ()):
            choice["logprobs"] = logprobs
        return status, content

    with serving(reply) as server:
        async with endpoint(server) as model:
            with pytest.raises(error, match=text):
                await model.text_odds(["a"], ["+", "-"])


async def test_a_word_of_several_tokens_has_no_odds():
    with serving(next_words) as server:
        async with endpoint(server) as model:
            with pytest.raises(
                BadInput, match=r"'good': is 4 tokens to .*Name the tag that the model .*, or its reply"
            ):
                await model.text_odds(["a"], ["good", "-"])
