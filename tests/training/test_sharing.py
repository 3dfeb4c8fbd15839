"""Shared batches: the tree holds every example whole, nothing sees what it would not see alone, and nothing is lost."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GemmaConfig, LlamaConfig, MistralConfig

from selftaught.training.loops.sharing import IGNORED, Tree, can_share, shared_batch

ids = st.lists(st.integers(0, 3), min_size=2, max_size=12)
"""Few tokens and short, so that prefixes are shared a lot."""
examples = st.lists(ids, min_size=1, max_size=12)


def feature(tokens: list[int]) -> dict[str, list[int]]:
    """The second half is trained on."""
    half = len(tokens) // 2
    return {"input_ids": tokens, "labels": [IGNORED] * half + tokens[half:]}


def lineage(batch: dict[str, torch.Tensor], source: int) -> list[int]:
    """The tokens that the place `source` of a batch sees, itself included, in the order of their positions."""
    row, at = divmod(source, batch["input_ids"].shape[1])
    seen = batch["attention_mask"][row, 0, at].nonzero().flatten().tolist()
    return [int(batch["input_ids"][row, i]) for i in sorted(seen, key=lambda i: int(batch["position_ids"][row, i]))]


@given(examples=examples)
def test_every_path_of_the_tree_is_its_example(examples: list[list[int]]):
    tree = Tree()
    for one in examples:
        missing, before = tree.missing(one), len(tree.tokens)
        path = tree.add(one)
        assert len(tree.tokens) - before == missing
        assert [tree.tokens[node] for node in path] == one
        assert [tree.depths[node] for node in path] == list(range(len(one)))
    assert len(tree.tokens) == len({tuple(one[: i + 1]) for one in examples for i in range(len(one))})


@given(examples=examples, room=st.integers(4, 40))
def test_a_trained_token_is_predicted_from_exactly_what_stands_before_it(examples: list[list[int]], room: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selftaught.training.loops.sharing.ROW", room)
        batch = shared_batch([feature(one) for one in examples])
    wanted = Counter((tuple(one[:at]), one[at]) for one in examples for at in range(max(1, len(one) // 2), len(one)))
    pairs = zip(batch["sources"].tolist(), batch["labels"][0, 1:].tolist(), strict=True)
    assert Counter((tuple(lineage(batch, source)), label) for source, label in pairs) == wanted


def test_long_batches_are_laid_out_in_rows_of_similar_length():
    batch = shared_batch([feature([start, *range(150)]) for start in range(12)])
    rows, width = batch["input_ids"].shape
    assert rows == 4
    assert width == 453


@pytest.mark.parametrize(
    ("config", "can"),
    [
        (LlamaConfig(), True),
        (GemmaConfig(), True),
        (MistralConfig(sliding_window=4096), False),
        (MistralConfig(sliding_window=None), True),
    ],
)
def test_models_that_do_not_see_everything_before_do_not_share(config: Any, can: bool):
    assert can_share(config) is can
