"""Shared batches: the tree holds every example in full, no token attends to more than alone, nothing is lost."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GemmaConfig, LlamaConfig, MistralConfig

from selftaught.training.dpo import DPO
from selftaught.training.gradient import Gradient
from selftaught.training.loops.batches import Layout, Row, Tokens, batch, packed, padded, tree
from selftaught.training.loops.sharing import Tree, can_share
from selftaught.training.policy_gradient import PolicyGradient
from selftaught.training.sft import SFT

ids = st.lists(st.integers(0, 3), min_size=2, max_size=12)
"""Few tokens and short, so that prefixes are shared a lot."""
examples = st.lists(ids, min_size=1, max_size=12)


def row(tokens: list[int]) -> Row:
    """The second half is trained on."""
    half = len(tokens) // 2
    return Row((Tokens(tuple(tokens), (0.0,) * half + (1.0,) * (len(tokens) - half)),))


def lineage(batch: dict[str, torch.Tensor], source: int) -> list[int]:
    """The tokens that the position `source` of a batch sees, itself included, in the order of their positions."""
    row, at = divmod(source, batch["input_ids"].shape[1])
    seen = batch["attention_mask"][row, 0, at].nonzero().flatten().tolist()
    return [int(batch["input_ids"][row, i]) for i in sorted(seen, key=lambda i: int(batch["position_ids"][row, i]))]


@given(examples=examples)
def test_every_path_of_the_tree_is_its_example(examples: list[list[int]]):
    grown = Tree()
    for one in examples:
        missing, before = grown.missing(one), len(grown.tokens)
        path = grown.add(one)
        assert len(grown.tokens) - before == missing
        assert [grown.tokens[node] for node in path] == one
        assert [grown.depths[node] for node in path] == list(range(len(one)))
    assert len(grown.tokens) == len({tuple(one[: i + 1]) for one in examples for i in range(len(one))})


@given(examples=examples, room=st.integers(4, 40))
def test_a_trained_token_is_predicted_from_exactly_what_stands_before_it(examples: list[list[int]], room: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selftaught.training.loops.sharing.ROW", room)
        inputs = batch([row(one) for one in examples], tree).inputs
    wanted = Counter((tuple(one[:at]), one[at]) for one in examples for at in range(max(1, len(one) // 2), len(one)))
    pairs = zip(inputs["sources"].tolist(), inputs["targets"].tolist(), strict=True)
    assert Counter((tuple(lineage(inputs, source)), label) for source, label in pairs) == wanted


@given(examples=examples, layout=st.sampled_from([tree, padded, packed]))
def test_a_layout_has_each_token_at_its_place(examples: list[list[int]], layout: Layout):
    inputs, places = layout([tuple(one) for one in examples])
    flat = inputs["input_ids"].flatten().tolist()
    assert [[flat[position] for position in path] for path in places] == examples
    if "position_ids" in inputs:
        depths = inputs["position_ids"].flatten().tolist()
        assert [[depths[position] for position in path] for path in places] == [
            list(range(len(one))) for one in examples
        ]


def test_long_batches_are_laid_out_in_rows_of_similar_length():
    rows, width = batch([row([start, *range(150)]) for start in range(12)], tree).inputs["input_ids"].shape
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


@pytest.mark.parametrize("objective", [SFT(), DPO(), PolicyGradient()])
def test_no_objective_shares_what_a_model_with_a_window_would_not_see(objective: Gradient, tmp_path: Path):
    for folder, config, layout in (("all", LlamaConfig(), tree), ("window", MistralConfig(sliding_window=8), padded)):
        config.save_pretrained(tmp_path / folder)
        assert objective.layout(tmp_path / folder) is layout
