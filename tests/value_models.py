"""Models with a value head, and what transformers says that they give."""

from pathlib import Path


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


def given(folder: Path, rows: list[list[int]]) -> list[float]:
    """What the value model says of paths, by transformers: at their last token, the one that ends an answer too.

    Its own classifier would pass over that token, which is this model's padding as well.
    """
    import torch

    from selftaught.training.loops.value import load_value

    model = load_value(folder, torch.float32)
    with torch.no_grad():
        return [model.score(model.model(torch.tensor([ids])).last_hidden_state[0, -1]).item() for ids in rows]
