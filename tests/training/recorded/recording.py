"""Watching a training from outside: the figures and the gradients of every step, by the names of the weights.

It looks where any loop has to come by (transformers loads the model, an optimizer of torch takes the step), so it sees
the same whatever trains. A gradient is kept as its norm and its products with two vectors of cosines: another gradient
has other ones.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from selftaught.blocks import Objective, TrainContext
from selftaught.records import Example
from tests.training.doubles import doubles

Step = dict[str, Any]


def steps(objective: Objective, model: Path, examples: list[Example], folder: Path) -> list[Step]:
    """What every step of a training in float64 did; the first and the last with their gradients.

    Of several processes the first one knows. A training that resumes from a checkpoint has the steps after it.
    """
    found: list[Step] = []

    def report(done: int, total: int, /, **values: float) -> None:
        found.append({name: values[name] for name in ("loss", "grad_norm", "learning_rate")})

    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    with doubles() as models, gradients(models) as seen:
        objective.train(model, examples, folder / "out", TrainContext(folder / "scratch", 3, report))
    for at in (0, -1) if found else ():
        found[at]["gradients"] = seen[at]
    return found


@contextmanager
def gradients(models: Sequence[torch.nn.Module]) -> Generator[list[dict[str, list[float]]]]:
    """While open, the gradients of each step of an optimizer, in the last of `models`."""
    seen: list[dict[str, list[float]]] = []

    def stepping(*_: Any) -> None:
        grads = {name: weight.grad for name, weight in models[-1].named_parameters() if weight.grad is not None}
        seen.append({name: sketch(full(grad)) for name, grad in grads.items()})

    hook = register_optimizer_step_pre_hook(stepping)
    try:
        yield seen
    finally:
        hook.remove()


def full(gradient: Any) -> torch.Tensor:
    """All of a gradient, of which this process may have a part."""
    return gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient


def sketch(gradient: torch.Tensor) -> list[float]:
    """The norm of a gradient, and its products with two vectors of length one."""
    flat = gradient.detach().to(torch.float64).flatten()
    angles = torch.arange(len(flat), dtype=torch.float64)
    waves = [torch.cos(angles * turn) for turn in (1.0, 2.3)]
    return [flat.norm().item(), *((flat @ wave / wave.norm()).item() for wave in waves)]
