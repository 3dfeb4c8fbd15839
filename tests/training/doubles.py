"""Training in float64 from end to end, so that two ways to compute one thing differ by rounding of 1e-16 and no more.

Models, and the loops around them, cast to float32 on the way (norms, softmax, rotary angles, logits). Here torch's
float32 *is* float64 while the context is open, so each of those casts keeps every bit. Only files are read and written
as they are: a model that is loaded comes out of them in float64.
"""

import io
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

SINGLE = torch.float32


@contextmanager
def doubles() -> Generator[list[PreTrainedModel]]:
    """While open, what was float32 is float64, for this complete process. Gives the models that have been loaded."""
    models: list[PreTrainedModel] = []
    load: Any = PreTrainedModel.from_pretrained.__func__  # pyright: ignore[reportFunctionMemberAccess]
    save, read = PreTrainedModel.save_pretrained, torch.load

    def loading(cls: Any, *args: Any, **options: Any) -> PreTrainedModel:
        with _as_it_is():
            models.append(load(cls, *args, **options).double())
        return models[-1]

    def saving(model: Any, *args: Any, **options: Any) -> Any:
        with _as_it_is():
            return save(model.to(SINGLE), *args, **options)

    def reading(*args: Any, **options: Any) -> Any:
        with _as_it_is():
            return read(*args, **options)

    _know_dtypes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", reading)
        patch.setattr(PreTrainedModel, "from_pretrained", classmethod(loading))
        patch.setattr(PreTrainedModel, "save_pretrained", saving)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        for name in ("float32", "float"):
            patch.setattr(torch, name, torch.float64)
        torch.set_default_dtype(torch.float64)
        try:
            yield models
        finally:
            torch.set_default_dtype(SINGLE)


def _know_dtypes() -> None:
    """Have torch look up once, for good, as what it saves which type."""
    with io.BytesIO() as file:
        torch.save(torch.zeros(1), file)
        file.seek(0)
        torch.load(file)


@contextmanager
def _as_it_is() -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", lambda tensor: tensor.to(SINGLE))
        for name in ("float32", "float"):
            patch.setattr(torch, name, SINGLE)
        torch.set_default_dtype(SINGLE)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float64)
