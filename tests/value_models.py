"""A task, models with a value head to guide its search, and whether the tree has the values that transformers gives."""

from pathlib import Path

import pytest

from selftaught.records import Message, Task, Tree

ASKED = "Tom has 12 apples, buys 7 more and gives 4 to Mia. How many apples does Tom have now? One calculation a line."
TASK = Task(messages=(Message(role="user", content=ASKED),), answer="15", source="test")


def with_head(starter: Path, folder: Path) -> Path:
    """The starter model with a value head of small random weights."""
    import torch

    from selftaught.training.loops.value import load_value, save_value

    torch.manual_seed(0)
    model = load_value(starter, torch.float32)
    with torch.no_grad():
        model.score.weight.mul_(0.1)
    folder.mkdir(parents=True)
    save_value(model, starter, folder)
    return folder


def assert_guided(tree: Tree, folder: Path) -> None:
    """The nodes that the value model in `folder` was asked about, in their order, are worth what it says of them."""
    valued = tree.nodes[1 : 1 + tree.spent.value_calls]  # an answer decoded at the end is worth what its parent is
    paths = [[token for step in tree.path(node.index) for token in step.token_ids] for node in valued]
    expected = given(folder, [[*tree.prompt_ids, *path] for path in paths])
    assert valued
    assert [node.estimate for node in valued] == pytest.approx([min(max(each, 0), 1) for each in expected], abs=0.02)


def given(folder: Path, rows: list[list[int]]) -> list[float]:
    """What the value model says of paths, by transformers: at their last token, the one that ends an answer too.

    Its own classifier would pass over that token, which is this model's padding as well.
    """
    import torch

    from selftaught.training.loops.value import load_value

    model = load_value(folder, torch.float32)
    with torch.no_grad():
        return [model.score(model.model(torch.tensor([ids])).last_hidden_state[0, -1]).item() for ids in rows]
